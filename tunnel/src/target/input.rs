//! What a target is told.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use klnet_wire::id::ServerId;
use klnet_wire::keyset::KeySet;
use klnet_wire::message::{Open, Recorded, Revoke};
use klnet_wire::signed::{PublicKey, Signed};

use crate::pair::{ConnId, PairEnd};
use crate::stream::Go;

/// Something happened. Inputs about a connection the target has forgotten change nothing.
#[derive(Debug, Clone)]
pub enum Input {
    /// The fabric's verified key set.
    Keys(Arc<KeySet>),
    /// The control connection has a session.
    Connected {
        /// Names the session; another one voids every grant for new connections.
        epoch: u64,
        /// The server's clock, Unix seconds: records are dated by it, nothing is decided by it.
        clock: u64,
        /// Every address of the relay and the servers: never reached as another host.
        forbidden: Vec<IpAddr>,
        /// The server, when known: grants must name it.
        relay: Option<ServerId>,
    },
    /// The device's own addresses, as they are now: never reached as another host. Told before each `Go` and
    /// `Resolved`, since a device may get a new address at any time.
    OwnAddresses(Vec<IpAddr>),
    /// The control connection is gone.
    Disconnected,
    /// A GRANT came.
    Grant(Signed),
    /// An OPEN came.
    Open(Open),
    /// A REVOKE came.
    Revoke(Revoke),
    /// A RECORDED came.
    Recorded(Recorded),
    /// What became of a `DialBack`: `Ok` once the first flight is sent.
    DialedBack {
        /// The connection.
        conn: ConnId,
        /// Why it failed.
        result: Result<(), String>,
    },
    /// The inner handshake is done, and the client has proved this key.
    Handshaken {
        /// The connection.
        conn: ConnId,
        /// The client's key.
        key: PublicKey,
    },
    /// The inner handshake failed or the socket closed before it was done.
    HandshakeFailed {
        /// The connection.
        conn: ConnId,
        /// Why, for the audit log.
        why: String,
    },
    /// The relay closed a dial-back that waited, before anybody had sent anything.
    Unused {
        /// The connection.
        conn: ConnId,
    },
    /// The initiator's first message was read.
    Go {
        /// The connection.
        conn: ConnId,
        /// The message.
        go: Go,
    },
    /// What became of a `Resolve`.
    Resolved {
        /// The connection.
        conn: ConnId,
        /// The name's addresses, or why there are none.
        addresses: Result<Vec<IpAddr>, String>,
    },
    /// What became of a `Dial`.
    Dialed {
        /// The connection.
        conn: ConnId,
        /// The address that accepted, one of those asked for, or why none did.
        result: Result<SocketAddr, String>,
    },
    /// The connection's sockets are closed: told once for each `Carry`, and whenever one closes before that.
    Ended {
        /// The connection.
        conn: ConnId,
        /// What it moved and why it ended; a `Cut`'s own reason wins.
        end: PairEnd,
    },
}
