//! Trust: the pinned root of a fabric, and what a certificate chain must be to pass for a role under it.

use std::time::Duration;

use ring::digest::{SHA256, digest};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::crypto::algorithms;
use super::role::{Principal, Role};
use crate::id::FabricId;
use crate::signed::PublicKey;

/// A fabric's root certificate, pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    root: CertificateDer<'static>,
    fabric: FabricId,
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
        Ok(Self { root, fabric })
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
        let anchor = anchor_from_trusted_cert(&self.root).map_err(|_| ChainError::Malformed)?;
        let end = EndEntityCert::try_from(leaf).map_err(|_| ChainError::Malformed)?;
        for usage in [KeyUsage::required(principal.role.oid_der()), principal.role.tls_usage()] {
            end.verify_for_usage(
                algorithms().all,
                std::slice::from_ref(&anchor),
                rest,
                now,
                usage,
                None,
                None,
            )?;
        }
        Ok(principal)
    }

    /// The root certificate.
    pub const fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// The fabric under this root.
    pub const fn fabric(&self) -> FabricId {
        self.fabric
    }

    /// The root's pin.
    pub fn pin(&self) -> Pin {
        pin_of(&self.root)
    }

    /// The root's public key, which signs key sets.
    ///
    /// # Errors
    /// [`ChainError::Malformed`] when it is not a P-256 key.
    pub fn root_key(&self) -> Result<PublicKey, ChainError> {
        public_key_of(&self.root)
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

fn fabric_of(root: &CertificateDer<'_>) -> Result<FabricId, ChainError> {
    let end = EndEntityCert::try_from(root).map_err(|_| ChainError::Malformed)?;
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
    /// It does not end in the fabric's root.
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
