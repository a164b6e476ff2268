//! What the server signs and makes for distribution: manifests, duties, and the secrets of each group.
//!
//! Secrets are derived and never stored: a copy of the store, or a backup, opens no packet of any group.

use bytes::Bytes;
use klnet_multicast::key::Secret;
use klnet_multicast::manifest::Manifest;
use klnet_wire::duties::Duties;
use klnet_wire::id::DeviceId;
use klnet_wire::signed::{Context, PublicKey, Signed};
use klnet_wire::signing::SigningKey;
use prost::Message;
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

/// The key that signs for distribution.
#[derive(Debug)]
pub struct DistributionKey {
    key: SigningKey,
    secrets: Secrets,
}

/// What group secrets are made from.
struct Secrets(Prk);

/// One epoch of a distribution point's group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch<'a> {
    /// The distribution point.
    pub point: DeviceId,
    /// Its number.
    pub number: u32,
    /// Drawn when it began.
    pub salt: &'a [u8],
}

impl DistributionKey {
    /// # Panics
    /// When the key is in a token: a server's keys are in files.
    pub(super) fn new(key: SigningKey) -> Self {
        let private = key.to_pkcs8().expect("a server's keys are in files");
        let secrets = Secrets(Salt::new(HKDF_SHA256, b"klnet/distribution/secrets/v1").extract(&private));
        Self { key, secrets }
    }

    /// Signs an object; `None` when its manifest is none that anybody would take.
    pub fn sign_manifest(&self, manifest: &Manifest) -> Option<Signed> {
        manifest.sign(&self.key).ok()
    }

    /// Signs what a device is to do.
    pub fn sign_duties(&self, duties: &Duties) -> Signed {
        self.key.sign(Context::Duties, Bytes::from(duties.encode_to_vec()))
    }

    /// Who verifies.
    pub fn public(&self) -> &PublicKey {
        self.key.public()
    }

    /// What all members of the epoch share.
    pub fn shared(&self, epoch: Epoch<'_>) -> Secret {
        self.secrets.of(epoch, b"shared")
    }

    /// What the keys of the epoch's receivers are made from.
    pub fn feedback(&self, epoch: Epoch<'_>) -> Secret {
        self.secrets.of(epoch, b"feedback")
    }
}

impl Secrets {
    fn of(&self, epoch: Epoch<'_>, purpose: &[u8]) -> Secret {
        let mut secret = [0; 32];
        let info = [purpose, epoch.point.as_bytes(), &epoch.number.to_be_bytes(), epoch.salt];
        let made = self.0.expand(&info, Length).and_then(|okm| okm.fill(&mut secret));
        made.expect("HKDF gives so few bytes");
        Secret::new(secret)
    }
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_by_key_point_epoch_salt_and_purpose_and_are_the_same_after_a_restart() {
        let signing = SigningKey::generate_ed25519();
        let again = SigningKey::from_pkcs8(&signing.to_pkcs8().unwrap()).unwrap();
        let (key, restarted) = (DistributionKey::new(signing), DistributionKey::new(again));
        let epoch = Epoch { point: DeviceId::new([1; 16]), number: 1, salt: &[2; 16] };
        assert_eq!(key.shared(epoch), restarted.shared(epoch));
        let other = DistributionKey::new(SigningKey::generate_ed25519());
        let others = [
            other.shared(epoch),
            key.feedback(epoch),
            key.shared(Epoch { point: DeviceId::new([9; 16]), ..epoch }),
            key.shared(Epoch { number: 2, ..epoch }),
            key.shared(Epoch { salt: &[3; 16], ..epoch }),
        ];
        assert!(others.iter().all(|secret| *secret != key.shared(epoch)));
    }
}
