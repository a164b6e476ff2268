//! What a sweep has learned about the way to its addresses.

use std::time::Duration;

use crate::loss::Loss;
use crate::rtt::Rtt;

/// What a sweep has learned about the way to its addresses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Path {
    pub(super) loss: Loss,
    pub(super) rtt: Rtt,
}

impl Path {
    /// The way of a machine to itself.
    pub fn of_this_machine() -> Self {
        let mut path = Self::default();
        path.rtt.observe(Duration::ZERO);
        path
    }

    /// The same way, where the answers come from programs: a kernel answers at once, a program when its turn comes.
    #[must_use]
    pub fn to_programs(mut self) -> Self {
        self.rtt.allow(TURN);
        self
    }
}

/// A program that serves many networks says something to each of them first.
const TURN: Duration = Duration::from_millis(350);
