//! What a target asks its driver to do.

use std::net::SocketAddr;
use std::time::Instant;

use klnet_wire::id::GrantId;
use klnet_wire::message::Message;

use crate::label::Cookie;
use crate::pair::{ConnId, EndReason, PairLimits};
use crate::record::TunnelRecord;
use crate::stream::Answer;

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Output {
    /// Connect to host and port of the control connection, send the cookie's first flight, tell `DialedBack`,
    /// then be the inner TLS server and tell `Handshaken` or `HandshakeFailed`.
    DialBack {
        /// Names the connection from here on.
        conn: ConnId,
        /// The cookie to show.
        cookie: Cookie,
        /// The grant it is for.
        grant: GrantId,
        /// Give up then; the target drops it too.
        deadline: Instant,
    },
    /// Look up the addresses of a name once, and tell `Resolved`.
    Resolve {
        /// The connection.
        conn: ConnId,
        /// The name.
        host: String,
        /// The port that will be dialled.
        port: u16,
    },
    /// Connect to the first of these addresses that accepts, to no other, and tell `Dialed`.
    Dial {
        /// The connection.
        conn: ConnId,
        /// Checked addresses, in order.
        addresses: Vec<SocketAddr>,
    },
    /// Send the answer inside the inner TLS. After `Refused` close: the target has forgotten the connection.
    Answer {
        /// The connection.
        conn: ConnId,
        /// The answer.
        answer: Answer,
    },
    /// Move bytes between inner TLS and target until they end, then tell `Ended`. Always follows `Ready`.
    Carry {
        /// The connection.
        conn: ConnId,
        /// What the mover keeps to.
        limits: PairLimits,
    },
    /// End a carried connection now; `Ended` still follows.
    Cut {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: EndReason,
    },
    /// Close a connection that is not carried yet, silently: the target has forgotten it.
    Drop {
        /// The connection.
        conn: ConnId,
    },
    /// Send a message on the control connection.
    Send(Message),
    /// Sign the record with the device's key and send it on the control connection.
    Sign(TunnelRecord),
}
