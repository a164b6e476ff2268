//! When the certificate is renewed: once its time has come by the server's clock, and after a failure ever more patiently.
//!
//! ```text
//!              (time)          Renew            Renewed
//! Ahead ───────────────▶ Due ─────────▶ Asking ─────────▶ Ahead
//!                         ▲  (patience)    │ Failed
//!                         └── Waiting ◀────┘
//! ```

use std::time::{Duration, Instant};

use crate::random::Random;

/// Decides when a certificate is renewed. Drain [`Renewal::poll_output`] after each `&mut` call.
#[derive(Debug)]
pub struct Renewal {
    random: Random,
    /// Unix seconds.
    due: u64,
    /// Failures since it became due.
    failures: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    /// A wall clock may be set, so it is looked at now and then.
    Ahead {
        look: Instant,
    },
    Due,
    Asking,
    Waiting {
        until: Instant,
    },
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// There is a new certificate, to be renewed at this Unix second.
    Renewed {
        /// When.
        due: u64,
    },
    /// There is none.
    Failed,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// Ask for a new certificate.
    Renew,
}

impl Renewal {
    /// A certificate that is renewed at the Unix second `due`.
    pub const fn new(now: Instant, random: Random, due: u64) -> Self {
        Self { random, due, failures: 0, state: State::Ahead { look: now } }
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Renewed { due } => {
                (self.due, self.failures) = (due, 0);
                self.state = State::Ahead { look: now };
            }
            Input::Failed => {
                let patience = PATIENCE_MIN.saturating_mul(1 << self.failures.min(16)).min(PATIENCE_MAX);
                self.failures = self.failures.saturating_add(1);
                let half = patience / 2;
                self.state = State::Waiting { until: now + half + self.random.part_of(half) };
            }
        }
    }

    /// Makes the renewal due once its time has come; `unix` is the server's clock as far as it is known.
    pub fn handle_timeout(&mut self, now: Instant, unix: u64) {
        match self.state {
            State::Ahead { look } if now >= look => {
                let left = Duration::from_secs(self.due.saturating_sub(unix));
                self.state = match left.is_zero() {
                    true => State::Due,
                    false => State::Ahead { look: now + left.min(LOOK_EACH) },
                };
            }
            State::Waiting { until } if now >= until => self.state = State::Due,
            _ => {}
        }
    }

    /// Takes the next thing to do; `None` once there is nothing more to do now.
    pub fn poll_output(&mut self) -> Option<Output> {
        match self.state {
            State::Due => {
                self.state = State::Asking;
                Some(Output::Renew)
            }
            _ => None,
        }
    }

    /// When to call [`Renewal::handle_timeout`] at the latest.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Ahead { look } => Some(look),
            State::Waiting { until } => Some(until),
            State::Due | State::Asking => None,
        }
    }
}

/// How long a clock that was set may go unnoticed.
const LOOK_EACH: Duration = Duration::from_secs(3600);
/// The first patience, as long as a server may take to restart.
pub const PATIENCE_MIN: Duration = Duration::from_secs(60);
/// The last patience: over a hundred attempts in the month that is left of a certificate's life.
pub const PATIENCE_MAX: Duration = Duration::from_secs(6 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_once_at_its_time() {
        let mut now = Instant::now();
        let mut renewal = renewal(now, 10_000);
        let mut unix = 0;
        while renewal.poll_output().is_none() {
            let next = renewal.poll_timeout().expect("it waits");
            assert!(unix < 10_000, "it is due");
            unix += (next - now).as_secs();
            now = next;
            renewal.handle_timeout(now, unix);
        }
        assert_eq!((unix, renewal.poll_timeout()), (10_000, None));
        renewal.handle_input(now, Input::Renewed { due: 20_000 });
        renewal.handle_timeout(now, unix);
        assert_eq!(renewal.poll_output(), None);
    }

    #[test]
    fn a_clock_set_forward_is_noticed_within_the_hour() {
        let now = Instant::now();
        let mut renewal = renewal(now, 10_000_000);
        renewal.handle_timeout(now, 0);
        let look = renewal.poll_timeout().unwrap();
        assert_eq!(look, now + LOOK_EACH);
        renewal.handle_timeout(look, 10_000_000);
        assert_eq!(renewal.poll_output(), Some(Output::Renew));
    }

    #[test]
    fn failures_make_it_patient_and_never_give_up() {
        let mut now = Instant::now();
        let mut renewal = renewal(now, 0);
        let mut waits = Vec::new();
        renewal.handle_timeout(now, 1);
        for _ in 0..40 {
            assert_eq!(renewal.poll_output(), Some(Output::Renew));
            renewal.handle_input(now, Input::Failed);
            let next = renewal.poll_timeout().unwrap();
            waits.push(next - now);
            now = next;
            renewal.handle_timeout(now, 1);
        }
        assert!((PATIENCE_MIN / 2..=PATIENCE_MIN).contains(&waits[0]), "{:?}", waits[0]);
        assert!((PATIENCE_MAX / 2..=PATIENCE_MAX).contains(&waits[39]), "{:?}", waits[39]);
    }

    fn renewal(now: Instant, due: u64) -> Renewal {
        Renewal::new(now, Random::new(7), due)
    }
}
