//! What a relay asks its driver to do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use klnet_wire::id::{DeviceId, GrantId, OperatorId, TenantId};
use klnet_wire::message::Open;

use super::Whose;
use crate::grant::Grant;
use crate::label::Cookie;
use crate::pair::{ConnId, EndReason, PairEnd, PairId, PairLimits};

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// Send OPEN to the device.
    Open {
        /// The device.
        device: DeviceId,
        /// The message.
        open: Open,
    },
    /// Move bytes between two sockets until they end, then tell `Ended`.
    Join {
        /// Names the pair from here on.
        pair: PairId,
        /// Whose connection it is.
        tenant: TenantId,
        /// The operator's side, whose first flight is still unread.
        initiator: ConnId,
        /// The device's side.
        target: ConnId,
        /// What the mover keeps to.
        limits: PairLimits,
    },
    /// Close a waiting socket without a byte: the same for every reason there is.
    Drop {
        /// The socket.
        conn: ConnId,
    },
    /// End a pair now; `Ended` still follows.
    Cut {
        /// The pair.
        pair: PairId,
        /// Why.
        reason: EndReason,
    },
    /// Send REVOKE to the device, in messages of at most `REVOKE_LIMIT` grants.
    RevokeAt {
        /// The device.
        device: DeviceId,
        /// The grants to end there.
        grants: Vec<GrantId>,
        /// For people and the audit log.
        reason: &'static str,
    },
    /// A first flight led to nothing: for metrics and audit, never told to the peer.
    Refused {
        /// Why.
        why: RefusedHello,
        /// The grant, when the label or cookie named one.
        grant: Option<GrantId>,
        /// The peer, when it was an initiator.
        peer: Option<SocketAddr>,
    },
    /// A verified connection is over.
    Record(RelayRecord),
}

/// Why a first flight led to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusedHello {
    /// No such label or cookie, or none any more.
    Unknown,
    /// The label was used.
    Used,
    /// The label is on its way through a pairing.
    Pairing,
    /// The grant has as many connections as it allows.
    TooMany,
    /// The device, operator or tenant has as many connections as it may.
    Crowded(Whose),
    /// As many initiators wait as the relay keeps.
    Full,
    /// No dial-back came in time.
    NoTarget,
    /// The target did not verify the inner client key, or not in time.
    Rejected,
    /// The grant ended while the socket waited.
    Over,
}

/// The relay's own record of a verified connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayRecord {
    /// The grant.
    pub grant: GrantId,
    /// Names the connection at relay and target.
    pub cookie: Cookie,
    /// The grant's tenant.
    pub tenant: TenantId,
    /// The grant's device.
    pub device: DeviceId,
    /// The grant's operator.
    pub operator: OperatorId,
    /// Where the initiator came from.
    pub initiator: SocketAddr,
    /// When its sockets were joined.
    pub opened: Instant,
    /// When they were closed.
    pub closed: Instant,
    /// What it moved and why it ended.
    pub end: PairEnd,
}

/// A grant as `klctl tunnels` shows it.
#[derive(Debug, Clone)]
pub struct TunnelView {
    /// The grant.
    pub grant: Arc<Grant>,
    /// Until when the session must begin or, once begun, lasts.
    pub deadline: Instant,
    /// Whether a connection was verified.
    pub begun: bool,
    /// Initiators that wait for a dial-back.
    pub waiting: usize,
    /// Dial-backs that wait for an initiator.
    pub ready: usize,
    /// Its connections.
    pub pairs: Vec<PairView>,
}

/// A connection of a grant as `klctl tunnels` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairView {
    /// The pair, by which the driver finds its counters.
    pub pair: PairId,
    /// Names the connection at relay and target.
    pub cookie: Cookie,
    /// Where the initiator came from.
    pub initiator: SocketAddr,
    /// When its sockets were joined.
    pub opened: Instant,
    /// Whether the agent has verified the operator's key.
    pub verified: bool,
}
