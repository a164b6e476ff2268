//! What a server has a device do: receive what is distributed, be a distribution point, find hosts.
//!
//! A device is told everything at once and anew whenever any of it changes, in one signed blob: there is nothing to merge
//! and nothing to miss. Its keys are for this device alone, so it travels in the device's own session and is never stored.

use std::fmt;

use bytes::Bytes;
use prost::Message;

use crate::id::DeviceId;
use crate::keyset::{KeySet, Purpose};
use crate::signed::{BadSignature, Context, Signed};

/// Everything one device is to do.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Duties {
    /// Whose they are, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub device: Bytes,
    /// The groups it is in, its own first: it takes objects that are for one of them. 16 bytes each.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub audiences: Vec<Bytes>,
    /// What it is to have, or to send.
    #[prost(message, repeated, tag = "3")]
    pub objects: Vec<Object>,
    /// The distribution point it receives from, once that has told where it is.
    #[prost(message, optional, tag = "4")]
    pub source: Option<Source>,
    /// It is a distribution point.
    #[prost(message, optional, tag = "5")]
    pub point: Option<Point>,
    /// It finds hosts in its networks.
    #[prost(message, optional, tag = "6")]
    pub polling: Option<Polling>,
    /// It is a KSN proxy.
    #[prost(message, optional, tag = "7")]
    pub ksn: Option<KsnProxy>,
}

/// An object that is distributed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Object {
    /// Its manifest, as its maker signed it.
    #[prost(message, optional, tag = "1")]
    pub manifest: Option<Signed>,
    /// Whether this device is to send it.
    #[prost(bool, tag = "2")]
    pub send: bool,
    /// Whether so few are to have it that each fetches it by itself, at once; it is not sent by multicast.
    #[prost(bool, tag = "3")]
    pub unicast: bool,
}

/// A distribution point, as one of its receivers knows it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct Source {
    /// Which device it is, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub device: Bytes,
    /// The number of its group; see [`AgentGroup`](crate::multicast::AgentGroup).
    #[prost(uint32, tag = "2")]
    pub group: u32,
    /// The epoch of the secret.
    #[prost(uint32, tag = "3")]
    pub epoch: u32,
    /// What all members share in this epoch, 32 bytes.
    #[prost(bytes = "bytes", tag = "4")]
    pub secret: Bytes,
    /// What it shares with this receiver alone, 32 bytes.
    #[prost(bytes = "bytes", tag = "5")]
    pub key: Bytes,
    /// Its own key, which announces sessions: Ed25519, 32 bytes.
    #[prost(bytes = "bytes", tag = "6")]
    pub announcer: Bytes,
    /// Its addresses, where it serves files.
    #[prost(string, repeated, tag = "7")]
    pub addresses: Vec<String>,
    /// The port there.
    #[prost(uint32, tag = "8")]
    pub port: u32,
}

/// A distribution point's own part.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct Point {
    /// The number of its group.
    #[prost(uint32, tag = "1")]
    pub group: u32,
    /// The epoch of the secrets.
    #[prost(uint32, tag = "2")]
    pub epoch: u32,
    /// What all members share in this epoch, 32 bytes.
    #[prost(bytes = "bytes", tag = "3")]
    pub secret: Bytes,
    /// What the keys of receivers are made from, 32 bytes.
    #[prost(bytes = "bytes", tag = "4")]
    pub feedback: Bytes,
    /// Bits a second that it sends at most; 0 for as fast as its networks take them.
    #[prost(uint64, tag = "5")]
    pub rate: u64,
}

/// What a device is to find, and how often, in seconds; 0 is never.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Polling {
    /// Ranges of addresses: prefixes, start-end or subnet/mask, at most [`RANGES_LIMIT`].
    #[prost(string, repeated, tag = "1")]
    pub ranges: Vec<String>,
    /// Every address of the ranges.
    #[prost(uint32, tag = "2")]
    pub ranges_every: u32,
    /// What announces itself by mDNS.
    #[prost(uint32, tag = "3")]
    pub zeroconf_every: u32,
    /// Windows names of what answers.
    #[prost(uint32, tag = "4")]
    pub windows_every: u32,
}

/// A KSN proxy: it answers what its network asks about files, addresses and certificates.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KsnProxy {
    /// Reputation servers, the best first: `[DEVICE@]HOST:PORT` ([`Place`](crate::place::Place)). At most [`UPSTREAMS_LIMIT`].
    #[prost(string, repeated, tag = "1")]
    pub upstreams: Vec<String>,
    /// Whether it serves HTTPS, too.
    #[prost(bool, tag = "2")]
    pub https: bool,
    /// Whether it answers who shows no certificate.
    #[prost(bool, tag = "3")]
    pub allow_plain: bool,
    /// MiB of its cache; 0 for as many as it takes by itself.
    #[prost(uint32, tag = "4")]
    pub cache_mib: u32,
}

impl Duties {
    /// Reads what a server has signed for `device`; the session it comes in is as fresh as it is.
    ///
    /// # Errors
    /// [`DutiesError`] when anything about it is wrong.
    pub fn verify(signed: &Signed, device: DeviceId, keys: &KeySet) -> Result<Self, DutiesError> {
        let bytes = keys.check_without_clock(signed, Context::Duties, Purpose::Distribute)?;
        let duties = Self::decode(bytes.clone()).map_err(|_| DutiesError::Malformed)?;
        if duties.device[..] != device.as_bytes()[..] {
            return Err(DutiesError::OtherDevice);
        }
        Ok(duties)
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let Self { device: _, audiences: _, objects, source, point, polling, ksn } = self;
        let roles = point.is_some() || polling.is_some() || ksn.is_some();
        objects.is_empty() && source.is_none() && !roles
    }
}

/// Why duties are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DutiesError {
    /// No key of the fabric that may signed them.
    #[error("the duties are not signed by the fabric's distribution key")]
    Signature(#[from] BadSignature),
    /// Their bytes are none.
    #[error("the duties cannot be read")]
    Malformed,
    /// They are for another device.
    #[error("the duties are for another device")]
    OtherDevice,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, group, epoch, addresses, port, .. } = self; // the rest is secret, or says little
        let mut shown = f.debug_struct("Source");
        shown.field("device", device).field("group", group).field("epoch", epoch);
        shown.field("addresses", addresses).field("port", port).finish_non_exhaustive()
    }
}

impl fmt::Debug for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, epoch, rate, secret: _, feedback: _ } = self;
        let mut shown = f.debug_struct("Point");
        shown.field("group", group).field("epoch", epoch).field("rate", rate).finish_non_exhaustive()
    }
}

/// Most objects in one device's duties: with the longest names they fit in a frame.
pub const OBJECTS_LIMIT: usize = 32;
/// Most reputation servers of a KSN proxy.
pub const UPSTREAMS_LIMIT: usize = 4;
/// Longest of them, in bytes: a device, a DNS name and a port.
pub const UPSTREAM_LIMIT: usize = 33 + 259;
/// Most ranges that a device polls.
pub const RANGES_LIMIT: usize = 16;
/// Longest of them, in bytes: two IPv6 addresses.
pub const RANGE_LIMIT: usize = 79;
/// Most addresses of a distribution point.
pub const ADDRESSES_LIMIT: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::FabricId;
    use crate::keyset::Key;
    use crate::signing::SigningKey;

    #[test]
    fn duties_are_taken_by_their_device_from_their_signer_alone() {
        let (key, other, device) =
            (SigningKey::generate_ed25519(), SigningKey::generate_ed25519(), DeviceId::random());
        let keys = key_set([(Purpose::Distribute, &key), (Purpose::Grant, &other)]);
        let duties = Duties { device: device.to_vec().into(), ..Duties::default() };
        let sign = |key: &SigningKey, context| key.sign(context, duties.encode_to_vec().into());
        let signed = sign(&key, Context::Duties);
        assert_eq!(Duties::verify(&signed, device, &keys), Ok(duties.clone()));
        assert_eq!(Duties::verify(&signed, DeviceId::random(), &keys), Err(DutiesError::OtherDevice));
        for refused in [sign(&other, Context::Duties), sign(&key, Context::MulticastManifest)] {
            let refused = Duties::verify(&refused, device, &keys);
            assert_eq!(refused, Err(DutiesError::Signature(BadSignature)));
        }
    }

    #[test]
    fn the_longest_duties_fit_in_a_frame() {
        let bytes = |len| Bytes::from(vec![0xff; len]);
        // The longest manifest has 215 bytes.
        let signed = Signed { bytes: bytes(215), key_id: bytes(8), signature: bytes(64) };
        let source = Source {
            device: bytes(16),
            group: u32::MAX,
            epoch: u32::MAX,
            secret: bytes(32),
            key: bytes(32),
            announcer: bytes(32),
            addresses: vec!["f".repeat(45); ADDRESSES_LIMIT],
            port: 65_535,
        };
        let point = Point {
            group: u32::MAX,
            epoch: u32::MAX,
            secret: bytes(32),
            feedback: bytes(32),
            rate: u64::MAX,
        };
        let polling = Polling {
            ranges: vec!["f".repeat(RANGE_LIMIT); RANGES_LIMIT],
            ranges_every: u32::MAX,
            zeroconf_every: u32::MAX,
            windows_every: u32::MAX,
        };
        let ksn = KsnProxy {
            upstreams: vec!["f".repeat(UPSTREAM_LIMIT); UPSTREAMS_LIMIT],
            https: true,
            allow_plain: true,
            cache_mib: u32::MAX,
        };
        let duties = Duties {
            device: bytes(16),
            audiences: vec![bytes(16); 33],
            objects: vec![Object { manifest: Some(signed), send: true, unicast: true }; OBJECTS_LIMIT],
            source: Some(source),
            point: Some(point),
            polling: Some(polling),
            ksn: Some(ksn),
        };
        let signed = Signed { bytes: duties.encode_to_vec().into(), key_id: bytes(8), signature: bytes(64) };
        let message = crate::message::Message::Duties(signed);
        assert!(message.encode(0, &mut bytes::BytesMut::new()).is_ok());
        let shown = format!("{duties:?}");
        assert!(shown.contains("epoch") && !shown.contains("secret"), "{shown}");
    }

    fn key_set<const N: usize>(keys: [(Purpose, &SigningKey); N]) -> KeySet {
        let key = |(purpose, key): (Purpose, &SigningKey)| Key {
            purpose: purpose.into(),
            public: Bytes::copy_from_slice(key.public().as_bytes()),
            not_before: 0,
            not_after: u64::MAX,
        };
        let fabric = FabricId::random().to_vec().into();
        KeySet { fabric, version: 1, keys: keys.into_iter().map(key).collect() }
    }
}
