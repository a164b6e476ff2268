//! Secrets that are shown once and stored hashed, and keys in short.

use std::fmt;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use klnet_wire::signed::PublicKey;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

/// The secret of a token or invitation: 256 random bits, kept only by whom it is shown to.
pub(super) struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    pub(super) fn random() -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut *bytes).expect("the operating system gives randomness");
        Self(bytes)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let decoded = Zeroizing::new(BASE64URL_NOPAD.decode(text.as_bytes()).ok()?);
        Some(Self(Zeroizing::new(decoded.as_slice().try_into().ok()?)))
    }

    pub(super) fn print(&self) -> String {
        BASE64URL_NOPAD.encode(&*self.0)
    }

    pub(super) const fn bytes(&self) -> &Zeroizing<[u8; 32]> {
        &self.0
    }

    /// What is stored. Looking a hash up leaks nothing about the secret, which has too many bits to be guessed.
    pub(super) fn hash(&self) -> [u8; 32] {
        digest(&SHA256, &*self.0).as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    pub(super) fn hash_hex(&self) -> String {
        HEXLOWER.encode(&self.hash())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

/// A public key, short, for the audit log.
pub(super) fn fingerprint(key: &PublicKey) -> String {
    HEXLOWER.encode(&key.id())
}
