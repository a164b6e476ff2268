//! Messages: what frames carry, who may send each, and in which queue it waits.
//!
//! The table is [`Kind`]: its `match`es are exhaustive, so no message can be added without saying who may send it.

pub mod distribution;
pub mod ksn;
pub mod session;
pub mod sighting;
pub mod tunnel;

use bytes::{Buf, Bytes, BytesMut};
use prost::Message as _;

use crate::frame::{Frame, FrameError, IGNORABLE, SIGNED};
use crate::signed::Signed;
pub use distribution::{Delivery, DeliveryState, PointState};
pub use ksn::{KsnCounts, KsnState};
pub use session::{GoAway, Goodbye, Hello, Lists, ProtocolError, Welcome};
pub use sighting::{Sighting, Sightings};
pub use tunnel::{Open, Recorded, Revoke, TunnelState, Tunnels};

/// One end of an agent connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// The end that dialled: an agent, later also a gateway or a secondary server.
    Agent,
    /// The end that was dialled.
    Server,
}

/// A frame's type. Numbers are never reused; the gaps are reserved in `PROTOCOL.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// First frame of the agent: versions, features, who it is.
    Hello = 0x01,
    /// First frame of the server: what was negotiated.
    Welcome = 0x02,
    /// Heartbeat; answered by `Pong`.
    Ping = 0x03,
    /// Answer to `Ping`.
    Pong = 0x04,
    /// The agent shuts down on purpose.
    Goodbye = 0x05,
    /// The server asks the agent to leave and come back as told.
    GoAway = 0x06,
    /// Why the sender closes the connection.
    Error = 0x07,
    /// A newer signed key set.
    Keys = 0x08,
    /// A newer signed server list.
    Servers = 0x09,
    /// Which revocation lists are the newest.
    Lists = 0x0a,
    /// A signed tunnel grant.
    Grant = 0x20,
    /// Dial back for a connection of a grant.
    Open = 0x21,
    /// End these grants and their connections.
    Revoke = 0x22,
    /// What became of a grant or a connection at the agent.
    TunnelState = 0x23,
    /// A signed record of a finished tunnel connection.
    TunnelRecord = 0x24,
    /// The server has stored a tunnel record.
    Recorded = 0x25,
    /// The grants whose connections are still alive at the agent.
    Tunnels = 0x26,
    /// What the device is to do with what is distributed, signed.
    Duties = 0x40,
    /// Where a distribution point is.
    PointState = 0x41,
    /// What became of an object.
    Delivery = 0x42,
    /// Hosts that a device has found.
    Sightings = 0x43,
    /// How a device's KSN proxy stands.
    KsnState = 0x44,
}

/// In which queue a message waits for a slow peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Queueing {
    /// One pending message of the kind; a newer one replaces it.
    Latest,
    /// In order, bounded by [`OUTBOX_LIMIT`](crate::outbox::OUTBOX_LIMIT).
    Queued,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 22] = [
        Self::Hello,
        Self::Welcome,
        Self::Ping,
        Self::Pong,
        Self::Goodbye,
        Self::GoAway,
        Self::Error,
        Self::Keys,
        Self::Servers,
        Self::Lists,
        Self::Grant,
        Self::Open,
        Self::Revoke,
        Self::TunnelState,
        Self::TunnelRecord,
        Self::Recorded,
        Self::Tunnels,
        Self::Duties,
        Self::PointState,
        Self::Delivery,
        Self::Sightings,
        Self::KsnState,
    ];

    /// The kind with this number.
    #[inline]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0x01 => Self::Hello,
            0x02 => Self::Welcome,
            0x03 => Self::Ping,
            0x04 => Self::Pong,
            0x05 => Self::Goodbye,
            0x06 => Self::GoAway,
            0x07 => Self::Error,
            0x08 => Self::Keys,
            0x09 => Self::Servers,
            0x0a => Self::Lists,
            0x20 => Self::Grant,
            0x21 => Self::Open,
            0x22 => Self::Revoke,
            0x23 => Self::TunnelState,
            0x24 => Self::TunnelRecord,
            0x25 => Self::Recorded,
            0x26 => Self::Tunnels,
            0x40 => Self::Duties,
            0x41 => Self::PointState,
            0x42 => Self::Delivery,
            0x43 => Self::Sightings,
            0x44 => Self::KsnState,
            _ => return None,
        })
    }

    /// Whether that end may send this kind: the authorisation table of the agent protocol.
    pub const fn may_send(self, end: End) -> bool {
        match self {
            Self::Ping | Self::Pong | Self::Error => true,
            Self::Hello
            | Self::Goodbye
            | Self::TunnelState
            | Self::TunnelRecord
            | Self::Tunnels
            | Self::PointState
            | Self::Delivery
            | Self::Sightings
            | Self::KsnState => matches!(end, End::Agent),
            Self::Welcome
            | Self::GoAway
            | Self::Keys
            | Self::Servers
            | Self::Lists
            | Self::Grant
            | Self::Open
            | Self::Revoke
            | Self::Recorded
            | Self::Duties => matches!(end, End::Server),
        }
    }

    /// In which queue the kind waits.
    pub const fn queueing(self) -> Queueing {
        match self {
            Self::Hello
            | Self::Welcome
            | Self::Ping
            | Self::Pong
            | Self::Goodbye
            | Self::GoAway
            | Self::Error
            | Self::Keys
            | Self::Servers
            | Self::Lists
            | Self::Tunnels
            | Self::Duties
            | Self::PointState
            | Self::KsnState => Queueing::Latest,
            Self::Grant
            | Self::Open
            | Self::Revoke
            | Self::TunnelState
            | Self::TunnelRecord
            | Self::Recorded
            | Self::Delivery
            | Self::Sightings => Queueing::Queued,
        }
    }

    /// The flags its frames carry.
    pub const fn flags(self) -> u8 {
        match self {
            Self::Keys | Self::Servers | Self::Grant | Self::TunnelRecord => SIGNED,
            // Advice: a peer that does not know it loses nothing.
            Self::Goodbye | Self::Lists | Self::Tunnels | Self::Sightings | Self::KsnState => IGNORABLE,
            // An agent that does not know of distribution takes no part in it.
            Self::Duties => SIGNED | IGNORABLE,
            _ => 0,
        }
    }
}

/// A decoded message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // each variant is documented at its `Kind`
pub enum Message {
    Hello(Box<Hello>),
    Welcome(Welcome),
    Ping,
    Pong,
    Goodbye(Goodbye),
    GoAway(GoAway),
    Error(ProtocolError),
    Keys(Signed),
    Servers(Signed),
    Lists(Lists),
    Grant(Signed),
    Open(Open),
    Revoke(Revoke),
    TunnelState(TunnelState),
    TunnelRecord(Signed),
    Recorded(Recorded),
    Tunnels(Tunnels),
    Duties(Signed),
    PointState(PointState),
    Delivery(Delivery),
    Sightings(Sightings),
    KsnState(KsnState),
}

impl Message {
    /// Reads the message of a frame; `None` when its type is unknown and the frame says it may be skipped.
    ///
    /// # Errors
    /// [`MessageError`] when the type is unknown and not ignorable, or the payload is no message of its type.
    pub fn decode(frame: &Frame) -> Result<Option<Self>, MessageError> {
        Self::read(frame.kind, frame.flags, frame.payload.clone())
    }

    /// Reads the message of a frame from its parts; byte fields share the payload's memory.
    ///
    /// # Errors
    /// As [`Message::decode`].
    #[inline(always)]
    pub fn read(number: u8, flags: u8, payload: impl Buf) -> Result<Option<Self>, MessageError> {
        let Some(kind) = Kind::from_number(number) else {
            return match flags & IGNORABLE {
                0 => Err(MessageError::Unknown(number)),
                _ => Ok(None),
            };
        };
        Self::decode_payload(kind, payload).map(Some).map_err(|_| MessageError::Malformed(kind))
    }

    #[inline(always)]
    fn decode_payload(kind: Kind, payload: impl Buf) -> Result<Self, prost::DecodeError> {
        Ok(match kind {
            Kind::Hello => Self::Hello(Box::new(Hello::decode(payload)?)),
            Kind::Welcome => Self::Welcome(Welcome::decode(payload)?),
            Kind::Ping => Self::Ping,
            Kind::Pong => Self::Pong,
            Kind::Goodbye => Self::Goodbye(Goodbye::decode(payload)?),
            Kind::GoAway => Self::GoAway(GoAway::decode(payload)?),
            Kind::Error => Self::Error(ProtocolError::decode(payload)?),
            Kind::Keys => Self::Keys(Signed::decode(payload)?),
            Kind::Servers => Self::Servers(Signed::decode(payload)?),
            Kind::Lists => Self::Lists(Lists::decode(payload)?),
            Kind::Grant => Self::Grant(Signed::decode(payload)?),
            Kind::Open => Self::Open(Open::decode(payload)?),
            Kind::Revoke => Self::Revoke(Revoke::decode(payload)?),
            Kind::TunnelState => Self::TunnelState(TunnelState::decode(payload)?),
            Kind::TunnelRecord => Self::TunnelRecord(Signed::decode(payload)?),
            Kind::Recorded => Self::Recorded(Recorded::decode(payload)?),
            Kind::Tunnels => Self::Tunnels(Tunnels::decode(payload)?),
            Kind::Duties => Self::Duties(Signed::decode(payload)?),
            Kind::PointState => Self::PointState(PointState::decode(payload)?),
            Kind::Delivery => Self::Delivery(Delivery::decode(payload)?),
            Kind::Sightings => Self::Sightings(Sightings::decode(payload)?),
            Kind::KsnState => Self::KsnState(KsnState::decode(payload)?),
        })
    }

    /// Appends the message as a frame of `stream`.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] when it does not fit in one frame.
    pub fn encode(&self, stream: u32, output: &mut BytesMut) -> Result<(), FrameError> {
        let (kind, flags) = (self.kind() as u8, self.kind().flags());
        match self {
            Self::Ping | Self::Pong => Frame { kind, flags, stream, payload: Bytes::new() }.encode(output),
            Self::Hello(message) => Frame::encode_message(kind, flags, stream, &**message, output),
            Self::Welcome(message) => Frame::encode_message(kind, flags, stream, message, output),
            Self::Goodbye(message) => Frame::encode_message(kind, flags, stream, message, output),
            Self::GoAway(message) => Frame::encode_message(kind, flags, stream, message, output),
            Self::Error(message) => Frame::encode_message(kind, flags, stream, message, output),
            Self::Keys(signed)
            | Self::Servers(signed)
            | Self::Grant(signed)
            | Self::TunnelRecord(signed)
            | Self::Duties(signed) => Frame::encode_message(kind, flags, stream, signed, output),
            Self::Lists(message) => Frame::encode_message(kind, flags, stream, message, output),
            Self::Open(message) => Frame::encode_message(kind, flags, stream, message, output),
            Self::Revoke(message) => Frame::encode_message(kind, flags, stream, message, output),
            Self::TunnelState(message) => Frame::encode_message(kind, flags, stream, message, output),
            Self::Recorded(message) => Frame::encode_message(kind, flags, stream, message, output),
            Self::Tunnels(message) => Frame::encode_message(kind, flags, stream, message, output),
            Self::PointState(message) => Frame::encode_message(kind, flags, stream, message, output),
            Self::Delivery(message) => Frame::encode_message(kind, flags, stream, message, output),
            Self::Sightings(message) => Frame::encode_message(kind, flags, stream, message, output),
            Self::KsnState(message) => Frame::encode_message(kind, flags, stream, message, output),
        }
    }

    /// The message's type.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::Welcome(_) => Kind::Welcome,
            Self::Ping => Kind::Ping,
            Self::Pong => Kind::Pong,
            Self::Goodbye(_) => Kind::Goodbye,
            Self::GoAway(_) => Kind::GoAway,
            Self::Error(_) => Kind::Error,
            Self::Keys(_) => Kind::Keys,
            Self::Servers(_) => Kind::Servers,
            Self::Lists(_) => Kind::Lists,
            Self::Grant(_) => Kind::Grant,
            Self::Open(_) => Kind::Open,
            Self::Revoke(_) => Kind::Revoke,
            Self::TunnelState(_) => Kind::TunnelState,
            Self::TunnelRecord(_) => Kind::TunnelRecord,
            Self::Recorded(_) => Kind::Recorded,
            Self::Tunnels(_) => Kind::Tunnels,
            Self::Duties(_) => Kind::Duties,
            Self::PointState(_) => Kind::PointState,
            Self::Delivery(_) => Kind::Delivery,
            Self::Sightings(_) => Kind::Sightings,
            Self::KsnState(_) => Kind::KsnState,
        }
    }
}

/// A frame that carries no message this end can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// An unknown type that may not be skipped.
    #[error("unknown frame type {0:#04x} that may not be ignored")]
    Unknown(u8),
    /// The payload is not a message of the frame's type.
    #[error("the payload of a {0:?} frame cannot be read")]
    Malformed(Kind),
}

#[cfg(test)]
mod tests;
