//! What is still to happen, and when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::scenario::Who;
use crate::id::ReceiverId;

/// What is to happen, soonest first; of one moment, in the order in which it was added.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    serial: u64,
    events: BinaryHeap<Reverse<Event>>,
}

/// Something, at its time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Event {
    pub(super) when: Instant,
    serial: u64,
    pub(super) what: What,
}

impl Agenda {
    pub(super) fn add(&mut self, when: Instant, what: What) {
        self.serial += 1;
        self.events.push(Reverse(Event { when, serial: self.serial, what }));
    }

    pub(super) fn next(&mut self) -> Option<Event> {
        self.events.pop().map(|Reverse(event)| event)
    }
}

/// What happens.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    SenderIsDue,
    ReceiverIsDue(usize),
    Group(u32, Packet),
    Taken(Taken),
    Feedback(u32, usize, Vec<u8>),
    Receipt(u32, usize),
    Written(Written),
    Forge,
    Restart(Who),
}

/// What a receiver takes from its socket's buffer, if it was not killed meanwhile: of symbols a run.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Taken {
    pub(super) index: usize,
    pub(super) life: u32,
    pub(super) packet: Packet,
    pub(super) run: (u16, u16),
}

/// A block that a receiver restored and wrote, if it was not killed meanwhile.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Written {
    pub(super) index: usize,
    pub(super) life: u32,
    pub(super) block: u32,
    pub(super) repaired: u16,
    pub(super) fits: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Packet {
    Announcement { number: u64, ended: bool, demoted: Vec<ReceiverId> },
    Symbols { number: u64, block: u32, esi: u16, count: u16 },
    Mark { number: u64, body: Vec<u8> },
    Tags { block: u32, first: u16, count: u16 },
}
