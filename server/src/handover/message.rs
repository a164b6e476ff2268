//! What the two processes of a handover say to each other: one message a packet, its descriptors beside it.
//!
//! | old says | descriptors | | new says | |
//! |---|---|---|---|---|
//! | Offer | | which protocol, and how many listeners follow | Prepared | it could serve |
//! | Listener | 1 | one bound socket | Cannot | why it cannot; it ends |
//! | Pair | | a live pair, whose sockets follow | Serving | it has the store and accepts |
//! | Record | | the end of a connection that was not stored yet | Taken | it moves the pair's bytes |
//! | Serve | | the store is free: open it, and accept | Declined | it does not have the pair |
//! | Carry | 2 to 6 | a pair's sockets, and both ends of the pipe of each way that has one | Done | it has everything |
//! | Ended | | a pair that ended before it was carried | | |
//! | Done | | there is no more | | |
//!
//! Protocol Buffers, so that a later version can add fields and messages; whoever cannot read a message refuses it, and
//! a handover that is refused changes nothing.

mod raw;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use klnet_tunnel::label::Cookie;
use klnet_tunnel::net::relay;
use klnet_tunnel::pair::{PairEnd, PairId};
use klnet_tunnel::relay::{LivePair, RelayRecord};
use klnet_wire::id::{DeviceId, GrantId, OperatorId, TenantId};
use prost::Message as _;

/// Something one process says to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Old: which protocol it speaks, its version, and how many listeners follow.
    Offer {
        /// Its protocol; another one is refused.
        protocol: u32,
        /// Version of its program, for people.
        build: String,
        /// How many [`Message::Listener`] follow.
        listeners: u32,
    },
    /// Old: a bound socket, which is beside it.
    Listener(Listener),
    /// Old: a pair whose sockets follow, and what it had moved when this was said.
    Pair(LivePair, Moved),
    /// Old: the end of a connection that the store does not have.
    Record(Record),
    /// Old: the store is free.
    Serve,
    /// Old: a pair's sockets, initiator and target, then the pipes (read, write) of the ways that have one; all beside it.
    Carry(Carry),
    /// Old: a pair ended before it was carried.
    Ended(PairId, PairEnd),
    /// New: it could serve with what it was offered.
    Prepared {
        /// Its process, which may be a child of the one that was started.
        process: u32,
        /// Version of its program, for people.
        build: String,
    },
    /// New: why it cannot.
    Cannot {
        /// For people.
        why: String,
    },
    /// New: it has the store and accepts connections.
    Serving,
    /// New: it moves the pair's bytes.
    Taken(PairId),
    /// New: it does not have the pair, and has not touched its bytes.
    Declined(PairId),
    /// Both: there is no more.
    Done,
}

/// Which listener a socket is. The address is the configured one, by which the new process finds its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Listener {
    /// What is served there.
    pub kind: Kind,
    /// Where, as configured.
    pub address: SocketAddr,
}

/// What a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Kind {
    /// Discovery, enrolment and API.
    Https = 1,
    /// Agents.
    Agents = 2,
    /// `klsctunnel`.
    Tunnels = 3,
    /// Prometheus.
    Metrics = 4,
    /// Revocation lists.
    Crls = 5,
}

/// Bytes a pair has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// From the initiator to the target.
    pub to_target: u64,
    /// From the target to the initiator.
    pub to_initiator: u64,
}

/// A pair in the middle of its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carry {
    /// The pair.
    pub pair: PairId,
    /// What it has moved, without what is still between its sockets.
    pub moved: Moved,
    /// How long nothing has moved.
    pub silent: Duration,
    /// To the target.
    pub there: Way,
    /// To the initiator.
    pub back: Way,
}

/// How far one way of a pair has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Nothing is under way.
    Open,
    /// One socket gave these bytes, and the other has not taken them.
    Copied(Vec<u8>),
    /// The same of so many bytes in a pipe.
    Spliced(u32),
    /// The end of its stream was passed on.
    Ended,
}

/// The relay's record of a connection that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // as in `klnet_tunnel::relay::RelayRecord`
pub struct Record {
    pub grant: GrantId,
    pub cookie: Cookie,
    pub tenant: TenantId,
    pub device: DeviceId,
    pub operator: OperatorId,
    pub initiator: SocketAddr,
    pub lasted: Duration,
    pub end: PairEnd,
}

/// Bytes that are no message, or one of a version that says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of the handover cannot be understood: {0}")]
pub struct NotUnderstood(&'static str);

impl Message {
    /// The message's bytes, at most [`LIMIT`].
    pub fn encode(&self) -> Vec<u8> {
        raw::Envelope::from(self).encode_to_vec()
    }

    /// Reads one packet.
    ///
    /// # Errors
    /// [`NotUnderstood`] for whatever is none of these messages.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotUnderstood> {
        if bytes.len() > LIMIT {
            return Err(NotUnderstood("it is too long"));
        }
        raw::Envelope::decode(bytes).map_err(|_| NotUnderstood("no message"))?.try_into()
    }

    /// How many descriptors are beside it.
    pub fn descriptors(&self) -> usize {
        match self {
            Self::Listener(_) => 1,
            Self::Carry(carry) => 2 + carry.there.descriptors() + carry.back.descriptors(),
            _ => 0,
        }
    }

    /// What it is, for people.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Offer { .. } => "Offer",
            Self::Listener(_) => "Listener",
            Self::Pair(..) => "Pair",
            Self::Record(_) => "Record",
            Self::Serve => "Serve",
            Self::Carry(_) => "Carry",
            Self::Ended(..) => "Ended",
            Self::Prepared { .. } => "Prepared",
            Self::Cannot { .. } => "Cannot",
            Self::Serving => "Serving",
            Self::Taken(_) => "Taken",
            Self::Declined(_) => "Declined",
            Self::Done => "Done",
        }
    }

    /// Why something cannot be done, shortened to what a message holds.
    pub fn cannot(why: &dyn std::fmt::Display) -> Self {
        let mut why = why.to_string();
        why.truncate(why.floor_char_boundary(WHY_LIMIT));
        Self::Cannot { why }
    }
}

impl From<relay::Moved> for Moved {
    fn from(moved: relay::Moved) -> Self {
        Self { to_target: moved.to_target, to_initiator: moved.to_initiator }
    }
}

impl From<Moved> for relay::Moved {
    fn from(moved: Moved) -> Self {
        Self { to_target: moved.to_target, to_initiator: moved.to_initiator, ..Self::default() }
    }
}

impl From<&RelayRecord> for Record {
    fn from(record: &RelayRecord) -> Self {
        Self {
            grant: record.grant,
            cookie: record.cookie,
            tenant: record.tenant,
            device: record.device,
            operator: record.operator,
            initiator: record.initiator,
            lasted: record.closed.saturating_duration_since(record.opened),
            end: record.end,
        }
    }
}

impl Record {
    /// The record as if the connection had ended at `closed`.
    pub fn into_relay(self, closed: Instant) -> RelayRecord {
        let Self { grant, cookie, tenant, device, operator, initiator, lasted, end } = self;
        let opened = closed.checked_sub(lasted).unwrap_or(closed);
        RelayRecord { grant, cookie, tenant, device, operator, initiator, opened, closed, end }
    }
}

impl Way {
    const fn descriptors(&self) -> usize {
        match self {
            Self::Spliced(_) => 2,
            Self::Open | Self::Copied(_) | Self::Ended => 0,
        }
    }
}

/// The protocol of these messages. A process that speaks another one is refused; fields and messages that can be left
/// out need no new number.
pub const PROTOCOL: u32 = 1;
/// Most bytes of a message: twice what a mover copies at a time, and a page for the rest.
pub const LIMIT: usize = 2 * 64 * 1024 + 4096;
/// Most descriptors beside a message.
pub const DESCRIPTORS_LIMIT: usize = 6;
/// Most bytes of a reason.
const WHY_LIMIT: usize = 2048;

#[cfg(test)]
mod tests;
