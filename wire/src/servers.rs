//! The signed server list: where agents and operators find the fabric's servers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prost::Message;

use crate::id::FabricId;
use crate::keyset::{KeySet, Purpose};
use crate::signed::{BadSignature, Context, Signed};

/// One server and the ports it listens on.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Server {
    /// Host name or address.
    #[prost(string, tag = "1")]
    pub host: String,
    /// Ports for agents, 23100-23199 by convention.
    #[prost(uint32, repeated, tag = "2")]
    pub agent_ports: Vec<u32>,
    /// Ports for tunnels, 29200-29299 by convention.
    #[prost(uint32, repeated, tag = "3")]
    pub tunnel_ports: Vec<u32>,
    /// Share of the agents it takes, relative to the others.
    #[prost(uint32, tag = "4")]
    pub weight: u32,
    /// [`ServerId`](crate::id::ServerId): the audience of grants for its relay.
    #[prost(bytes = "bytes", tag = "5")]
    pub id: Bytes,
}

/// Every server of a fabric, as the discovery service tells it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ServerList {
    /// The fabric it is for.
    #[prost(bytes = "bytes", tag = "1")]
    pub fabric: Bytes,
    /// The servers.
    #[prost(message, repeated, tag = "2")]
    pub servers: Vec<Server>,
    /// When it was signed, Unix seconds.
    #[prost(uint64, tag = "3")]
    pub issued: u64,
    /// Last second it may be used, Unix time.
    #[prost(uint64, tag = "4")]
    pub expires: u64,
    /// Milliseconds over which agents that lost their server spread their return.
    #[prost(uint32, tag = "5")]
    pub reconnect_window_ms: u32,
}

impl ServerList {
    /// Verifies that a directory key of `keys` signed this list and that it is for `fabric`, and reads it.
    ///
    /// Expiry is left to [`ServerList::fresh`]: an agent that knows its clock is wrong still wants the list.
    ///
    /// # Errors
    /// [`ServerListError`] when anything about it is wrong.
    pub fn verify(signed: &Signed, fabric: FabricId, keys: &KeySet) -> Result<Self, ServerListError> {
        if signed.bytes.len() > LIMIT {
            return Err(ServerListError::TooLong(signed.bytes.len()));
        }
        let bytes = keys.check_without_clock(signed, Context::ServerList, Purpose::Directory)?;
        let list = Self::decode(bytes.clone()).map_err(|_| ServerListError::Malformed)?;
        if list.fabric[..] != fabric.as_bytes()[..] {
            return Err(ServerListError::OtherFabric);
        }
        match list.servers.iter().all(Server::has_sound_ports) {
            true => Ok(list),
            false => Err(ServerListError::Malformed),
        }
    }

    /// Whether the list is within its time at `now`.
    pub fn fresh(&self, now: SystemTime) -> bool {
        now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs() <= self.expires
    }
}

impl Server {
    fn has_sound_ports(&self) -> bool {
        self.agent_ports.iter().chain(&self.tunnel_ports).all(|port| (1..=65_535).contains(port))
    }
}

/// Why a server list was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServerListError {
    /// No directory key of the fabric signed it.
    #[error("the server list is not signed by the fabric's directory key")]
    Signature(#[from] BadSignature),
    /// Its bytes are no server list.
    #[error("the server list cannot be read")]
    Malformed,
    /// It is for another fabric.
    #[error("the server list is for another fabric")]
    OtherFabric,
    /// It is longer than any server list is.
    #[error("server list of {0} bytes exceeds the limit of {LIMIT}")]
    TooLong(usize),
}

/// The longest server list that is read, in bytes: some hundred servers.
pub const LIMIT: usize = 64 * 1024;
