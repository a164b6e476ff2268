//! Messages that open, keep and end a session.

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
}

/// Says why the connection closes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ProtocolError {
    /// For people and logs.
    #[prost(string, tag = "1")]
    pub reason: String,
}
