//! What a sender has its driver do.

use crate::announcement::Phase;
use crate::id::ReceiverId;
use crate::mark::Mark;

/// The next thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Announce the session to the group.
    Announce {
        /// The packet's number.
        number: u64,
        /// Counts announcements.
        sequence: u32,
        /// Whether the session goes on.
        phase: Phase,
        /// Who has to wait for the tail.
        demoted: Vec<ReceiverId>,
    },
    /// Send `count` symbols of a block from `esi` on, in packets from `number` on.
    Symbols {
        /// The first packet's number.
        number: u64,
        /// Which block.
        block: u32,
        /// The first symbol.
        esi: u16,
        /// How many.
        count: u16,
    },
    /// Send a mark to the group.
    Mark {
        /// The packet's number.
        number: u64,
        /// What it says.
        mark: Mark,
    },
    /// Send the tags of `count` symbols of a block from `first` on.
    Tags {
        /// The packet's number.
        number: u64,
        /// Which block.
        block: u32,
        /// The first symbol.
        first: u16,
        /// How many.
        count: u16,
    },
    /// Tell a receiver that it is known to be complete.
    Receipt(ReceiverId),
    /// Something a person may want to know.
    Event(Event),
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A receiver was heard for the first time.
    Joined(ReceiverId),
    /// A receiver has the object.
    Completed(ReceiverId),
    /// A receiver has to wait for the tail.
    Demoted(ReceiverId),
    /// The session is over.
    Over,
}
