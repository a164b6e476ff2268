//! When an object that is missing is fetched by HTTPS.

use std::time::{Duration, Instant};

/// When to fetch an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    at: Instant,
    way: Way,
}

/// How an object is meant to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By multicast: it is fetched when that has brought nothing for too long.
    Multicast,
    /// By HTTPS alone; whoever has it may have to fetch it first. So long until the next try.
    Unicast(Duration),
}

impl Due {
    /// It comes by multicast, if it does.
    pub(super) fn later(now: Instant) -> Self {
        Self { at: now + PATIENCE, way: Way::Multicast }
    }

    /// It comes no other way.
    pub(super) const fn at_once(now: Instant) -> Self {
        Self { at: now, way: Way::Unicast(SOON) }
    }

    /// It was tried, in vain.
    pub(super) fn tried(&mut self, now: Instant) {
        self.at = now + RETRY;
        if let Way::Unicast(pause) = &mut self.way {
            self.at = now + *pause;
            *pause = (*pause * 2).min(RETRY);
        }
    }

    /// Whether it is time, where some of the object came by multicast at `moved`.
    pub(super) fn is_over(&self, now: Instant, moved: Option<Instant>) -> bool {
        let is_moving = moved.is_some_and(|moved| now < moved + PATIENCE);
        now >= self.at && !(self.waits_for_multicast() && is_moving)
    }

    /// Whether it may come by multicast.
    pub(super) fn waits_for_multicast(&self) -> bool {
        self.way == Way::Multicast
    }
}

/// How long an object may not come by multicast, or stand still, before it is fetched.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before it is fetched again.
const RETRY: Duration = Duration::from_secs(10);
/// Before the first time again, where the distribution point is only just fetching it itself.
const SOON: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_by_multicast_is_fetched_once_it_stands_still() {
        let start = Instant::now();
        let mut due = Due::later(start);
        assert!(!due.is_over(start, None) && due.is_over(start + PATIENCE, None));
        let moved = Some(start + Duration::from_secs(7));
        assert!(!due.is_over(start + PATIENCE, moved) && due.is_over(start + PATIENCE * 2, moved));
        due.tried(start + PATIENCE);
        assert!(!due.is_over(start + PATIENCE, None) && due.is_over(start + PATIENCE + RETRY, None));
    }

    #[test]
    fn what_comes_by_unicast_is_fetched_at_once_and_soon_again() {
        let mut now = Instant::now();
        let mut due = Due::at_once(now);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            assert!(due.is_over(now, Some(now)), "whatever multicast brought");
            due.tried(now);
            let tried = now;
            while !due.is_over(now, None) {
                now += SOON;
            }
            pauses.push((now - tried).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 10, 10]);
    }
}
