//! Where a poll is.

use crate::sweep;

/// Where a poll is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What it does.
    pub stage: Stage,
    /// How much of that is done.
    pub done: u64,
    /// Of how much.
    pub of: u64,
    /// Addresses that have answered.
    pub found: u64,
}

/// What a poll does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It sends probes: which round of how many, as far as is known.
    Round(u8, u8),
    /// It asks for names.
    Names,
    /// It is over.
    Over,
}

impl From<sweep::Progress> for Progress {
    fn from(at: sweep::Progress) -> Self {
        let stage = Stage::Round(at.round, at.rounds);
        Self { stage, done: at.walked, of: at.of, found: at.found.into() }
    }
}
