//! Trust: the roots of a fabric, one of them pinned, and what a certificate chain must be to pass for a role under it.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use ring::digest::{SHA256, digest};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::crl::{Crls, Freshness};
use super::crypto::algorithms;
use super::role::{Principal, Role};
use crate::id::FabricId;
use crate::lineage::{Lineage, ROOTS_LIMIT, TrustSet};
use crate::signed::{Context, PublicKey, Signed};

/// The root certificates of a fabric: one that was pinned, or those that it led to by the fabric's lineage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The newest first; never empty.
    roots: Vec<CertificateDer<'static>>,
    fabric: FabricId,
    version: u64,
}

/// SHA-256 of a root certificate's DER.
pub type Pin = [u8; 32];

impl Trust {
    /// Pins `root`.
    ///
    /// # Errors
    /// [`ChainError::Malformed`] when it is no certificate.
    pub fn new(root: CertificateDer<'static>) -> Result<Self, ChainError> {
        anchor_from_trusted_cert(&root).map_err(|_| ChainError::Malformed)?;
        let fabric = fabric_of(&root)?;
        Ok(Self { roots: vec![root], fabric, version: 0 })
    }

    /// Takes the roots of a set that was verified before.
    ///
    /// # Errors
    /// [`ChainError::Malformed`] when it holds no roots or too many, [`ChainError::OtherFabric`] when one is of another.
    pub fn of_set(set: &TrustSet) -> Result<Self, ChainError> {
        if !(1..=ROOTS_LIMIT).contains(&set.roots.len()) {
            return Err(ChainError::Malformed);
        }
        let roots: Vec<_> = set.roots.iter().map(|root| CertificateDer::from(root.to_vec())).collect();
        for root in &roots {
            anchor_from_trusted_cert(root).map_err(|_| ChainError::Malformed)?;
            if fabric_of(root)?.as_bytes()[..] != set.fabric[..] {
                return Err(ChainError::OtherFabric);
            }
        }
        let fabric = fabric_of(&roots[0])?;
        Ok(Self { roots, fabric, version: set.version })
    }

    /// The same fabric under these roots: for a server that must know again whom it knew under any of them.
    #[must_use]
    pub fn under(self, roots: Vec<CertificateDer<'static>>) -> Self {
        if roots.is_empty() { self } else { Self { roots, ..self } }
    }

    /// These roots as a set.
    pub fn to_set(&self) -> TrustSet {
        TrustSet {
            fabric: Bytes::copy_from_slice(self.fabric.as_bytes()),
            version: self.version,
            roots: self.roots.iter().map(|root| Bytes::copy_from_slice(root)).collect(),
        }
    }

    /// Follows a lineage from these roots as far as it leads; `None` when it leads to nothing newer.
    pub fn follow(&self, lineage: &Lineage) -> Option<Self> {
        let mut reached = self.clone();
        for signed in &lineage.sets {
            // What these roots did not sign is of before they were pinned, or of nobody.
            if let Some(next) = reached.next(signed) {
                reached = next;
            }
        }
        (reached.version > self.version).then_some(reached)
    }

    fn next(&self, signed: &Signed) -> Option<Self> {
        let keys = self.root_keys();
        let signer = keys.iter().find(|key| key.id() == signed.key_id[..])?;
        let set = TrustSet::decode(signed.verify(Context::TrustSet, signer).ok()?.clone()).ok()?;
        let next = Self::of_set(&set).ok()?;
        (next.fabric == self.fabric && next.version > self.version).then_some(next)
    }

    /// Finds the root that has this pin in a chain a server showed: how a new device meets its fabric.
    ///
    /// # Errors
    /// [`ChainError::NotPinned`] when the chain does not contain exactly that certificate.
    pub fn pinned(pin: &Pin, chain: &[CertificateDer<'_>]) -> Result<Self, ChainError> {
        let root =
            chain.iter().find(|certificate| pin_of(certificate) == *pin).ok_or(ChainError::NotPinned)?;
        Self::new(root.clone().into_owned())
    }

    /// Verifies that `chain` (leaf first) was issued under this root, is valid at `now`, and makes its holder one of
    /// `roles`.
    ///
    /// # Errors
    /// [`ChainError`] says which of these fails.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        roles: &[Role],
        now: UnixTime,
    ) -> Result<Principal, ChainError> {
        Ok(self.path(chain, roles, now)?.0)
    }

    /// Like [`Trust::verify`], and that the newest list of its issuer does not revoke the certificate.
    ///
    /// # Errors
    /// As [`Trust::verify`] and [`Crls::check`].
    pub fn verify_unrevoked(
        &self,
        chain: &[CertificateDer<'_>],
        roles: &[Role],
        now: UnixTime,
        crls: &Crls,
        freshness: Freshness,
    ) -> Result<Principal, ChainError> {
        let (principal, issuer) = self.path(chain, roles, now)?;
        crls.check(&issuer, &principal.serial, now, freshness)?;
        Ok(principal)
    }

    /// Whom the chain names, and the key of the authority that has issued it.
    fn path(
        &self,
        chain: &[CertificateDer<'_>],
        roles: &[Role],
        now: UnixTime,
    ) -> Result<(Principal, PublicKey), ChainError> {
        let (leaf, rest) = chain.split_first().ok_or(ChainError::Malformed)?;
        if rest.len() > CHAIN_LIMIT {
            return Err(ChainError::Malformed);
        }
        let principal = Principal::named_in(leaf).ok_or(ChainError::NoPrincipal)?;
        if principal.fabric != self.fabric {
            return Err(ChainError::OtherFabric);
        }
        if !roles.contains(&principal.role) {
            return Err(ChainError::WrongRole { is: principal.role });
        }
        let anchors = self.roots.iter().map(anchor_from_trusted_cert).collect::<Result<Vec<_>, _>>();
        let anchors = anchors.map_err(|_| ChainError::Malformed)?;
        let end = EndEntityCert::try_from(leaf).map_err(|_| ChainError::Malformed)?;
        let verify = |usage| end.verify_for_usage(algorithms().all, &anchors, rest, now, usage, None, None);
        verify(principal.role.tls_usage())?;
        let path = verify(KeyUsage::required(principal.role.oid_der()))?;
        let issuer = p256_from_spki(&path.issuer_spki())?;
        Ok((principal, issuer))
    }

    /// Like [`Trust::verify`], but a chain whose time ended at most `grace` ago still passes.
    ///
    /// # Errors
    /// As [`Trust::verify`].
    pub fn verify_lapsed(
        &self,
        chain: &[CertificateDer<'_>],
        roles: &[Role],
        now: UnixTime,
        grace: Duration,
    ) -> Result<Principal, ChainError> {
        match self.verify(chain, roles, now) {
            Err(ChainError::Expired(ago)) if ago <= grace => {
                let end = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()).saturating_sub(ago));
                self.verify(chain, roles, end)
            }
            verified => verified,
        }
    }

    /// The newest root certificate.
    pub fn root(&self) -> &CertificateDer<'static> {
        self.roots.first().expect("there is always a root")
    }

    /// Every root certificate, the newest first.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// The fabric under these roots.
    pub const fn fabric(&self) -> FabricId {
        self.fabric
    }

    /// Which set of the fabric's lineage this is; 0 for a root that was pinned.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The newest root's pin.
    pub fn pin(&self) -> Pin {
        pin_of(self.root())
    }

    /// The roots' public keys, which sign key sets and the next roots.
    pub fn root_keys(&self) -> Vec<PublicKey> {
        self.roots.iter().filter_map(|root| public_key_of(root).ok()).collect()
    }
}

/// From when to when a certificate is valid, Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub not_before: u64,
    /// Last second.
    pub not_after: u64,
}

impl Validity {
    /// Reads what a certificate says, without judging it: to know when it ends, never to trust it.
    ///
    /// # Errors
    /// [`ChainError::Malformed`] when it is no certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, ChainError> {
        let (_, certificate) =
            x509_parser::parse_x509_certificate(certificate).map_err(|_| ChainError::Malformed)?;
        let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
        let validity = certificate.validity();
        Ok(Self { not_before: seconds(validity.not_before), not_after: seconds(validity.not_after) })
    }
}

impl Role {
    fn tls_usage(self) -> KeyUsage {
        match self {
            Self::Server => KeyUsage::server_auth(),
            Self::Agent | Self::Operator => KeyUsage::client_auth(),
        }
    }
}

/// The P-256 public key of a certificate.
///
/// # Errors
/// [`ChainError::Malformed`] when it has none.
pub fn public_key_of(certificate: &CertificateDer<'_>) -> Result<PublicKey, ChainError> {
    let end = EndEntityCert::try_from(certificate).map_err(|_| ChainError::Malformed)?;
    p256_from_spki(&end.subject_public_key_info())
}

/// A P-256 public key as SubjectPublicKeyInfo (RFC 5480, 2), 91 bytes.
pub fn p256_spki(point: &[u8; 65]) -> Vec<u8> {
    [P256_SPKI_PREFIX, point].concat()
}

/// Reads a P-256 public key from its SubjectPublicKeyInfo.
///
/// # Errors
/// [`ChainError::Malformed`] when it is anything else.
pub fn p256_from_spki(spki: &[u8]) -> Result<PublicKey, ChainError> {
    let point = spki.strip_prefix(P256_SPKI_PREFIX).ok_or(ChainError::Malformed)?;
    match point.len() {
        65 => PublicKey::try_from(point).map_err(|_| ChainError::Malformed),
        _ => Err(ChainError::Malformed),
    }
}

/// SHA-256 of a certificate.
pub fn pin_of(certificate: &CertificateDer<'_>) -> Pin {
    digest(&SHA256, certificate).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// The fabric that a root names as its own; the first root of a fabric names none, and its key is the fabric's name.
fn fabric_of(root: &CertificateDer<'_>) -> Result<FabricId, ChainError> {
    let end = EndEntityCert::try_from(root).map_err(|_| ChainError::Malformed)?;
    if let Some(uri) = end.valid_uri_names().next() {
        let named = uri.strip_prefix("spiffe://").and_then(|fabric| fabric.parse().ok());
        return named.ok_or(ChainError::Malformed);
    }
    let hash = digest(&SHA256, &end.subject_public_key_info());
    Ok(FabricId::new(*hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes")))
}

/// Why a certificate chain does not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Something in it cannot be read, or it is absurdly long.
    #[error("the certificate chain cannot be read")]
    Malformed,
    /// Its time is over, by this clock.
    #[error("the certificate expired {} ago by this clock", human(*.0))]
    Expired(Duration),
    /// Its time has not come, by this clock.
    #[error("the certificate becomes valid only in {}: this clock is slow, or the issuer's is fast", human(*.0))]
    NotYetValid(Duration),
    /// Its issuer has revoked it.
    #[error("the certificate was revoked")]
    Revoked,
    /// Its issuer's list of revoked certificates is not known.
    #[error("no revocation list of the certificate's issuer is known")]
    NoList,
    /// The list that is known is past its time.
    #[error("the revocation list of the certificate's issuer is out of date since {}", human(*.0))]
    StaleList(Duration),
    /// It does not end in a root of the fabric that is known here.
    #[error("the certificate was not issued by this fabric: {0}")]
    NotIssued(String),
    /// The chain lacks the pinned root.
    #[error("the server does not show the pinned root certificate: wrong server, or wrong --root")]
    NotPinned,
    /// It names nobody we know how to read.
    #[error("the certificate names no principal of a fabric")]
    NoPrincipal,
    /// It is of another fabric.
    #[error("the certificate belongs to another fabric")]
    OtherFabric,
    /// Its holder is something else.
    #[error("the certificate is of role {is}, which is not accepted here")]
    WrongRole {
        /// The role it has.
        is: Role,
    },
}

impl From<webpki::Error> for ChainError {
    fn from(error: webpki::Error) -> Self {
        let between = |later: UnixTime, earlier: UnixTime| {
            Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs()))
        };
        match error {
            webpki::Error::CertExpired { time, not_after } => Self::Expired(between(time, not_after)),
            webpki::Error::CertNotValidYet { time, not_before } => {
                Self::NotYetValid(between(not_before, time))
            }
            other => Self::NotIssued(other.to_string()),
        }
    }
}

fn human(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// Longest chain behind the leaf: issuing authority, root, and one to spare for a rotation.
const CHAIN_LIMIT: usize = 3;

/// DER of a SubjectPublicKeyInfo of P-256 up to the point (RFC 5480).
const P256_SPKI_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[cfg(test)]
mod tests;
