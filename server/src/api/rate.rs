//! A token bucket per source, for what anyone may ask and what costs cryptography to answer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::source::Source;

/// Buckets of every source that asked lately; never more than `CAPACITY`.
#[derive(Debug)]
pub struct Buckets {
    pace: Pace,
    /// When each source's bucket is full again.
    full_at: HashMap<Source, Instant>,
    /// The bucket that sources share who find the table full: neither a way around the limit nor a growing table.
    overflow: Option<Instant>,
}

/// How fast a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Time for one request to be earned.
    pub interval: Duration,
    /// Requests that may come at once.
    pub burst: u32,
}

/// The source must wait this long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooFast(pub Duration);

impl Pace {
    /// Ten a second, a hundred at once: a site of devices behind one address enrols unhindered, while the answers
    /// (a signature check and a certificate, under a millisecond) cost below one hundredth of a core.
    pub const ENROLMENT: Self = Self { interval: Duration::from_millis(100), burst: 100 };
}

impl Buckets {
    /// Buckets that are all full.
    pub fn new(pace: Pace) -> Self {
        Self { pace, full_at: HashMap::new(), overflow: None }
    }

    /// Takes one request out of the source's bucket.
    ///
    /// # Errors
    /// [`TooFast`] when it is empty; that costs nothing.
    pub fn take(&mut self, now: Instant, source: Source) -> Result<(), TooFast> {
        if self.full_at.len() >= CAPACITY && !self.full_at.contains_key(&source) {
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        let known = self.full_at.len() < CAPACITY || self.full_at.contains_key(&source);
        let full_at = match known {
            true => self.full_at.entry(source).or_insert(now),
            false => self.overflow.get_or_insert(now),
        };
        let after = (*full_at).max(now) + self.pace.interval;
        let most = now + self.pace.interval * self.pace.burst;
        if after > most {
            return Err(TooFast(after - most));
        }
        *full_at = after;
        Ok(())
    }
}

/// Sources that have a bucket of their own; 4,096 take some 200 KiB.
const CAPACITY: usize = 4096;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    #[test]
    fn a_source_has_its_burst_and_then_its_pace() {
        let (now, mut buckets) = (Instant::now(), Buckets::new(PACE));
        (0..3).for_each(|_| assert_eq!(buckets.take(now, source(1)), Ok(())));
        assert_eq!(buckets.take(now, source(1)), Err(TooFast(PACE.interval)));
        assert_eq!(buckets.take(now, source(2)), Ok(()), "others are not held up");
        let later = now + PACE.interval;
        assert_eq!(buckets.take(later, source(1)), Ok(()));
        assert_eq!(buckets.take(later, source(1)), Err(TooFast(PACE.interval)));
    }

    #[test]
    fn a_full_table_neither_grows_nor_lets_everyone_through() {
        let (now, mut buckets) = (Instant::now(), Buckets::new(PACE));
        let accepted = (0..20_000).filter(|n| buckets.take(now, source(*n)).is_ok()).count();
        assert_eq!(accepted, CAPACITY + 3, "one each, then one shared burst");
        assert_eq!(buckets.full_at.len(), CAPACITY);
        let later = now + PACE.interval;
        assert_eq!(buckets.take(later, source(19_999)), Ok(()));
        assert_eq!(buckets.full_at.len(), 1, "full buckets are forgotten");
    }

    const PACE: Pace = Pace { interval: Duration::from_secs(1), burst: 3 };

    fn source(number: u32) -> Source {
        SocketAddr::from((Ipv4Addr::from_bits(number), 1)).into()
    }
}
