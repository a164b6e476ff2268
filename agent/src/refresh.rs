//! When discovery is asked for what the fabric has signed meanwhile: about once a day, so that an agent that is connected for
//! months has fresh lists when it needs them, and soon once the server has told of a newer revocation list.
//!
//! ```text
//!             (time)        Ask             Answered
//! Waiting ─────────▶ Due ──────▶ Asking ──────────────▶ Waiting, for a day
//!  ▲   ▲ └─ Behind: soon           │ └ Behind, Answered ▶ Waiting, not for long
//!  └───┴──────── (patience) ◀──────┘ Failed
//! ```

use std::time::{Duration, Instant};

use crate::random::Random;

/// Decides when discovery is asked. Drain [`Refresh::poll_output`] after each `&mut` call.
#[derive(Debug)]
pub struct Refresh {
    random: Random,
    /// Failures since the last answer.
    failures: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting {
        until: Instant,
    },
    Due,
    Asking {
        /// The server has told of a newer list since: what is answered may be from before, so it is asked again within this.
        again: Option<Duration>,
    },
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// There is a newer revocation list than those that are known.
    Behind {
        /// Over how long the fleet spreads its questions.
        within: Duration,
    },
    /// Discovery has answered.
    Answered,
    /// It has not, or not with what passes.
    Failed,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// Ask discovery.
    Ask,
}

impl Refresh {
    /// Asks for the first time within a day.
    pub fn new(now: Instant, mut random: Random) -> Self {
        let until = now + random.part_of(EACH);
        Self { random, failures: 0, state: State::Waiting { until } }
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        match (input, &mut self.state) {
            (Input::Behind { within }, State::Waiting { until }) => {
                *until = (*until).min(now + self.random.part_of(within));
            }
            (Input::Behind { within }, State::Asking { again }) => *again = Some(within),
            (Input::Behind { .. }, State::Due) => {}
            (Input::Answered, State::Asking { again }) => {
                let wait = match *again {
                    Some(within) => self.random.part_of(within),
                    None => EACH / 2 + self.random.part_of(EACH),
                };
                self.failures = 0;
                self.state = State::Waiting { until: now + wait };
            }
            (Input::Failed, State::Asking { .. }) => {
                let patience = PATIENCE_MIN.saturating_mul(1 << self.failures.min(16)).min(PATIENCE_MAX);
                self.failures = self.failures.saturating_add(1);
                let half = patience / 2;
                self.state = State::Waiting { until: now + half + self.random.part_of(half) };
            }
            // Nobody was asked.
            (Input::Answered | Input::Failed, _) => {}
        }
    }

    /// Makes the question due once its time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|until| now >= until) {
            self.state = State::Due;
        }
    }

    /// Takes the next thing to do; `None` once there is nothing more to do now.
    pub fn poll_output(&mut self) -> Option<Output> {
        match self.state {
            State::Due => {
                self.state = State::Asking { again: None };
                Some(Output::Ask)
            }
            _ => None,
        }
    }

    /// When to call [`Refresh::handle_timeout`] at the latest.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Due | State::Asking { .. } => None,
        }
    }
}

/// How often on average: several times in the life of a revocation list.
const EACH: Duration = Duration::from_secs(24 * 3600);
/// The first patience, as long as a server may take to restart.
const PATIENCE_MIN: Duration = Duration::from_secs(60);
/// The last patience.
const PATIENCE_MAX: Duration = Duration::from_secs(6 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_is_told_nothing_asks_once_a_day() {
        let mut now = Instant::now();
        let (start, mut refresh) = (now, refresh(now));
        for _ in 0..100 {
            now = ask(&mut refresh);
            refresh.handle_input(now, Input::Answered);
        }
        let days = (now - start).as_secs_f64() / EACH.as_secs_f64();
        assert!((85.0..115.0).contains(&days), "{days}");
    }

    #[test]
    fn one_that_hears_of_a_newer_list_asks_within_the_time_it_is_given() {
        let now = Instant::now();
        let mut refresh = refresh(now);
        refresh.handle_input(now, Input::Behind { within: MINUTE });
        let first = refresh.poll_timeout().unwrap();
        assert!(first <= now + MINUTE);
        refresh.handle_input(now + MINUTE / 4, Input::Behind { within: 20 * MINUTE });
        assert!(refresh.poll_timeout().unwrap() <= first, "another list makes it no later");
        let now = ask(&mut refresh);
        refresh.handle_input(now, Input::Answered);
        assert!(refresh.poll_timeout().unwrap() >= now + EACH / 2);
    }

    #[test]
    fn an_answer_from_before_the_newest_list_is_followed_by_another_question() {
        let mut refresh = refresh(Instant::now());
        let now = ask(&mut refresh);
        refresh.handle_input(now, Input::Behind { within: MINUTE });
        assert_eq!((refresh.poll_output(), refresh.poll_timeout()), (None, None), "one question at a time");
        refresh.handle_input(now, Input::Answered);
        assert!(refresh.poll_timeout().unwrap() <= now + MINUTE);
    }

    #[test]
    fn failures_make_it_patient_and_never_give_up() {
        let (mut refresh, mut waits) = (refresh(Instant::now()), Vec::new());
        for _ in 0..40 {
            let now = ask(&mut refresh);
            refresh.handle_input(now, Input::Failed);
            waits.push(refresh.poll_timeout().unwrap() - now);
        }
        assert!((PATIENCE_MIN / 2..=PATIENCE_MIN).contains(&waits[0]), "{:?}", waits[0]);
        assert!((PATIENCE_MAX / 2..=PATIENCE_MAX).contains(&waits[39]), "{:?}", waits[39]);
    }

    /// Waits until it asks, and says when that is.
    fn ask(refresh: &mut Refresh) -> Instant {
        let now = refresh.poll_timeout().expect("it waits");
        refresh.handle_timeout(now);
        assert_eq!(refresh.poll_output(), Some(Output::Ask));
        now
    }

    fn refresh(now: Instant) -> Refresh {
        Refresh::new(now, Random::new(7))
    }

    const MINUTE: Duration = Duration::from_secs(60);
}
