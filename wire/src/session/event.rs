//! What goes into a session, what comes out, and why it ends.

use std::time::Duration;

use bytes::BytesMut;

use crate::frame::FrameError;
use crate::message::{Hello, Kind, Message, MessageError, Welcome};
use crate::outbox::Full;

/// What happened, in.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes came from the peer.
    Received(&'a [u8]),
    /// The peer ended its stream.
    Eof,
    /// The transport failed; what it said.
    Failed(String),
}

/// What to do, out.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Something for the application.
    Event(Event),
    /// Write these bytes; ask again only once they are written, so that a slow peer's messages wait in their slots.
    Transmit(BytesMut),
    /// Close the transport after what was transmitted is written. Said once, and last.
    Close(CloseReason),
}

/// What an application learns.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Server: an agent introduced itself; answer with [`Session::welcome`](super::Session::welcome) or [`Session::refuse`](super::Session::refuse).
    Hello(Box<Hello>),
    /// Agent: the session is established.
    Welcome(Welcome),
    /// A message for the application.
    Message(Message),
    /// The answer to a ping came after this long.
    Pong(Duration),
    /// The peer showed that it is alive (server: a heartbeat came).
    Heartbeat,
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The peer's stream ended without a word.
    #[error("the peer closed the connection")]
    Eof,
    /// The transport failed; a TLS alert of the peer says why it refuses.
    #[error("the connection failed: {0}")]
    Transport(String),
    /// Nothing came in time.
    #[error("nothing heard for {0:?}")]
    Silent(Duration),
    /// The peer said why it closes.
    #[error("the peer closed: {0}")]
    Peer(String),
    /// This end closed.
    #[error("closed: {0}")]
    Local(String),
    /// The peer broke the frame format.
    #[error("protocol broken: {0}")]
    Frame(#[from] FrameError),
    /// The peer sent what is no message.
    #[error("protocol broken: {0}")]
    Message(#[from] MessageError),
    /// The peer sent a message that its end may not send, or not now.
    #[error("protocol broken: unexpected {0:?}")]
    Unexpected(Kind),
    /// WELCOME names another session than HELLO did.
    #[error("protocol broken: WELCOME of another session")]
    Epoch,
    /// The versions do not meet.
    #[error("no common minor version: the peer speaks {0} to {1}")]
    Version(u32, u32),
}

/// Why a message was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The session's state or this end's part does not allow it.
    #[error("a {0:?} may not be sent now by this end")]
    NotNow(Kind),
    /// The peer reads too slowly, or the message is too long.
    #[error(transparent)]
    Full(#[from] Full),
}
