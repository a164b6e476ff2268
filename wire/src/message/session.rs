//! Messages that open, keep and end a session.

use std::fmt;

use bytes::Bytes;

/// What an agent says first.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Hello {
    /// Lowest minor version it speaks.
    #[prost(uint32, tag = "1")]
    pub minor_min: u32,
    /// Highest minor version it speaks.
    #[prost(uint32, tag = "2")]
    pub minor_max: u32,
    /// Feature bits it offers; see `PROTOCOL.md`.
    #[prost(uint64, tag = "3")]
    pub features: u64,
    /// Version of the agent's program.
    #[prost(string, tag = "4")]
    pub build: String,
    /// 16 random bytes drawn when the agent's process started: tells a restart from a reconnect.
    #[prost(bytes = "bytes", tag = "5")]
    pub boot_id: Bytes,
    /// The device's host name.
    #[prost(string, tag = "6")]
    pub host_name: String,
    /// The device's operating system.
    #[prost(string, tag = "7")]
    pub os: String,
    /// Version of the key set it holds.
    #[prost(uint64, tag = "8")]
    pub key_set: u64,
    /// The agent's wall clock, Unix seconds: the server shows a clock that is off.
    #[prost(uint64, tag = "9")]
    pub clock: u64,
    /// Drawn at random for each session: names it, and WELCOME must repeat it. Grants are bound to it, so whoever
    /// replays an old session's grants, even the server, finds them void.
    #[prost(fixed64, tag = "10")]
    pub epoch: u64,
    /// The epoch of the session that this process had before; 0 in its first.
    #[prost(fixed64, tag = "11")]
    pub last_epoch: u64,
    /// In a process's first session: 16 random bytes, which both ends store. Empty otherwise.
    #[prost(bytes = "bytes", tag = "12")]
    pub sync: Bytes,
    /// The one before, which both ends have stored: another one than the server's tells of a disk that was set back.
    #[prost(bytes = "bytes", tag = "13")]
    pub last_sync: Bytes,
    /// With [`Hello::sync`]: addresses of the device's network cards, 6 bytes each, at most
    /// [`ADDRESSES_LIMIT`](super::sighting::ADDRESSES_LIMIT). Whoever finds one of them has found this device.
    #[prost(bytes = "bytes", repeated, tag = "14")]
    pub macs: Vec<Bytes>,
}

/// What the server answers to [`Hello`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Welcome {
    /// The minor version spoken from here on.
    #[prost(uint32, tag = "1")]
    pub minor: u32,
    /// The feature bits both ends have.
    #[prost(uint64, tag = "2")]
    pub features: u64,
    /// How often the agent sends a heartbeat, in milliseconds.
    #[prost(uint32, tag = "3")]
    pub heartbeat_ms: u32,
    /// After a loss of the connection the agent waits a random part of this, in milliseconds.
    #[prost(uint32, tag = "4")]
    pub reconnect_window_ms: u32,
    /// [`Hello::epoch`] again.
    #[prost(fixed64, tag = "5")]
    pub epoch: u64,
    /// The server's wall clock, Unix seconds.
    #[prost(uint64, tag = "6")]
    pub clock: u64,
    /// [`Hello::sync`] again, once the server has stored it.
    #[prost(bytes = "bytes", tag = "7")]
    pub sync: Bytes,
}

/// Why an agent leaves.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Goodbye {
    /// For people.
    #[prost(string, tag = "1")]
    pub reason: String,
}

/// Asks an agent to close and to come back.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct GoAway {
    /// For people.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// The agent comes back after a random part of this many milliseconds.
    #[prost(uint32, tag = "2")]
    pub reconnect_ms: u32,
    /// The device may not come back: it was revoked or removed.
    #[prost(bool, tag = "3")]
    pub forever: bool,
    /// For a clone that an operator approved of: an enrolment token of one use, for an identity of its own.
    #[prost(string, tag = "4")]
    pub token: String,
}

impl fmt::Debug for GoAway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, reconnect_ms, forever, token: _ } = self; // the token is a secret
        let mut shown = f.debug_struct("GoAway");
        shown.field("reason", reason).field("reconnect_ms", reconnect_ms).field("forever", forever);
        shown.finish_non_exhaustive()
    }
}

/// Says which revocation lists are the newest.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Lists {
    /// Their number, the same for those of every issuer; it rises from list to list.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// An agent that has older ones asks discovery after a random part of this many milliseconds.
    #[prost(uint32, tag = "2")]
    pub within_ms: u32,
}

/// Says why the connection closes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ProtocolError {
    /// For people and logs.
    #[prost(string, tag = "1")]
    pub reason: String,
}
