//! Private keys that sign blobs, certificates and TLS handshakes.

mod error;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use zeroize::Zeroizing;

pub use error::KeyError;

#[cfg(feature = "pkcs11")]
use crate::pkcs11::TokenKey;
use crate::signed::{Context, PublicKey, Signed};

/// A private key; the PKCS #8 bytes of one that this process holds are wiped when the last copy goes.
///
/// This is the seam where a token stands in (feature `pkcs11`): everything that signs goes through here, and knows the
/// public half whoever holds the private one.
#[derive(Clone)]
pub struct SigningKey(Arc<Inner>);

struct Inner {
    pair: Pair,
    public: PublicKey,
}

#[allow(clippy::large_enum_variant)] // lives behind an `Arc`
enum Pair {
    Ed25519 {
        pkcs8: Zeroizing<Vec<u8>>,
        pair: Ed25519KeyPair,
    },
    P256 {
        pkcs8: Zeroizing<Vec<u8>>,
        fixed: EcdsaKeyPair,
        asn1: EcdsaKeyPair,
    },
    /// A P-256 key that never leaves its token.
    #[cfg(feature = "pkcs11")]
    Token(TokenKey),
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
        let kept = Zeroizing::new(pkcs8.to_vec());
        let (pair, public) = match Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8) {
            Ok(pair) => {
                let public = PublicKey::try_from(pair.public_key().as_ref()).map_err(|_| BadKey)?;
                (Pair::Ed25519 { pkcs8: kept, pair }, public)
            }
            Err(_) => Self::p256(kept)?,
        };
        Ok(Self(Arc::new(Inner { pair, public })))
    }

    fn p256(pkcs8: Zeroizing<Vec<u8>>) -> Result<(Pair, PublicKey), BadKey> {
        let random = SystemRandom::new();
        let read = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8, &random).map_err(|_| BadKey);
        let fixed = read(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let asn1 = read(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
        let public = PublicKey::try_from(fixed.public_key().as_ref()).map_err(|_| BadKey)?;
        Ok((Pair::P256 { pkcs8, fixed, asn1 }, public))
    }

    /// A key in a token, whose public half is known.
    #[cfg(feature = "pkcs11")]
    pub(crate) fn in_token(key: TokenKey) -> Self {
        let public = key.public().clone();
        Self(Arc::new(Inner { pair: Pair::Token(key), public }))
    }

    /// Signs exactly `bytes` for `context`, with a key that this process holds: a fabric's own keys.
    ///
    /// # Panics
    /// When the operating system has no randomness to give (ECDSA needs some). A device's key may be in a token, which
    /// can fail: that is asked by [`SigningKey::try_sign`].
    pub fn sign(&self, context: Context, bytes: Bytes) -> Signed {
        self.try_sign(context, bytes).expect("a key that this process holds can sign")
    }

    /// Signs exactly `bytes` for `context`, wherever the key is.
    ///
    /// # Errors
    /// [`KeyError`] when it is in a token that does not sign now.
    ///
    /// # Panics
    /// When the operating system has no randomness to give (ECDSA needs some).
    pub fn try_sign(&self, context: Context, bytes: Bytes) -> Result<Signed, KeyError> {
        let message = context.message(&bytes);
        let signature = match &self.0.pair {
            Pair::Ed25519 { pair, .. } => Bytes::copy_from_slice(pair.sign(&message).as_ref()),
            Pair::P256 { fixed, .. } => {
                let signature =
                    fixed.sign(&SystemRandom::new(), &message).expect("the system gives randomness");
                Bytes::copy_from_slice(signature.as_ref())
            }
            #[cfg(feature = "pkcs11")]
            Pair::Token(key) => Bytes::copy_from_slice(&key.sign(&message)?),
        };
        Ok(Signed { bytes, key_id: Bytes::copy_from_slice(&self.public().id()), signature })
    }

    /// Signs `message` in the form X.509 and TLS use: raw Ed25519, or ASN.1 ECDSA (RFC 3279, 2.2.3).
    ///
    /// # Errors
    /// [`KeyError`] when the key is in a token that does not sign now.
    ///
    /// # Panics
    /// When the operating system has no randomness to give (ECDSA needs some).
    pub fn sign_asn1(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(match &self.0.pair {
            Pair::Ed25519 { pair, .. } => pair.sign(message).as_ref().to_vec(),
            Pair::P256 { asn1, .. } => {
                let signature =
                    asn1.sign(&SystemRandom::new(), message).expect("the system gives randomness");
                signature.as_ref().to_vec()
            }
            #[cfg(feature = "pkcs11")]
            Pair::Token(key) => key.sign_asn1(message)?,
        })
    }

    /// Whether the key can be used now: one in a token is looked for there.
    ///
    /// # Errors
    /// [`KeyError`] says why not.
    pub fn ready(&self) -> Result<(), KeyError> {
        match &self.0.pair {
            Pair::Ed25519 { .. } | Pair::P256 { .. } => Ok(()),
            #[cfg(feature = "pkcs11")]
            Pair::Token(key) => key.ready(),
        }
    }

    /// The key's public half.
    pub fn public(&self) -> &PublicKey {
        &self.0.public
    }

    /// The private key in PKCS #8, for a key file; wiped when dropped. `None` for a key in a token.
    pub fn to_pkcs8(&self) -> Option<Zeroizing<Vec<u8>>> {
        match &self.0.pair {
            Pair::Ed25519 { pkcs8, .. } | Pair::P256 { pkcs8, .. } => Some(pkcs8.clone()),
            #[cfg(feature = "pkcs11")]
            Pair::Token(_) => None,
        }
    }

    /// Which object of its token the key is, as a URI (RFC 7512) that holds no secret; `None` for one that this process
    /// holds.
    pub fn object_uri(&self) -> Option<String> {
        match &self.0.pair {
            Pair::Ed25519 { .. } | Pair::P256 { .. } => None,
            #[cfg(feature = "pkcs11")]
            Pair::Token(key) => Some(key.id().to_string()),
        }
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
            let again = SigningKey::from_pkcs8(&key.to_pkcs8().unwrap()).unwrap();
            assert_eq!(again.public(), key.public());
        }
    }

    #[test]
    fn a_key_never_prints_itself() {
        assert_eq!(format!("{:?}", SigningKey::generate_p256()), "SigningKey([redacted])");
    }
}
