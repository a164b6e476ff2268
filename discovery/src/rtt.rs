//! How long answers take (RFC 6298).

use std::time::Duration;

/// An estimate that follows the round trips seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rtt {
    smoothed: Duration,
    variation: Duration,
    longest: Duration,
    seen: bool,
}

impl Rtt {
    /// Takes in a round trip that belongs to one probe beyond doubt (Karn's rule).
    pub fn observe(&mut self, rtt: Duration) {
        let rtt = rtt.min(LONGEST);
        self.longest = self.longest.max(rtt);
        if !std::mem::replace(&mut self.seen, true) {
            (self.smoothed, self.variation) = (rtt, rtt / 2);
            return;
        }
        self.variation = self.variation * 3 / 4 + self.smoothed.abs_diff(rtt) / 4;
        self.smoothed = self.smoothed * 7 / 8 + rtt / 8;
    }

    /// Lets the slowest take at least so long.
    pub fn allow(&mut self, longest: Duration) {
        self.longest = self.longest.max(longest);
    }

    /// Whether one was seen.
    pub const fn is_known(&self) -> bool {
        self.seen
    }

    /// How long an answer may take; the initial value of the RFC while none was seen.
    pub fn timeout(&self) -> Duration {
        if !self.seen {
            return INITIAL;
        }
        (self.smoothed + self.variation * 4).clamp(SHORTEST, LONGEST)
    }

    /// How long the slowest may take: a network's far corner must not be cut off by its many near hosts.
    pub fn longest(&self) -> Duration {
        self.timeout().max(self.longest * 2).min(LONGEST)
    }
}

/// RFC 6298, 2.1.
const INITIAL: Duration = Duration::from_secs(1);
/// A host that is off its processor for a tick or two has not gone.
const SHORTEST: Duration = Duration::from_millis(20);
/// Beyond this an answer comes too late for anybody who waits.
const LONGEST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_follows_what_was_seen() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.timeout(), Duration::from_secs(1));
        rtt.observe(Duration::from_millis(100));
        assert_eq!(rtt.timeout(), Duration::from_millis(300));
        (0..100).for_each(|_| rtt.observe(Duration::from_millis(1)));
        assert_eq!(rtt.timeout(), Duration::from_millis(20));
        assert_eq!(rtt.longest(), Duration::from_millis(200));
    }

    #[test]
    fn no_answer_makes_anyone_wait_for_ever() {
        let mut rtt = Rtt::default();
        rtt.observe(Duration::MAX);
        assert_eq!(rtt.longest(), Duration::from_secs(5));
    }
}
