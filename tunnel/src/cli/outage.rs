//! An outage, as those see it who wait for its end: when the next try is due, and how long it has lasted.
//!
//! Delays are full-jitter exponential: when a relay comes back, those who wait for it do not come all at once.

use std::time::{Duration, Instant};

/// Whether connections fail, and for how long they have.
#[derive(Debug, Default)]
pub(super) struct Outage {
    since: Option<Instant>,
    failures: u32,
}

impl Outage {
    /// A try has failed: when the next is due. `drawn` is a random number.
    pub(super) fn failed(&mut self, now: Instant, drawn: u64) -> Instant {
        self.since.get_or_insert(now);
        let doubled = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let ceiling = FIRST_CEILING.saturating_mul(doubled).min(LAST_CEILING);
        now + part_of(ceiling, drawn)
    }

    /// A try came through: how long the outage was, if it was one.
    pub(super) fn over(&mut self, now: Instant) -> Option<Duration> {
        self.failures = 0;
        self.since.take().map(|since| now.saturating_duration_since(since))
    }
}

/// The part of `span` that `drawn` is of all 64-bit numbers, in whole microseconds.
fn part_of(span: Duration, drawn: u64) -> Duration {
    let product = span.as_micros() * u128::from(drawn);
    Duration::from_micros(u64::try_from(product >> 64).unwrap_or(u64::MAX))
}

/// The longest delay after one failure.
const FIRST_CEILING: Duration = Duration::from_millis(250);
/// The longest delay after many: a person waits for this.
const LAST_CEILING: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_ceiling() {
        let (mut outage, now) = (Outage::default(), Instant::now());
        let longest: Vec<_> = (0..100).map(|_| outage.failed(now, u64::MAX) - now).collect();
        assert!(longest.is_sorted() && longest[0] <= FIRST_CEILING);
        let millis = |at: usize| longest[at].as_micros().div_ceil(1000);
        assert_eq!([millis(0), millis(1), millis(2)], [250, 500, 1000]);
        assert_eq!(millis(99), LAST_CEILING.as_millis());
    }

    #[test]
    fn a_delay_is_any_part_of_the_longest() {
        let now = Instant::now();
        for (drawn, expected) in [(0, 0), (u64::MAX / 2 + 1, 125), (u64::MAX / 4 + 1, 62)] {
            assert_eq!((Outage::default().failed(now, drawn) - now).as_millis(), expected);
        }
    }

    #[test]
    fn an_outage_lasts_from_its_first_failure_and_is_forgotten_when_it_is_over() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        assert_eq!(outage.over(start), None, "there was none");
        let _ = outage.failed(start, 0);
        let _ = outage.failed(start + SECOND, 0);
        assert_eq!(outage.over(start + 3 * SECOND), Some(3 * SECOND));
        assert_eq!(outage.over(start + 4 * SECOND), None);
        assert!(outage.failed(start, u64::MAX) - start <= FIRST_CEILING, "patience begins anew");
    }

    const SECOND: Duration = Duration::from_secs(1);
}
