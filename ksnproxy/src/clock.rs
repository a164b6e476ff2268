//! One look at both clocks.

use std::time::Instant;

/// A moment: durations are measured by one clock, and what is stored or sent is dated by the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Never goes back.
    pub instant: Instant,
    /// Seconds since 1970.
    pub unix: u32,
}
