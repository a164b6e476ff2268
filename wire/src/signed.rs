//! Signed blobs: exact bytes, who signed them, and the signature over those bytes and their purpose.
//!
//! ```text
//! signature = Sign(key, "klnet/" context "/v1" 0x00 bytes)
//! ```
//! Nothing is ever re-serialised before it is verified, so hops forward a blob untouched, and a blob signed for one
//! purpose is not valid for another.

use bytes::Bytes;
use ring::signature::{self, UnparsedPublicKey};

/// What a signature is for; part of the signed bytes, so that no blob passes for one of another purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Context {
    /// A [`KeySet`](crate::keyset::KeySet), signed by the fabric's root key.
    KeySet,
    /// A [`ServerList`](crate::servers::ServerList), signed by a directory key.
    ServerList,
    /// A [`TrustSet`](crate::lineage::TrustSet), signed by a root key of the set before.
    TrustSet,
    /// A tunnel grant, signed by a grant key.
    Grant,
    /// An agent's record of a finished tunnel connection, signed by the device key.
    TunnelRecord,
    /// What an object sent by multicast is, signed by who made it.
    MulticastManifest,
    /// A multicast session, signed by who sends it.
    MulticastSession,
    /// [`Duties`](crate::duties::Duties) of a device, signed by a distribution key.
    Duties,
    /// What an agent says of itself to those of its network, signed by the device key.
    Beacon,
    /// What a snapshot of reputations consists of, signed by the reputation server that made it.
    ReputationSnapshot,
}

impl Context {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::KeySet => b"klnet/key-set/v1\0",
            Self::ServerList => b"klnet/server-list/v1\0",
            Self::TrustSet => b"klnet/trust-set/v1\0",
            Self::Grant => b"klnet/grant/v1\0",
            Self::TunnelRecord => b"klnet/tunnel-record/v1\0",
            Self::MulticastManifest => b"klnet/multicast-manifest/v1\0",
            Self::MulticastSession => b"klnet/multicast-session/v1\0",
            Self::Duties => b"klnet/duties/v1\0",
            Self::Beacon => b"klnet/beacon/v1\0",
            Self::ReputationSnapshot => b"klnet/reputation-snapshot/v1\0",
        }
    }

    /// The exact bytes that are signed for `bytes` in this context.
    pub fn message(self, bytes: &[u8]) -> Vec<u8> {
        [self.label(), bytes].concat()
    }
}

/// Bytes with a signature over exactly them.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Signed {
    /// The signed bytes, never re-encoded.
    #[prost(bytes = "bytes", tag = "1")]
    pub bytes: Bytes,
    /// [`PublicKey::id`] of the signer.
    #[prost(bytes = "bytes", tag = "2")]
    pub key_id: Bytes,
    /// Ed25519 (RFC 8032) or ECDSA P-256 SHA-256 (fixed 64 bytes), as the signer's key says.
    #[prost(bytes = "bytes", tag = "3")]
    pub signature: Bytes,
}

impl Signed {
    /// Checks that `key` signed these bytes in `context`, and gives the bytes.
    ///
    /// # Errors
    /// [`BadSignature`] when anything about it differs.
    pub fn verify(&self, context: Context, key: &PublicKey) -> Result<&Bytes, BadSignature> {
        if self.key_id[..] != key.id() {
            return Err(BadSignature);
        }
        key.verify(&context.message(&self.bytes), &self.signature)?;
        Ok(&self.bytes)
    }
}

/// A signature that does not belong to these bytes, this purpose and this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not fit the bytes, their purpose and the key")]
pub struct BadSignature;

/// A public key that signs blobs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PublicKey {
    /// Ed25519, 32 bytes (RFC 8032).
    Ed25519([u8; 32]),
    /// ECDSA over P-256, uncompressed point of 65 bytes (SEC 1, 2.3.3).
    P256([u8; 65]),
}

impl PublicKey {
    /// A short name of the key: the first 8 bytes of SHA-256 of its raw bytes.
    pub fn id(&self) -> [u8; 8] {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.as_bytes());
        *digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
    }

    /// The key's raw bytes: 32 of Ed25519 or 65 of P-256.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Ed25519(bytes) => bytes,
            Self::P256(bytes) => bytes,
        }
    }

    /// Checks a signature over `message`.
    ///
    /// # Errors
    /// [`BadSignature`] when the key did not sign that message.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let checked = match self {
            Self::Ed25519(key) => UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signature),
            Self::P256(key) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, key).verify(message, signature)
            }
        };
        checked.map_err(|_| BadSignature)
    }
}

impl PublicKey {
    /// Checks a signature over `message` in the form of X.509: ASN.1 ECDSA (RFC 3279, 2.2.3), or raw Ed25519.
    ///
    /// # Errors
    /// [`BadSignature`] when the key did not sign that message.
    pub fn verify_asn1(&self, message: &[u8], signed: &[u8]) -> Result<(), BadSignature> {
        match self {
            Self::Ed25519(_) => self.verify(message, signed),
            Self::P256(key) => {
                let key = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, key);
                key.verify(message, signed).map_err(|_| BadSignature)
            }
        }
    }
}

impl TryFrom<&[u8]> for PublicKey {
    type Error = BadSignature;

    /// Takes raw key bytes; their length says of which kind the key is.
    fn try_from(bytes: &[u8]) -> Result<Self, BadSignature> {
        match bytes.len() {
            32 => Ok(Self::Ed25519(bytes.try_into().expect("the length is 32"))),
            65 => Ok(Self::P256(bytes.try_into().expect("the length is 65"))),
            _ => Err(BadSignature),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::SigningKey;

    #[test]
    fn a_signature_holds_for_its_bytes_purpose_and_key_only() {
        for key in [SigningKey::generate_ed25519(), SigningKey::generate_p256()] {
            let signed = key.sign(Context::Grant, Bytes::from_static(b"let them in"));
            assert_eq!(signed.verify(Context::Grant, key.public()).unwrap(), "let them in");
            assert_eq!(signed.verify(Context::KeySet, key.public()), Err(BadSignature));
            assert_eq!(
                signed.verify(Context::Grant, SigningKey::generate_p256().public()),
                Err(BadSignature)
            );
        }
    }

    #[test]
    fn no_flipped_bit_passes() {
        let key = SigningKey::generate_ed25519();
        let signed = key.sign(Context::Grant, Bytes::from_static(b"let them in"));
        let encoded = prost::Message::encode_to_vec(&signed);
        for bit in 0..encoded.len() * 8 {
            let mut forged = encoded.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let Ok(forged) = <Signed as prost::Message>::decode(forged.as_slice()) else { continue };
            assert!(forged.verify(Context::Grant, key.public()).is_err(), "bit {bit}");
        }
    }
}
