//! Messages between the server's relay and the agent that is a tunnel's target.

use bytes::Bytes;

/// Dial back: connect to the host and port of this control connection and show the cookie.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Open {
    /// The grant it is for, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub grant: Bytes,
    /// Shown once, within [`Open::expires_ms`], 20 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub cookie: Bytes,
    /// Milliseconds until the cookie is void.
    #[prost(uint32, tag = "3")]
    pub expires_ms: u32,
}

/// Ends grants: their live connections are cut, new ones refused.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Revoke {
    /// Grants, 16 bytes each, at most [`REVOKE_LIMIT`] in a message.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub grants: Vec<Bytes>,
    /// For people and the audit log.
    #[prost(string, tag = "2")]
    pub reason: String,
}

/// What became of a grant (no cookie) or of a dialled-back connection (cookie).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TunnelState {
    /// The grant, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub grant: Bytes,
    /// The connection's cookie, or empty.
    #[prost(bytes = "bytes", tag = "2")]
    pub cookie: Bytes,
    /// What happened.
    #[prost(enumeration = "State", tag = "3")]
    pub state: i32,
    /// Why, for people and the audit log.
    #[prost(string, tag = "4")]
    pub reason: String,
}

/// What happened to a grant or connection at the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum State {
    /// An unknown state of a newer version.
    Unknown = 0,
    /// The agent has verified the grant and keeps it.
    GrantAccepted = 1,
    /// The agent refuses the grant.
    GrantRefused = 2,
    /// The agent has verified the inner client key of the connection: it counts as a use.
    Verified = 3,
    /// The inner client key is not the grant's, or none came: it counts as nothing.
    Rejected = 4,
}

/// The server has stored the record of this connection; the agent may forget it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Recorded {
    /// The connection's cookie, 20 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub cookie: Bytes,
}

/// The grants with live connections at an agent, told after each WELCOME; the server revokes those it does not know.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Tunnels {
    /// Grants, 16 bytes each, at most [`REVOKE_LIMIT`].
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub grants: Vec<Bytes>,
}

/// Most grants named in one message: they fit in one frame.
pub const REVOKE_LIMIT: usize = 800;
