//! How many signatures are checked in a second, whoever sends them.

use std::time::{Duration, Instant};

/// Signatures of a second.
#[derive(Debug)]
pub(super) struct Budget {
    whole: u32,
    left: u32,
    since: Instant,
}

impl Budget {
    /// So many signatures in each second.
    pub(super) const fn new(now: Instant, whole: u32) -> Self {
        Self { whole, left: whole, since: now }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            *self = Self::new(now, self.whole);
        }
        self.left.checked_sub(1).is_some_and(|left| {
            self.left = left;
            true
        })
    }
}

/// At 70 µs for both signatures of an announcement these are 1.4 % of a core.
pub const VERIFY_BUDGET: u32 = 200;
/// Tags, of which a block of 4 MiB has 32 packets, are only checked once somebody has forged: 70 ms a second at most.
pub const TAG_BUDGET: u32 = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_no_more_than_its_second() {
        let start = Instant::now();
        let mut budget = Budget::new(start, VERIFY_BUDGET);
        let taken = |budget: &mut Budget, now| (0..100_000).filter(|_| budget.take(now)).count();
        assert_eq!(taken(&mut budget, start), 200);
        assert_eq!(taken(&mut budget, start + Duration::from_millis(999)), 0);
        assert_eq!(taken(&mut budget, start + Duration::from_secs(1)), 200);
    }
}
