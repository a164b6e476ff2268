//! What a person should know about a poll: what could not be used or reached.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::range::Range;

/// Something that a person should know about the poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Packet sockets cannot be used.
    NoRaw(String),
    /// Ping sockets cannot be used either.
    NoPing(String),
    /// Nothing leads to these addresses.
    NoRoute(Range),
    /// A router does not answer.
    NoGateway(IpAddr),
    /// There is no name server to ask.
    NoNameServer,
    /// The name server cannot be asked.
    NameServer(SocketAddr, String),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRaw(why) => write!(
                f,
                "packet sockets cannot be used ({why}): asking as an ordinary user does, which is slower"
            ),
            Self::NoPing(why) => write!(
                f,
                "ping sockets cannot be used ({why}; see net.ipv4.ping_group_range): knocking at ports instead, \
                 which finds only hosts that answer there"
            ),
            Self::NoRoute(range) => write!(f, "there is no route to {range}"),
            Self::NoGateway(gateway) => write!(f, "the router {gateway} does not answer"),
            Self::NameServer(server, why) => write!(f, "the name server {server} cannot be asked: {why}"),
            Self::NoNameServer => write!(f, "there is no name server to ask; give one with --dns"),
        }
    }
}
