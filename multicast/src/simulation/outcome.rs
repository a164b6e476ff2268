//! What happened.

use std::time::Duration;

use crate::sender::Counts;

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// When each receiver had all.
    pub completed: Vec<Option<Duration>>,
    /// What the last sender sent.
    pub counts: Counts,
    /// Symbols that all senders sent.
    pub symbols: u64,
    /// Symbols sent for each source symbol of the object.
    pub ratio: f64,
    /// Requests for symbols.
    pub requests: u64,
    /// Requests of each block's first round of repair, on average.
    pub requests_of_a_round: f64,
    /// Feedback packets of all kinds.
    pub feedback: u64,
    /// Bytes of them.
    pub feedback_bytes: u64,
    /// Blocks that were not what was sent.
    pub wrong: u64,
    /// When the session was over.
    pub ended: Option<Duration>,
}
