//! A receiver's machine: what runs on it, its line, and its disk.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::link::Lane;
use crate::receiver::Receiver;
use crate::symbols::SymbolSet;

/// A receiver, while it runs, and what outlives it.
pub(super) struct Station {
    pub(super) receiver: Option<Receiver>,
    pub(super) lane: Lane,
    pub(super) due: Option<Instant>,
    /// Counts how often it was started.
    pub(super) life: u32,
    pub(super) verified: Vec<u32>,
    /// Symbols whose tags it knows.
    pub(super) tagged: BTreeMap<u32, SymbolSet>,
    pub(super) completed: Option<Duration>,
}

impl Station {
    pub(super) const fn new(lane: Lane) -> Self {
        Self {
            receiver: None,
            lane,
            due: None,
            life: 0,
            verified: Vec::new(),
            tagged: BTreeMap::new(),
            completed: None,
        }
    }

    /// What was in memory is gone, what was verified is on the disk.
    pub(super) fn kill(&mut self) {
        (self.receiver, self.due) = (None, None);
        self.tagged.clear();
        self.life += 1;
    }
}
