//! Where a sweep is in its round.

use std::time::Instant;

/// Where a sweep is in its round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The method, the next position of the walk, and how many probes may go now.
    Sending {
        method: u16,
        position: u32,
        allowance: u32,
    },
    /// Every address had its turn by the methods before this one.
    Pausing {
        method: u16,
        until: Instant,
    },
    /// Every address had its turn.
    Waiting {
        since: Instant,
        until: Instant,
    },
    Over,
}
