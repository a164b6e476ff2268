//! Roles, and the one URI in a certificate that says who holds which.

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::id::{FabricId, Id, TenantId};

/// What a certificate's holder may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// An Administration Server.
    Server,
    /// A Network Agent on a managed device.
    Agent,
    /// A person at `klctl` and `klsctunnel`.
    Operator,
}

/// The holder of a certificate. Only ever taken from one that was verified ([`Trust::verify`](super::Trust::verify)),
/// or that this process made itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The fabric that vouches for it.
    pub fabric: FabricId,
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// What it may be.
    pub role: Role,
    /// Which server, device or operator it is.
    pub id: [u8; 16],
    /// The certificate's serial number.
    pub serial: Vec<u8>,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Server, Self::Agent, Self::Operator];

    /// The extended key usage that carries the role, as an object identifier.
    pub const fn oid(self) -> [u64; 4] {
        match self {
            Self::Server => [2, 25, ARC, 1],
            Self::Agent => [2, 25, ARC, 2],
            Self::Operator => [2, 25, ARC, 3],
        }
    }

    /// The same identifier as the content bytes of its DER form (X.690, 8.19).
    pub const fn oid_der(self) -> &'static [u8] {
        match self {
            Self::Server => &[0x69, 0xe6, 0xb8, 0xb8, 0x5f, 0x01],
            Self::Agent => &[0x69, 0xe6, 0xb8, 0xb8, 0x5f, 0x02],
            Self::Operator => &[0x69, 0xe6, 0xb8, 0xb8, 0x5f, 0x03],
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Agent => "agent",
            Self::Operator => "operator",
        }
    }
}

impl Principal {
    /// The principal's URI: `spiffe://FABRIC/vs/TENANT/ROLE/ID`.
    pub fn uri(&self) -> String {
        let (id, role) = (Id::<()>::new(self.id), self.role.name());
        format!("spiffe://{}/vs/{}/{role}/{id}", self.fabric, self.tenant)
    }

    /// Reads whom a certificate names, without judging it; `None` unless it has exactly one URI, of our form.
    pub fn named_in(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = EndEntityCert::try_from(certificate).ok()?;
        let mut uris = certificate.valid_uri_names();
        let (Some(uri), None) = (uris.next(), uris.next()) else { return None };
        Self::from_uri(uri, certificate.serial())
    }

    fn from_uri(uri: &str, serial: &[u8]) -> Option<Self> {
        let mut parts = uri.strip_prefix("spiffe://")?.split('/');
        let fabric = parts.next()?.parse().ok()?;
        let ("vs", tenant) = (parts.next()?, parts.next()?.parse().ok()?) else { return None };
        let role = parts.next()?.parse().ok()?;
        let id: Id<()> = parts.next()?.parse().ok()?;
        let principal = Self { fabric, tenant, role, id: *id.as_bytes(), serial: serial.to_vec() };
        parts.next().is_none().then_some(principal)
    }

    /// The principal's identifier, as the kind that its role says.
    pub fn id<Kind>(&self) -> Id<Kind> {
        Id::new(self.id)
    }
}

/// A role's name that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is server, agent or operator")]
pub struct NotARole;

impl FromStr for Role {
    type Err = NotARole;

    fn from_str(text: &str) -> Result<Self, NotARole> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or(NotARole)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Our arc under 2.25, which needs no registration (ITU-T X.667).
const ARC: u64 = 214_834_271;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_survives_its_uri() {
        for role in Role::ALL {
            let (fabric, tenant, id) =
                (FabricId::random(), TenantId::random(), *Id::<()>::random().as_bytes());
            let principal = Principal { fabric, tenant, role, id, serial: vec![1] };
            assert_eq!(Principal::from_uri(&principal.uri(), &[1]), Some(principal));
        }
    }

    #[test]
    fn any_other_uri_names_nobody() {
        let id = "00000000000000000000000000000000";
        let good = format!("spiffe://{id}/vs/{id}/agent/{id}");
        assert!(Principal::from_uri(&good, &[]).is_some());
        for bad in [
            good.replace("spiffe", "https"),
            good.replace("vs", "ts"),
            good.replace("agent", "root"),
            good[..good.len() - 1].to_owned(),
            format!("{good}/x"),
            format!("{good}?x"),
        ] {
            assert_eq!(Principal::from_uri(&bad, &[]), None, "{bad}");
        }
    }

    #[test]
    fn object_identifiers_have_one_spelling() {
        for role in Role::ALL {
            let [first, second, rest @ ..] = role.oid();
            let mut der = base128(first * 40 + second);
            rest.into_iter().for_each(|number| der.extend(base128(number)));
            assert_eq!(der, role.oid_der());
        }
    }

    #[allow(clippy::cast_possible_truncation)] // masked to seven bits
    fn base128(number: u64) -> Vec<u8> {
        let groups = (0..10).rev().map(|group| number >> (7 * group)).skip_while(|rest| *rest == 0);
        let mut bytes: Vec<u8> = groups.map(|rest| (rest & 0x7f) as u8 | 0x80).collect();
        *bytes.last_mut().unwrap() &= 0x7f;
        bytes
    }
}
