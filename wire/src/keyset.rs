//! The keys that sign for a fabric, in one list signed by its root.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prost::Message;

use crate::id::FabricId;
use crate::signed::{BadSignature, Context, PublicKey, Signed};

/// What a key of the set may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Purpose {
    /// Nothing: an unknown purpose of a newer version.
    None = 0,
    /// Tunnel grants.
    Grant = 1,
    /// Server lists.
    Directory = 2,
    /// Certificates and their revocation lists: the key of an issuing authority.
    Issue = 3,
    /// Objects that are distributed, and what devices are to do with them.
    Distribute = 4,
}

/// One key and what it may sign when.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Key {
    /// What the key may sign.
    #[prost(enumeration = "Purpose", tag = "1")]
    pub purpose: i32,
    /// Raw public key, see [`PublicKey`].
    #[prost(bytes = "bytes", tag = "2")]
    pub public: Bytes,
    /// First second of validity, Unix time.
    #[prost(uint64, tag = "3")]
    pub not_before: u64,
    /// Last second of validity, Unix time.
    #[prost(uint64, tag = "4")]
    pub not_after: u64,
}

/// Every online signing key of a fabric. A newer version replaces an older one, never the other way round.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeySet {
    /// The fabric it is for.
    #[prost(bytes = "bytes", tag = "1")]
    pub fabric: Bytes,
    /// Rises with every change.
    #[prost(uint64, tag = "2")]
    pub version: u64,
    /// Old and new keys stand side by side while they overlap.
    #[prost(message, repeated, tag = "3")]
    pub keys: Vec<Key>,
}

impl KeySet {
    /// Verifies a signed key set against the fabric's root keys and reads it.
    ///
    /// # Errors
    /// [`KeySetError`] when it is not signed by one of `roots`, not for `fabric`, or longer than [`LIMIT`].
    pub fn verify(signed: &Signed, fabric: FabricId, roots: &[PublicKey]) -> Result<Self, KeySetError> {
        if signed.bytes.len() > LIMIT {
            return Err(KeySetError::TooLong(signed.bytes.len()));
        }
        let root = roots.iter().find(|root| root.id() == signed.key_id[..]).ok_or(BadSignature)?;
        let bytes = signed.verify(Context::KeySet, root)?;
        let set = Self::decode(bytes.clone()).map_err(|_| KeySetError::Malformed)?;
        match set.fabric[..] == fabric.as_bytes()[..] {
            true => Ok(set),
            false => Err(KeySetError::OtherFabric),
        }
    }

    /// Verifies that a key of `purpose`, valid at `now`, signed the blob in `context`, and gives its bytes.
    ///
    /// # Errors
    /// [`BadSignature`] when no such key did.
    pub fn check<'a>(
        &self,
        signed: &'a Signed,
        context: Context,
        purpose: Purpose,
        now: SystemTime,
    ) -> Result<&'a Bytes, BadSignature> {
        let second = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let valid = |key: &Key| (key.not_before..=key.not_after).contains(&second);
        let key = self.find(signed, |key| key.purpose() == purpose && valid(key))?;
        signed.verify(context, &key)
    }

    /// Like [`KeySet::check`] for a verifier that trusts no clock: validity times are not looked at.
    ///
    /// Devices use it for grants, whose life they count on their own monotonic clock from receipt.
    ///
    /// # Errors
    /// [`BadSignature`] when no key of the purpose signed the blob.
    pub fn check_without_clock<'a>(
        &self,
        signed: &'a Signed,
        context: Context,
        purpose: Purpose,
    ) -> Result<&'a Bytes, BadSignature> {
        let key = self.find(signed, |key| key.purpose() == purpose)?;
        signed.verify(context, &key)
    }

    /// The keys of a purpose, whatever their time.
    pub fn of(&self, purpose: Purpose) -> impl Iterator<Item = PublicKey> + '_ {
        let keys = self.keys.iter().filter(move |key| key.purpose() == purpose);
        keys.filter_map(|key| PublicKey::try_from(&key.public[..]).ok())
    }

    /// The key among those that `may` sign which the blob names.
    fn find(&self, signed: &Signed, may: impl Fn(&Key) -> bool) -> Result<PublicKey, BadSignature> {
        let keys = self.keys.iter().filter(|key| may(key));
        let mut keys = keys.filter_map(|key| PublicKey::try_from(&key.public[..]).ok());
        keys.find(|key| key.id() == signed.key_id[..]).ok_or(BadSignature)
    }
}

/// Why a key set was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// The root did not sign it.
    #[error("the key set is not signed by the fabric's root")]
    Signature(#[from] BadSignature),
    /// Its bytes are no key set.
    #[error("the key set cannot be read")]
    Malformed,
    /// It is for another fabric.
    #[error("the key set is for another fabric")]
    OtherFabric,
    /// It is longer than any key set is.
    #[error("key set of {0} bytes exceeds the limit of {LIMIT}")]
    TooLong(usize),
}

/// The longest key set that is read, in bytes: over a hundred keys.
pub const LIMIT: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::SigningKey;

    #[test]
    fn a_key_signs_only_for_its_purpose_and_time() {
        let (root, grant) = (SigningKey::generate_p256(), SigningKey::generate_ed25519());
        let fabric = FabricId::random();
        let public = Bytes::copy_from_slice(grant.public().as_bytes());
        let key = Key { purpose: Purpose::Grant.into(), public, not_before: 100, not_after: 200 };
        let set = KeySet { fabric: fabric.to_vec().into(), version: 1, keys: vec![key] };
        let signed = root.sign(Context::KeySet, set.encode_to_vec().into());
        let set = KeySet::verify(&signed, fabric, &[root.public().clone()]).unwrap();
        let blob = grant.sign(Context::Grant, Bytes::from_static(b"x"));
        let at = |second| UNIX_EPOCH + Duration::from_secs(second);
        assert!(set.check(&blob, Context::Grant, Purpose::Grant, at(150)).is_ok());
        assert!(set.check(&blob, Context::Grant, Purpose::Grant, at(201)).is_err());
        assert!(set.check(&blob, Context::Grant, Purpose::Directory, at(150)).is_err());
        assert!(set.check_without_clock(&blob, Context::Grant, Purpose::Grant).is_ok());
        let other = KeySet::verify(&signed, FabricId::random(), &[root.public().clone()]);
        assert_eq!(other.unwrap_err(), KeySetError::OtherFabric);
    }
}
