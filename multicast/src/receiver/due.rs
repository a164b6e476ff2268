//! Blocks that should be there and are not, and when to ask for them.

use std::collections::BTreeMap;
use std::time::Instant;

/// The blocks that are due.
#[derive(Debug, Default)]
pub(super) struct DueBlocks {
    blocks: BTreeMap<u32, Due>,
    /// The earliest of all waits; `None` while it is not known.
    next: Option<Instant>,
}

/// A block that is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    /// What it waits for.
    pub(super) wait: Wait,
    /// Symbols of it that went out, as far as is known.
    pub(super) sent: Option<u32>,
    /// How often it was asked for since the last of its symbols came.
    pub(super) asked: u32,
    /// When the last of its symbols came, or it became due.
    pub(super) since: Instant,
}

/// What a due block waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Somebody asked: for symbols, until then.
    Quiet(Instant),
    /// To be asked for, then.
    Speak(Instant),
}

impl DueBlocks {
    pub(super) fn insert(&mut self, block: u32, due: Due) {
        self.blocks.insert(block, due);
        self.next = None;
    }

    pub(super) fn remove(&mut self, block: u32) {
        self.blocks.remove(&block);
        self.next = None;
    }

    pub(super) fn get(&self, block: u32) -> Option<Due> {
        self.blocks.get(&block).copied()
    }

    pub(super) fn contains(&self, block: u32) -> bool {
        self.blocks.contains_key(&block)
    }

    /// The blocks that were asked for, and for which nothing came.
    pub(super) fn lapsed(&self, now: Instant) -> Vec<u32> {
        self.waiting(|wait| matches!(wait, Wait::Quiet(until) if until <= now))
    }

    /// The blocks that are to be asked for, lowest first.
    pub(super) fn speaking(&self) -> Vec<u32> {
        self.waiting(|wait| matches!(wait, Wait::Speak(_)))
    }

    /// Whether the time to ask has come for one of them.
    pub(super) fn is_time_to_speak(&self, now: Instant) -> bool {
        self.blocks.values().any(|due| matches!(due.wait, Wait::Speak(when) if when <= now))
    }

    fn waiting(&self, is_meant: impl Fn(Wait) -> bool) -> Vec<u32> {
        self.blocks.iter().filter(|(_, due)| is_meant(due.wait)).map(|(block, _)| *block).collect()
    }

    /// When the first wait is over.
    pub(super) fn next(&mut self) -> Option<Instant> {
        if self.next.is_none() {
            self.next = self.blocks.values().map(|due| due.wait.until()).min();
        }
        self.next
    }
}

impl Wait {
    pub(super) const fn until(self) -> Instant {
        match self {
            Self::Quiet(when) | Self::Speak(when) => when,
        }
    }
}
