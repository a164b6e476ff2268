//! How long a verdict is used: by what it says, and by whether anything newer can be had.

use std::time::Duration;

use crate::verdict::{Reputation, Verdict};

/// How long verdicts are kept and used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Use of *malicious* and *suspicious*.
    pub malicious: Duration,
    /// Use of *clean* and *known*.
    pub clean: Duration,
    /// Use of *unknown*: negative caching.
    pub unknown: Duration,
    /// How long beyond its time *clean*, *known* and *unknown* are still given, marked as stale, while nothing newer can be
    /// had. What does harm is given without limit until it is contradicted.
    pub stale: Duration,
    /// When to ask again when nobody can be asked.
    pub retry_after: Duration,
}

/// What is to be done with a verdict that is in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Give it.
    Fresh,
    /// Give it, and ask for a newer one when it is asked for often.
    Ending,
    /// Give it marked as stale, and ask for a newer one.
    Stale,
    /// Do not give it.
    Over,
}

impl Policy {
    /// How long a verdict that came from upstream is used: as long as this policy and its own TTL say. `spread` (any
    /// number) makes *unknown* end up to a tenth earlier, so that what came together is not asked for together.
    pub fn ttl(&self, verdict: &Verdict, spread: u8) -> Duration {
        match verdict.reputation {
            Reputation::Malicious | Reputation::Suspicious => verdict.ttl.min(self.malicious),
            Reputation::Clean | Reputation::Known => verdict.ttl.min(self.clean),
            Reputation::Unknown => {
                let ttl = verdict.ttl.min(self.unknown);
                ttl - ttl * u32::from(spread) / 2560
            }
            Reputation::Unavailable => self.retry_after,
        }
    }

    /// What is to be done at `unix` with a verdict whose time ends at `expires`, the last tenth being `tenth` seconds.
    pub fn freshness(&self, reputation: Reputation, expires: u32, tenth: u16, unix: u32) -> Freshness {
        if unix < expires {
            let ending = expires - unix <= u32::from(tenth);
            return if ending { Freshness::Ending } else { Freshness::Fresh };
        }
        let beyond = Duration::from_secs((unix - expires).into());
        match reputation {
            Reputation::Malicious | Reputation::Suspicious => Freshness::Stale,
            Reputation::Unavailable => Freshness::Over,
            _ if beyond < self.stale => Freshness::Stale,
            _ => Freshness::Over,
        }
    }
}

impl Default for Policy {
    /// A file that was found to do harm does not get better within a day, one that is clean may be found to do harm
    /// within hours, one nobody knew a minute ago may be known now.
    fn default() -> Self {
        Self {
            malicious: Duration::from_hours(24),
            clean: Duration::from_hours(6),
            unknown: Duration::from_mins(5),
            stale: Duration::from_mins(15),
            retry_after: Duration::from_secs(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reputation_has_its_time_and_upstream_may_shorten_it() {
        let policy = Policy::default();
        let ttl = |reputation, ttl| {
            policy.ttl(&Verdict { reputation, ..Verdict::unknown(Duration::from_secs(ttl)) }, 0).as_secs()
        };
        assert_eq!(ttl(Reputation::Malicious, 1 << 30), 24 * 3600);
        assert_eq!(ttl(Reputation::Clean, 1 << 30), 6 * 3600);
        assert_eq!(ttl(Reputation::Unknown, 1 << 30), 300);
        assert_eq!(ttl(Reputation::Clean, 60), 60);
        assert_eq!(ttl(Reputation::Unavailable, 1 << 30), 5);
    }

    #[test]
    fn what_nobody_knew_at_once_is_not_asked_for_at_once() {
        let verdict = Verdict::unknown(Duration::from_hours(1));
        let ttl = |spread| Policy::default().ttl(&verdict, spread);
        assert_eq!(ttl(0), Duration::from_secs(300));
        assert!(ttl(255) >= Duration::from_secs(270) && ttl(255) < ttl(128));
    }

    #[test]
    fn harm_is_told_without_limit_and_the_rest_within_the_window() {
        let policy = Policy::default();
        let at = |reputation, unix| policy.freshness(reputation, 1000, 100, unix);
        assert_eq!(at(Reputation::Clean, 899), Freshness::Fresh);
        assert_eq!(at(Reputation::Clean, 900), Freshness::Ending);
        assert_eq!(at(Reputation::Clean, 1000), Freshness::Stale);
        assert_eq!(at(Reputation::Clean, 1899), Freshness::Stale);
        assert_eq!(at(Reputation::Clean, 1900), Freshness::Over);
        assert_eq!(at(Reputation::Malicious, u32::MAX), Freshness::Stale);
        assert_eq!(at(Reputation::Unavailable, 1000), Freshness::Over);
    }
}
