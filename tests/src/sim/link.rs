//! One direction between two nodes: what happens to a datagram on it.

use std::time::{Duration, Instant};

use super::rng::Rng;

/// How a link treats datagrams; the default is perfect and instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Time on the wire.
    pub latency: Duration,
    /// Up to this much more, uniform; larger than the gap between two datagrams, it reorders them.
    pub jitter: Duration,
    /// Datagrams lost in a thousand while the link is good.
    pub loss: u16,
    /// Bad spells, in which most is lost; `None` for none.
    pub burst: Option<Burst>,
    /// Datagrams in a thousand that arrive twice.
    pub duplicate: u16,
    /// Datagrams in a thousand that are held back by another latency, behind later ones.
    pub reorder: u16,
    /// Bits a second; `None` for no limit.
    pub rate: Option<u64>,
    /// Bytes that may wait for the rate; what does not fit is dropped at the tail.
    pub queue: usize,
}

/// The Gilbert-Elliott model (Elliott 1963): a link is good or bad, and may change with every datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// Datagrams in a thousand that turn a good link bad.
    pub begin: u16,
    /// Datagrams in a thousand that turn a bad link good: 1000 / `end` is the mean length of a burst.
    pub end: u16,
    /// Datagrams lost in a thousand while the link is bad.
    pub loss: u16,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0,
            burst: None,
            duplicate: 0,
            reorder: 0,
            rate: None,
            queue: DEFAULT_QUEUE,
        }
    }
}

/// What a link remembers between datagrams.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lane {
    bad: bool,
    /// When the last bit queued so far leaves.
    free_at: Option<Instant>,
}

impl Lane {
    /// When a datagram sent now arrives: never, once, or twice.
    pub(crate) fn carry(&mut self, link: &Link, rng: &mut Rng, now: Instant, size: usize) -> Arrivals {
        if self.loses(link, rng) {
            return Arrivals::default();
        }
        let Some(sent) = self.transmit(link, now, size) else { return Arrivals::default() };
        let second = rng.chance(link.duplicate).then(|| sent + travel(link, rng));
        Arrivals { first: Some(sent + travel(link, rng)), second }
    }

    fn loses(&mut self, link: &Link, rng: &mut Rng) -> bool {
        let Some(burst) = link.burst else { return rng.chance(link.loss) };
        if rng.chance(if self.bad { burst.end } else { burst.begin }) {
            self.bad = !self.bad;
        }
        rng.chance(if self.bad { burst.loss } else { link.loss })
    }

    /// When the last bit has left; `None` when the queue is full.
    fn transmit(&mut self, link: &Link, now: Instant, size: usize) -> Option<Instant> {
        let Some(rate) = link.rate else { return Some(now) };
        let start = self.free_at.map_or(now, |free| free.max(now));
        if start - now > time_at(rate, link.queue) {
            return None;
        }
        let sent = start + time_at(rate, size);
        self.free_at = Some(sent);
        Some(sent)
    }
}

/// When copies of one datagram arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrivals {
    pub(crate) first: Option<Instant>,
    pub(crate) second: Option<Instant>,
}

/// One way's time, drawn anew for each copy.
pub(super) fn travel(link: &Link, rng: &mut Rng) -> Duration {
    let jitter = if link.jitter.is_zero() { Duration::ZERO } else { rng.duration(link.jitter) };
    let held = if rng.chance(link.reorder) { link.latency } else { Duration::ZERO };
    link.latency + jitter + held
}

/// How long `size` bytes take at `rate` bits a second.
fn time_at(rate: u64, size: usize) -> Duration {
    let nanoseconds = (size as u64).saturating_mul(8_000_000_000) / rate.max(1);
    Duration::from_nanos(nanoseconds)
}

/// 100 ms at 10 Mbit/s, a usual access line.
const DEFAULT_QUEUE: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_about_what_was_asked() {
        let link = Link { loss: 50, ..Link::default() };
        assert!(lost(&link, 1).len().abs_diff(5_000) < 400);
    }

    #[test]
    fn bursts_lose_neighbours_together() {
        let burst = Burst { begin: 10, end: 200, loss: 1000 };
        let lost = lost(&Link { burst: Some(burst), ..Link::default() }, 2);
        // Share of bad time: 10 / (10 + 200). Mean burst: 5 datagrams, so 4 in 5 losses follow a loss.
        assert!(lost.len().abs_diff(4_760) < 700, "{}", lost.len());
        let neighbours = lost.windows(2).filter(|pair| pair[1] == pair[0] + 1).count();
        assert!(neighbours * 4 > lost.len() * 3, "{neighbours} of {}", lost.len());
    }

    #[test]
    fn rate_spaces_datagrams_and_a_full_queue_drops_the_tail() {
        let link = Link { rate: Some(8_000), queue: 2_000, ..Link::default() };
        let (now, mut lane, mut rng) = (Instant::now(), Lane::default(), Rng::new(3));
        let arrivals: Vec<_> = (0..5).map(|_| lane.carry(&link, &mut rng, now, 1_000).first).collect();
        let second = |n| Some(now + Duration::from_secs(n));
        assert_eq!(arrivals, [second(1), second(2), second(3), None, None]);
    }

    /// Which of 100,000 datagrams were lost.
    fn lost(link: &Link, seed: u64) -> Vec<usize> {
        let (now, mut lane, mut rng) = (Instant::now(), Lane::default(), Rng::new(seed));
        (0..100_000).filter(|_| lane.carry(link, &mut rng, now, 100).first.is_none()).collect()
    }
}
