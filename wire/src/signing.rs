//! Private keys that sign blobs, certificates and TLS handshakes.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use zeroize::Zeroizing;

use crate::signed::{Context, PublicKey, Signed};

/// A private key kept in this process; its PKCS #8 bytes are wiped when the last copy goes.
///
/// This is the seam where a TPM or token can stand in later: everything that signs goes through here.
#[derive(Clone)]
pub struct SigningKey(Arc<Inner>);

struct Inner {
    pkcs8: Zeroizing<Vec<u8>>,
    pair: Pair,
    public: PublicKey,
}

#[allow(clippy::large_enum_variant)] // lives behind an `Arc`
enum Pair {
    Ed25519(Ed25519KeyPair),
    P256 { fixed: EcdsaKeyPair, asn1: EcdsaKeyPair },
}

impl SigningKey {
    /// Makes a new Ed25519 key.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    pub fn generate_ed25519() -> Self {
        let pkcs8 =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("the system gives randomness");
        Self::from_pkcs8(pkcs8.as_ref()).expect("a key just made is well-formed")
    }

    /// Makes a new ECDSA P-256 key: what certificates use, since TPMs hold it too.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    pub fn generate_p256() -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .expect("the system gives randomness");
        Self::from_pkcs8(pkcs8.as_ref()).expect("a key just made is well-formed")
    }

    /// Reads an Ed25519 or P-256 private key from PKCS #8 (RFC 5958).
    ///
    /// # Errors
    /// [`BadKey`] when the bytes are neither.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, BadKey> {
        let (pair, public) = match Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8) {
            Ok(pair) => {
                let public = PublicKey::try_from(pair.public_key().as_ref()).map_err(|_| BadKey)?;
                (Pair::Ed25519(pair), public)
            }
            Err(_) => Self::p256(pkcs8)?,
        };
        Ok(Self(Arc::new(Inner { pkcs8: Zeroizing::new(pkcs8.to_vec()), pair, public })))
    }

    fn p256(pkcs8: &[u8]) -> Result<(Pair, PublicKey), BadKey> {
        let random = SystemRandom::new();
        let read = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, pkcs8, &random).map_err(|_| BadKey);
        let fixed = read(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let asn1 = read(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
        let public = PublicKey::try_from(fixed.public_key().as_ref()).map_err(|_| BadKey)?;
        Ok((Pair::P256 { fixed, asn1 }, public))
    }

    /// Signs exactly `bytes` for `context`.
    ///
    /// # Panics
    /// When the operating system has no randomness to give (ECDSA needs some).
    pub fn sign(&self, context: Context, bytes: Bytes) -> Signed {
        let message = context.message(&bytes);
        let signature = match &self.0.pair {
            Pair::Ed25519(pair) => Bytes::copy_from_slice(pair.sign(&message).as_ref()),
            Pair::P256 { fixed, .. } => {
                let signature =
                    fixed.sign(&SystemRandom::new(), &message).expect("the system gives randomness");
                Bytes::copy_from_slice(signature.as_ref())
            }
        };
        Signed { bytes, key_id: Bytes::copy_from_slice(&self.public().id()), signature }
    }

    /// Signs `message` in the form X.509 and TLS use: raw Ed25519, or ASN.1 ECDSA (RFC 3279, 2.2.3).
    ///
    /// # Panics
    /// When the operating system has no randomness to give (ECDSA needs some).
    pub fn sign_asn1(&self, message: &[u8]) -> Vec<u8> {
        match &self.0.pair {
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::P256 { asn1, .. } => {
                let signature =
                    asn1.sign(&SystemRandom::new(), message).expect("the system gives randomness");
                signature.as_ref().to_vec()
            }
        }
    }

    /// The key's public half.
    pub fn public(&self) -> &PublicKey {
        &self.0.public
    }

    /// The private key in PKCS #8, for a key file; wiped when dropped.
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        self.0.pkcs8.clone()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey([redacted])")
    }
}

/// Bytes that are no private key of a known kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a PKCS #8 private key of Ed25519 or P-256")]
pub struct BadKey;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file() {
        for key in [SigningKey::generate_ed25519(), SigningKey::generate_p256()] {
            let again = SigningKey::from_pkcs8(&key.to_pkcs8()).unwrap();
            assert_eq!(again.public(), key.public());
        }
    }

    #[test]
    fn a_key_never_prints_itself() {
        assert_eq!(format!("{:?}", SigningKey::generate_p256()), "SigningKey([redacted])");
    }
}
