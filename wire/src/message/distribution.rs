//! Messages of a device about what is distributed.

use bytes::Bytes;

/// A distribution point tells where it is, and the key it announces sessions with.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PointState {
    /// Its own key, made on it: Ed25519, 32 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub announcer: Bytes,
    /// Its addresses in its networks, at most [`ADDRESSES_LIMIT`](crate::duties::ADDRESSES_LIMIT).
    #[prost(string, repeated, tag = "2")]
    pub addresses: Vec<String>,
    /// Where it serves files.
    #[prost(uint32, tag = "3")]
    pub port: u32,
    /// An address that sends to its groups and is not its own: it asks for another number. Empty while there is none.
    #[prost(string, tag = "4")]
    pub foreign: String,
}

/// What became of an object at a device. Told again in each session, until it is distributed no more.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Delivery {
    /// The first 16 bytes of the object's id.
    #[prost(bytes = "bytes", tag = "1")]
    pub object: Bytes,
    /// How it stands.
    #[prost(enumeration = "DeliveryState", tag = "2")]
    pub state: i32,
    /// Bytes that came by multicast.
    #[prost(uint64, tag = "3")]
    pub multicast: u64,
    /// Bytes that came by HTTPS.
    #[prost(uint64, tag = "4")]
    pub https: u64,
    /// Milliseconds from its first bytes to its end.
    #[prost(uint64, tag = "5")]
    pub took_ms: u64,
    /// Symbols that were lost and restored.
    #[prost(uint32, tag = "6")]
    pub repaired: u32,
    /// Why it failed, for people.
    #[prost(string, tag = "7")]
    pub reason: String,
}

/// How an object stands at a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum DeliveryState {
    /// A state of a newer version.
    Unknown = 0,
    /// It is in its place.
    Complete = 1,
    /// It cannot be taken now; it is tried again.
    Failed = 2,
}
