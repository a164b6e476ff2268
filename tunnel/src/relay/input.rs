//! What a relay is told.

use std::net::SocketAddr;

use klnet_wire::id::{DeviceId, GrantId, OperatorId, TenantId};
use klnet_wire::message::{TunnelState, Tunnels};

use crate::label::{Cookie, Label};
use crate::pair::{ConnId, PairEnd, PairId};

/// Something happened; grants come by [`Relay::admit`](super::Relay::admit).
#[derive(Debug, Clone)]
pub enum Input {
    /// A first flight with a label's name was peeked, not consumed.
    Initiator {
        /// The socket, which from here on the relay joins or drops.
        conn: ConnId,
        /// The label shown.
        label: Label,
        /// The other end, for audit.
        peer: SocketAddr,
    },
    /// A dial-back showed its cookie; its first flight was consumed.
    Target {
        /// The socket, which from here on the relay joins or drops.
        conn: ConnId,
        /// The cookie shown.
        cookie: Cookie,
    },
    /// A waiting socket closed. Needs no `Drop` any more.
    Gone {
        /// The socket.
        conn: ConnId,
    },
    /// An agent reports on a grant or connection.
    State(TunnelState, DeviceId),
    /// After a reconnect an agent says which grants still have connections.
    Tunnels(Tunnels, DeviceId),
    /// Both sockets of a pair are closed: told exactly once for each `Join`, also after a `Cut`.
    Ended {
        /// The pair.
        pair: PairId,
        /// What it moved and why it ended; a `Cut`'s own reason wins.
        end: PairEnd,
    },
    /// A device's agent has a new session.
    Online {
        /// The device.
        device: DeviceId,
        /// Names the session; another one voids the device's grants.
        epoch: u64,
    },
    /// A device's control connection is gone, and no newer one has taken its place.
    Offline {
        /// The device.
        device: DeviceId,
    },
    /// Ends grants and their connections.
    Revoke(Scope),
    /// Another relay takes this one's place: no pair begins any more, live ones go on.
    Retire,
    /// The server stops: ends every grant and its connections.
    Shutdown,
}

/// Whose grants end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One grant.
    Grant(GrantId),
    /// Every grant to a device.
    Device(DeviceId),
    /// Every grant of an operator.
    Operator(OperatorId),
    /// Every grant of a tenant.
    Tenant(TenantId),
    /// Every grant.
    All,
}
