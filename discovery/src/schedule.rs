//! When which poll is due: each kind at its own interval, one at a time.

use std::time::{Duration, Instant};

/// Kinds of polls, and when each is due next.
#[derive(Debug, Clone)]
pub struct Schedule<K> {
    turns: Vec<Turn<K>>,
}

#[derive(Debug, Clone, Copy)]
struct Turn<K> {
    kind: K,
    every: Duration,
    due: Instant,
}

impl<K: Copy + PartialEq> Schedule<K> {
    /// Everything is due at once, in this order.
    pub fn new(now: Instant, intervals: impl IntoIterator<Item = (K, Duration)>) -> Self {
        let turn = |(kind, every): (K, Duration)| Turn { kind, every: every.max(SHORTEST), due: now };
        Self { turns: intervals.into_iter().map(turn).collect() }
    }

    /// What is due next, and when; what waits for longest comes first.
    pub fn next(&self) -> Option<(Instant, K)> {
        self.turns.iter().min_by_key(|turn| turn.due).map(|turn| (turn.due, turn.kind))
    }

    /// A poll is over: its next turn is one that has not passed yet. Turns that passed meanwhile are left out, so that a
    /// poll that takes longer than its interval does not fall further behind with each.
    pub fn done(&mut self, now: Instant, kind: K) {
        for turn in self.turns.iter_mut().filter(|turn| turn.kind == kind) {
            let passed = now.saturating_duration_since(turn.due).as_nanos() / turn.every.as_nanos();
            turn.due += turn.every * u32::try_from(passed + 1).unwrap_or(u32::MAX);
        }
    }
}

/// No poll is made more often.
pub const SHORTEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_at_once_and_then_at_its_own_interval() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, [("range", MINUTE * 7), ("windows", MINUTE * 2)]);
        let mut done = Vec::new();
        while let Some((due, kind)) = schedule.next()
            && due < start + MINUTE * 9
        {
            done.push((due.duration_since(start).as_secs() / 60, kind));
            schedule.done(due, kind);
        }
        let windows = |minute| (minute, "windows");
        assert_eq!(
            done,
            [(0, "range"), windows(0), windows(2), windows(4), windows(6), (7, "range"), windows(8)]
        );
    }

    #[test]
    fn a_poll_that_takes_too_long_skips_turns() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, [("range", MINUTE)]);
        schedule.done(start + MINUTE * 5 / 2, "range");
        assert_eq!(schedule.next(), Some((start + MINUTE * 3, "range")));
    }

    #[test]
    fn nothing_is_due_where_nothing_is_wanted_and_nothing_without_a_pause() {
        let start = Instant::now();
        assert_eq!(Schedule::<u8>::new(start, []).next(), None);
        let mut schedule = Schedule::new(start, [(1, Duration::ZERO)]);
        schedule.done(start, 1);
        assert_eq!(schedule.next(), Some((start + SHORTEST, 1)));
    }

    const MINUTE: Duration = Duration::from_secs(60);
}
