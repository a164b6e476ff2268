//! When a receiver says how it is doing, whether or not it lacks anything.

use std::time::{Duration, Instant};

use crate::feedback::{State, period};

/// The reports of a session.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// `None` before what was there is known, and once the session is over.
    due: Option<Instant>,
    /// How often it was said that all is complete.
    told: u32,
}

impl Reports {
    /// The next is due then.
    pub(super) const fn at(&mut self, when: Instant) {
        self.due = Some(when);
    }

    /// The next is due then at the latest, if one is due at all.
    pub(super) fn by(&mut self, when: Instant) {
        self.due = self.due.map(|due| due.min(when));
    }

    /// There are no more.
    pub(super) const fn end(&mut self) {
        self.due = None;
    }

    /// Notes one that says how it is doing; how long until the next, on average, in a group of this size.
    pub(super) fn pause(&mut self, state: State, size: u32) -> Duration {
        if state != State::Complete {
            return period(size);
        }
        self.told += 1;
        TELL * (1 << self.told.min(5))
    }

    /// When the next is due.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether there are any.
    pub(super) const fn have_begun(&self) -> bool {
        self.due.is_some()
    }

    /// Whether completion was told so often that no sender can be there.
    pub(super) const fn are_enough(&self) -> bool {
        self.told == TELLINGS
    }
}

/// Between the first times that completion is told.
const TELL: Duration = Duration::from_millis(50);
/// How often it is told to a sender that does not answer.
const TELLINGS: u32 = 12;
