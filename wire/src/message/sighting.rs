//! Messages of a device about the hosts that it finds in its networks.

use bytes::Bytes;

/// Hosts that were found, or found to be otherwise. A host is told again in each poll, so that the server knows who is gone.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Sightings {
    /// At most [`HOSTS_LIMIT`].
    #[prost(message, repeated, tag = "1")]
    pub hosts: Vec<Sighting>,
}

/// A host, as the device knows it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Sighting {
    /// 16 bytes that name the host among those of this device, from poll to poll.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Its addresses, at most [`ADDRESSES_LIMIT`].
    #[prost(string, repeated, tag = "2")]
    pub addresses: Vec<String>,
    /// Addresses of its cards, 6 bytes each, at most [`ADDRESSES_LIMIT`].
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub macs: Vec<Bytes>,
    /// What people know it by.
    #[prost(string, tag = "4")]
    pub name: String,
    /// The domain or workgroup that it says it is in.
    #[prost(string, tag = "5")]
    pub domain: String,
    /// Its operating system.
    #[prost(string, tag = "6")]
    pub system: String,
    /// How it was found: `arp`, `echo`, `mdns` and so on.
    #[prost(string, repeated, tag = "7")]
    pub sources: Vec<String>,
    /// Why its answers do not count, when they do not.
    #[prost(string, tag = "8")]
    pub suspicion: String,
    /// When it was seen first, Unix seconds.
    #[prost(uint64, tag = "9")]
    pub first_seen: u64,
    /// When it was seen last, Unix seconds.
    #[prost(uint64, tag = "10")]
    pub last_seen: u64,
}

/// Most hosts in one message, which ends earlier where their texts are long.
pub const HOSTS_LIMIT: usize = 64;
/// Most addresses of a host, and most cards.
pub const ADDRESSES_LIMIT: usize = 8;
/// Longest text, in bytes.
pub const TEXT_LIMIT: usize = 128;
