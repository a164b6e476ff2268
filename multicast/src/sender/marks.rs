//! When the sender says how far it is.

use std::time::{Duration, Instant};

/// The marks of a session.
#[derive(Debug)]
pub(super) struct Marks {
    due: Instant,
    last: Instant,
    /// How many there were since the last symbol.
    silent: u32,
}

impl Marks {
    /// The first is due when nothing else has been said for a while.
    pub(super) fn new(now: Instant) -> Self {
        Self { due: now + HEARTBEAT, last: now, silent: 0 }
    }

    /// Notes that one goes out now: the next is due after `pause`.
    pub(super) fn went_out(&mut self, now: Instant, pause: Duration) {
        (self.last, self.due) = (now, now + pause);
        self.silent += 1;
    }

    /// Notes that a symbol goes out.
    pub(super) const fn symbol_went_out(&mut self) {
        self.silent = 0;
    }

    /// There is something to say: the next is due at once.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.due = now;
    }

    /// Somebody was heard: the next is due soon, though not so soon that each request has a mark of its own.
    pub(super) fn answer(&mut self, now: Instant) {
        self.due = self.due.min((self.last + GAP).max(now));
    }

    /// When the next is due.
    pub(super) const fn due(&self) -> Instant {
        self.due
    }

    /// How long until the next while somebody needs something. Once nothing else goes out (`idle`) they come fast at first:
    /// who lost one waits for it.
    pub(super) fn pause(&self, idle: bool, grtt: Duration) -> Duration {
        let soon = grtt * (1 << self.silent.min(6));
        if idle { HEARTBEAT.min(soon) } else { HEARTBEAT }
    }
}

/// Marks while somebody needs something.
pub(super) const HEARTBEAT: Duration = Duration::from_millis(100);
/// Between marks that say what was heard.
const GAP: Duration = Duration::from_micros(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_that_nothing_follows_come_fast_at_first() {
        let (now, grtt) = (Instant::now(), Duration::from_millis(2));
        let mut marks = Marks::new(now);
        let pauses: Vec<_> = (0..7)
            .map(|_| {
                let pause = marks.pause(true, grtt);
                marks.went_out(now, pause);
                pause.as_millis()
            })
            .collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 100]);
        marks.symbol_went_out();
        assert_eq!((marks.pause(true, grtt), marks.pause(false, grtt)), (grtt, HEARTBEAT));
    }

    #[test]
    fn what_is_heard_is_told_soon_and_not_each_time() {
        let now = Instant::now();
        let mut marks = Marks::new(now);
        marks.went_out(now, HEARTBEAT);
        marks.answer(now);
        assert_eq!(marks.due(), now + GAP);
        marks.answer(now + 2 * GAP);
        assert_eq!(marks.due(), now + GAP, "it is late already");
    }
}
