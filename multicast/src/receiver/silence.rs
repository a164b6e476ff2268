//! How long nothing was heard, and what that means.
//!
//! ```text
//! Heard ─ MISSED ─▶ Missed ─ HOPE ─▶ Lost      a packet: Heard again
//! ```
//! A sender says something ten times a second while anybody needs anything. A switch that has forgotten a member sends it
//! nothing: what goes out until that is mended has to go out again, for all. So the sender is asked to wait, but not for
//! long: where joining again does not help, others are not to wait for that.

use std::time::{Duration, Instant};

/// What is heard of a session.
#[derive(Debug)]
pub(super) struct Silence {
    heard: Instant,
    state: State,
    rejoin_at: Instant,
    rejoined: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Heard,
    Missed,
    Lost,
}

impl Silence {
    pub(super) fn new(now: Instant) -> Self {
        Self { heard: now, state: State::Heard, rejoin_at: now + STALL, rejoined: 0 }
    }

    /// Something came.
    pub(super) fn end(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// Notes how long it lasts; says whether to join the group again.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        self.state = match self.lasts(now) {
            short if short < MISSED => State::Heard,
            long if long < HOPE => State::Missed,
            _ => State::Lost,
        };
        if now < self.rejoin_at {
            return false;
        }
        self.rejoined += 1;
        self.rejoin_at = now + STALL * (1 << self.rejoined.min(5));
        true
    }

    /// When to call [`Silence::handle_timeout`] at the latest.
    pub(super) fn poll_timeout(&self) -> Instant {
        match self.state {
            State::Heard => self.heard + MISSED,
            State::Missed => self.rejoin_at.min(self.heard + HOPE),
            State::Lost => self.rejoin_at,
        }
    }

    /// Whether it has just begun, so that it may be over soon.
    pub(super) fn is_new(&self) -> bool {
        self.state == State::Missed
    }

    /// How long it has lasted.
    pub(super) fn lasts(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard)
    }
}

/// Three marks in a row that did not come.
const MISSED: Duration = Duration::from_millis(300);
/// Silence after which a switch may have forgotten that this receiver is in the group; less would be a busy sender.
const STALL: Duration = Duration::from_millis(600);
/// By then it was joined twice in vain.
const HOPE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_joined_again_soon_and_then_ever_more_seldom() {
        let start = Instant::now();
        let mut silence = Silence::new(start);
        let (mut joined, mut waited) = (Vec::new(), Vec::new());
        while silence.lasts(silence.poll_timeout()) < Duration::from_secs(45) {
            let now = silence.poll_timeout();
            if silence.handle_timeout(now) {
                joined.push((now - start).as_millis());
            }
            waited.push(((now - start).as_millis(), silence.is_new()));
        }
        assert_eq!(joined, [600, 1800, 4200, 9000, 18_600, 37_800]);
        assert_eq!(waited[..4], [(300, true), (600, true), (1800, true), (2000, false)]);
        silence.end(start + Duration::from_secs(50));
        assert!(!silence.is_new() && silence.poll_timeout() == start + Duration::from_secs(50) + MISSED);
    }
}
