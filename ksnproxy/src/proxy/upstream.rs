//! One upstream as the core sees it: whether it may be asked, and how fast it answers.

use std::time::{Duration, Instant};

use super::config::Config;

/// An upstream.
#[derive(Debug)]
pub(super) struct Upstream {
    breaker: Breaker,
    /// Requests under way.
    pub(super) under_way: usize,
    /// What 95 of 100 answers were faster than, roughly.
    pub(super) slow: Duration,
}

/// A circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Breaker {
    /// It is asked; so many requests failed since the last that did not.
    Closed { failures: u32 },
    /// It is left alone until then.
    Open { until: Instant, pause: Duration },
    /// One request is under way that decides.
    HalfOpen { pause: Duration },
}

impl Upstream {
    pub(super) const fn new() -> Self {
        Self { breaker: Breaker::Closed { failures: 0 }, under_way: 0, slow: SLOW_AT_FIRST }
    }

    /// Whether a request may be sent now.
    pub(super) fn may_ask(&self, config: &Config, now: Instant) -> bool {
        self.may_be_asked_from(config, now).is_some_and(|from| from <= now)
    }

    /// From when on, not before `from`, a request may be sent, if no answer has to come first.
    pub(super) fn may_be_asked_from(&self, config: &Config, from: Instant) -> Option<Instant> {
        match self.breaker {
            _ if self.under_way >= config.window => None,
            Breaker::Closed { .. } => Some(from),
            Breaker::Open { until, .. } => Some(from.max(until)),
            Breaker::HalfOpen { .. } => None,
        }
    }

    /// Whether it may be asked now or as soon as requests are answered that are under way.
    pub(super) fn is_worth_waiting_for(&self, now: Instant) -> bool {
        match self.breaker {
            Breaker::Closed { .. } | Breaker::HalfOpen { .. } => true,
            Breaker::Open { until, .. } => now >= until,
        }
    }

    /// How long it is left alone.
    pub(super) fn pause(&self, now: Instant) -> Duration {
        match self.breaker {
            Breaker::Open { until, .. } => until.saturating_duration_since(now),
            _ => Duration::ZERO,
        }
    }

    pub(super) fn sent(&mut self) {
        self.under_way += 1;
        if let Breaker::Open { pause, .. } = self.breaker {
            self.breaker = Breaker::HalfOpen { pause };
        }
    }

    pub(super) fn answered(&mut self, took: Duration, config: &Config) {
        self.under_way = self.under_way.saturating_sub(1);
        self.breaker = Breaker::Closed { failures: 0 };
        // A quantile by steps (Robbins and Monro): 19 small ones down weigh as much as a large one up.
        let step = self.slow / 32;
        self.slow = if took > self.slow { self.slow + step * 19 } else { self.slow - step };
        self.slow = self.slow.clamp(SLOW_AT_LEAST, config.timeout);
    }

    pub(super) fn failed(&mut self, config: &Config, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        let open = |pause: Duration| Breaker::Open { until: now + pause, pause };
        self.breaker = match self.breaker {
            Breaker::Closed { failures } if failures + 1 < config.failures => {
                Breaker::Closed { failures: failures + 1 }
            }
            Breaker::Closed { .. } => open(config.pause),
            Breaker::HalfOpen { pause } => open((pause * 2).min(config.pause_limit)),
            Breaker::Open { .. } => self.breaker,
        };
    }
}

/// What an upstream that never answered is taken for.
const SLOW_AT_FIRST: Duration = Duration::from_millis(100);

/// No second request is sent sooner: it would not be answered sooner.
const SLOW_AT_LEAST: Duration = Duration::from_millis(2);
