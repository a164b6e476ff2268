//! How many keys a device may ask about: a token bucket for each, in a table whose size does not depend on them.
//!
//! A bucket is one number, when it would be full again (GCRA). A device has two, in rows that are hashed differently, and
//! is limited only when both are empty: so one that shares a bucket with a loud one is not limited for it, unless it shares
//! both. Updates that two threads lose to each other let a few keys more pass; nobody waits.

use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use siphasher::sip::SipHasher13;

/// The buckets of all devices.
pub struct Limiter {
    rows: [Box<[AtomicU64]>; 2],
    hash_key: [u8; 16],
    start: Instant,
    /// Nanoseconds a key costs; 0 limits nobody.
    interval: u64,
    /// Nanoseconds a full bucket holds.
    burst: u64,
}

/// Keys a second, and how many at once; no limit at all with a rate of 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Keys a second in the long run.
    pub keys: u32,
    /// Keys at once.
    pub burst: u32,
}

impl Limiter {
    /// Buckets of this rate, hashed under a key nobody else has.
    pub fn new(rate: Rate, hash_key: [u8; 16], start: Instant) -> Self {
        let interval = SECOND.checked_div(rate.keys.into()).unwrap_or(0);
        let row = || (0..BUCKETS).map(|_| AtomicU64::new(0)).collect();
        Self { rows: [row(), row()], hash_key, start, interval, burst: interval * u64::from(rate.burst) }
    }

    /// Takes `keys` tokens from the buckets of whom these bytes name; `false` when they have none.
    pub fn admits(&self, who: &[u8; 16], keys: u64, now: Instant) -> bool {
        if self.interval == 0 {
            return true;
        }
        let now = nanoseconds(now.saturating_duration_since(self.start));
        let cost = self.interval * keys;
        let mut hasher = SipHasher13::new_with_key(&self.hash_key);
        hasher.write(who);
        let hash = hasher.finish();
        // Not `any`: both buckets pay.
        let paid = [(0, hash), (1, hash.rotate_right(32))].map(|(row, hash)| {
            let at = usize::try_from(hash % BUCKETS as u64).expect("less than the number of buckets");
            self.pay(&self.rows[row][at], cost, now)
        });
        paid.contains(&true)
    }

    /// A bucket that cannot pay is not made to wait longer for it.
    fn pay(&self, bucket: &AtomicU64, cost: u64, now: u64) -> bool {
        let full = bucket.load(Ordering::Relaxed).max(now).saturating_add(cost);
        let pays = full - now <= self.burst.max(cost);
        if pays {
            bucket.store(full, Ordering::Relaxed);
        }
        pays
    }
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter")
            .field("interval", &self.interval)
            .field("burst", &self.burst)
            .finish_non_exhaustive()
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const SECOND: u64 = 1_000_000_000;

/// Two rows of 16 Ki buckets are 256 KiB.
const BUCKETS: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let limiter = limiter(10, 20, start);
        let admitted = |from: Instant| (0..100).filter(|_| limiter.admits(&[1; 16], 1, from)).count();
        assert_eq!(admitted(start), 20);
        assert_eq!(admitted(start + Duration::from_secs(1)), 10);
        assert_eq!(admitted(start + Duration::from_secs(60)), 20);
    }

    #[test]
    fn a_loud_device_is_no_limit_for_others() {
        let start = Instant::now();
        let limiter = limiter(10, 20, start);
        for _ in 0..10_000 {
            limiter.admits(&[1; 16], 8, start);
        }
        let admitted = (2..=200).filter(|n| limiter.admits(&[*n; 16], 8, start)).count();
        assert_eq!(admitted, 199);
    }

    #[test]
    fn what_costs_more_than_the_burst_passes_when_the_bucket_is_full() {
        let start = Instant::now();
        let limiter = limiter(10, 20, start);
        assert!(limiter.admits(&[1; 16], 255, start));
        assert!(!limiter.admits(&[1; 16], 1, start));
        assert!(limiter.admits(&[1; 16], 1, start + Duration::from_secs(26)));
    }

    #[test]
    fn without_a_rate_nobody_is_limited() {
        let limiter = limiter(0, 0, Instant::now());
        assert!((0..1000).all(|_| limiter.admits(&[1; 16], 255, Instant::now())));
    }

    fn limiter(keys: u32, burst: u32, start: Instant) -> Limiter {
        Limiter::new(Rate { keys, burst }, [5; 16], start)
    }
}
