//! A rate that several pairs share.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A token bucket, kept as the moment at which all that was spent is paid for (the generic cell rate algorithm, ITU-T
/// I.371): one number, changed without a lock by pairs on several threads.
#[derive(Debug)]
pub struct Bucket {
    rate: NonZeroU64,
    epoch: Instant,
    /// Nanoseconds after `epoch`.
    paid: AtomicU64,
}

impl Bucket {
    /// A full bucket that is filled by `rate` bytes per second.
    pub fn new(rate: NonZeroU64, now: Instant) -> Self {
        Self { rate, epoch: now, paid: AtomicU64::new(0) }
    }

    /// When the next bytes may be moved; `None` is now.
    pub(super) fn closed_until(&self, now: Instant) -> Option<Instant> {
        let paid = self.epoch + Duration::from_nanos(self.paid.load(Ordering::Relaxed));
        (paid > now + BURST).then(|| paid - BURST)
    }

    /// Pays for bytes that were moved. They may be more than were left: what follows waits the longer for it.
    pub(super) fn spend(&self, now: Instant, bytes: usize) {
        let now = nanos(now.saturating_duration_since(self.epoch));
        let price = u128::from(bytes as u64) * 1_000_000_000 / u128::from(self.rate.get());
        let price = u64::try_from(price).unwrap_or(u64::MAX);
        // A bucket that was not used for long is full, not more than full.
        let pay = |paid: u64| Some(paid.max(now).saturating_add(price));
        let _ = self.paid.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What may be moved at once after a pause: so many seconds' worth.
const BURST: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_moved_keeps_to_the_rate_whoever_moves_it() {
        let start = Instant::now();
        let bucket = Bucket::new(RATE, start);
        let (mut now, mut moved) = (start, 0);
        while now < start + SECOND * 10 {
            match bucket.closed_until(now) {
                Some(open) => now = open,
                None => {
                    bucket.spend(now, 64 * 1024);
                    moved += 64 * 1024;
                }
            }
        }
        let allowed = 10 * RATE.get() + RATE.get() / 20;
        assert!((10 * RATE.get()..=allowed + 64 * 1024).contains(&moved), "{moved} of {allowed}");
    }

    #[test]
    fn a_pause_saves_up_no_more_than_a_burst() {
        let start = Instant::now();
        let bucket = Bucket::new(RATE, start);
        let later = start + 3600 * SECOND;
        let mut moved = 0;
        while bucket.closed_until(later).is_none() {
            bucket.spend(later, 1000);
            moved += 1000;
        }
        assert_eq!(moved, RATE.get() / 20 + 1000);
    }

    const RATE: NonZeroU64 = NonZeroU64::new(1_000_000).unwrap();
    const SECOND: Duration = Duration::from_secs(1);
}
