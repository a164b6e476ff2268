//! When to dial: spread over the server's window after a loss, ever more patient while nothing answers.
//!
//! ```text
//!            Dial                Connected                Ended
//! Due ─────────────▶ Dialling ─────────────▶ Connected ─────────▶ Waiting ──(time)──▶ Due
//!                        └──────── Ended ───────────────────────────▲
//! ```
//! The first delay after a session is a random part of the window its WELCOME named, or of the time a GOAWAY named.
//! Every further one is a random part of half the time the outage has lasted, and at least of the window: a server that
//! was away for a few seconds sees its whole fleet again within as many, one that stays away ever less of it. An outage
//! is over once a session has held for [`STABLE`].

use std::time::{Duration, Instant};

use crate::random::Random;

/// Decides when the agent dials. Drain [`Backoff::poll_output`] after each `&mut` call.
#[derive(Debug)]
pub struct Backoff {
    random: Random,
    /// From the last WELCOME.
    window: Duration,
    /// From a GOAWAY, until the session it came in has ended.
    asked: Option<Duration>,
    /// Since when no session has held.
    outage: Option<Instant>,
    state: State,
}

#[derive(Debug)]
enum State {
    Due,
    Dialling,
    Connected { since: Instant },
    Waiting { until: Instant },
    Stopped { reason: String, reported: bool },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// WELCOME came; after a loss this server wants agents spread over `window`.
    Connected {
        /// How wide the spread is.
        window: Duration,
    },
    /// The server asks to leave and to come back within this time.
    GoAway {
        /// The longest wait.
        within: Duration,
    },
    /// The server asks to leave and never to come back.
    Banned {
        /// What it says.
        reason: String,
    },
    /// The session ended, or none came about.
    Ended,
    /// The session ended for a reason of this device's own, such as its new address: it comes back alone, so nothing is
    /// to be spread.
    Moved,
    /// What kept the device from a session is gone.
    Cleared,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// Dial a server now.
    Dial,
    /// Never dial again.
    Stop {
        /// What the server said.
        reason: String,
    },
}

impl Backoff {
    /// Starts with a dial at once.
    pub const fn new(random: Random) -> Self {
        Self { random, window: Duration::ZERO, asked: None, outage: None, state: State::Due }
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        if matches!(self.state, State::Stopped { .. }) {
            return;
        }
        match input {
            Input::Connected { window } => {
                self.window = window.min(WINDOW_LIMIT);
                self.state = State::Connected { since: now };
            }
            Input::GoAway { within } => self.asked = Some(within.min(WINDOW_LIMIT)),
            Input::Banned { reason } => self.state = State::Stopped { reason, reported: false },
            Input::Ended => self.ended(now, self.window),
            Input::Moved => self.ended(now, Duration::ZERO),
            Input::Cleared => self.state = State::Due,
        }
    }

    /// Makes the dial due once its time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if matches!(self.state, State::Waiting { until } if now >= until) {
            self.state = State::Due;
        }
    }

    /// Takes the next thing to do; `None` once there is nothing more to do now.
    pub fn poll_output(&mut self) -> Option<Output> {
        match &mut self.state {
            State::Due => {
                self.state = State::Dialling;
                Some(Output::Dial)
            }
            State::Stopped { reason, reported } if !*reported => {
                *reported = true;
                Some(Output::Stop { reason: reason.clone() })
            }
            _ => None,
        }
    }

    /// When to call [`Backoff::handle_timeout`] at the latest.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until } => Some(until),
            _ => None,
        }
    }

    /// `spread`: over how long agents return whose sessions have ended like this one.
    fn ended(&mut self, now: Instant, spread: Duration) {
        let session = match self.state {
            State::Connected { since } => Some(now.saturating_duration_since(since)),
            _ => None,
        };
        if session.is_some_and(|length| length >= STABLE) {
            self.outage = None;
        }
        let spread = match (self.outage, self.asked.take()) {
            (Some(since), asked) => asked.unwrap_or_default().max(self.ceiling(now - since)),
            (None, Some(asked)) => asked,
            (None, None) if session.is_some() => spread,
            (None, None) => FIRST_CEILING,
        };
        self.outage.get_or_insert(now);
        self.state = State::Waiting { until: now + self.random.part_of(spread) };
    }

    /// The longest next delay in an outage of this age.
    fn ceiling(&self, age: Duration) -> Duration {
        (age / 2).clamp(self.window.clamp(FIRST_CEILING, LAST_CEILING), LAST_CEILING)
    }
}

/// The longest delay after the first failure, unless the server's window is wider.
pub const FIRST_CEILING: Duration = Duration::from_millis(500);
/// The longest delay of all: a server that comes back sees its whole fleet within a minute.
pub const LAST_CEILING: Duration = Duration::from_secs(60);
/// A session that held so long was worth having: failures before it are forgotten.
pub const STABLE: Duration = Duration::from_secs(30);
/// The widest window that is obeyed, so that no mistake of a server sends its agents away for days.
pub const WINDOW_LIMIT: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
