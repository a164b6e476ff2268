//! What is kept ready, who waits, and how many handshakes are to be begun: decisions only, time comes in.
//!
//! ```text
//!            opened                    taken                answered, returned
//! opening ───────────▶ on the shelf ───────────▶ in use ─────────────────────▶ room for another
//!    └── a waiter takes it at once ─────────────▶─┘
//!                          └── too old, ended ──▶ closed, and replaced while warm
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Config;

/// The stock of one session: `S` is a connection that is ready, `W` somebody who waits for one.
#[derive(Debug)]
pub(super) struct Stock<S, W> {
    config: Config,
    /// How old a connection may get on the shelf.
    life: Duration,
    /// How many connections the grant allows.
    limit: usize,
    /// The oldest first.
    shelf: VecDeque<Kept<S>>,
    waiters: VecDeque<W>,
    opening: usize,
    in_use: usize,
    /// When a connection was last used; nothing is kept before the first.
    used: Option<Instant>,
    /// Nothing is opened ahead of need before this.
    rest: Option<Instant>,
    /// Since a connection was last good.
    failures: u32,
    ended: bool,
    outputs: VecDeque<Output<S, W>>,
}

#[derive(Debug)]
struct Kept<S> {
    since: Instant,
    stream: S,
    /// Its replacement is due: it still serves, and counts no more.
    aging: bool,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Output<S, W> {
    /// Shake hands, and tell `opened` or `failed`.
    Open,
    /// Hand a connection to who waits; it is in use from now on.
    Hand(W, S),
    /// End a connection in order.
    Close(S),
}

/// What is there to be watched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watched {
    kept: usize,
    due: Option<Instant>,
    ended: bool,
}

impl Watched {
    /// Whether who watches `before` would miss something.
    pub(super) fn wants_more_than(self, before: Self) -> bool {
        let earlier = self.due.is_some_and(|due| before.due.is_none_or(|before| due < before));
        self.kept > before.kept || earlier || self.ended
    }
}

impl<S, W> Stock<S, W> {
    /// An empty stock of a grant that allows `limit` connections, each ready for at most `life`.
    pub(super) fn new(config: Config, limit: usize, life: Duration) -> Self {
        Self {
            config,
            life,
            limit,
            shelf: VecDeque::new(),
            waiters: VecDeque::new(),
            opening: 0,
            in_use: 0,
            used: None,
            rest: None,
            failures: 0,
            ended: false,
            outputs: VecDeque::new(),
        }
    }

    /// Takes the oldest that is ready.
    pub(super) fn take(&mut self, now: Instant) -> Option<S> {
        self.close_old(now);
        let kept = self.shelf.pop_front()?;
        self.in_use += 1;
        Some(kept.stream)
    }

    /// Somebody waits for a connection: the next that is opened is theirs.
    pub(super) fn wait(&mut self, now: Instant, waiter: W) {
        self.waiters.push_back(waiter);
        self.plan(now);
    }

    /// A handshake is done.
    pub(super) fn opened(&mut self, now: Instant, stream: S) {
        self.opening -= 1;
        self.give(now, stream);
        self.plan(now);
    }

    /// A handshake failed; gives who waited for it.
    pub(super) fn failed(&mut self, now: Instant) -> Option<W> {
        self.opening -= 1;
        let waiter = self.waiters.pop_front();
        if waiter.is_none() {
            self.pause(now);
        }
        self.plan(now);
        waiter
    }

    /// Who waited has gone, and gave back the place: the connection is the next one's.
    pub(super) fn unclaimed(&mut self, now: Instant, stream: S) {
        self.give(now, stream);
        self.plan(now);
    }

    /// A connection that was in use is none any more.
    pub(super) fn returned(&mut self, now: Instant) {
        self.in_use -= 1;
        self.plan(now);
    }

    /// The target answered a connection's GO: there is use for more, once its first bytes have been exchanged.
    pub(super) fn answered(&mut self, now: Instant) {
        self.used = Some(now);
        self.failures = 0;
        let settled = now + SETTLE;
        self.rest = Some(self.rest.map_or(settled, |rest| rest.min(settled)));
        self.plan(now);
    }

    /// Removes those on the shelf that have ended by themselves. They are replaced, after a pause that grows when it
    /// goes on.
    pub(super) fn remove_ended(&mut self, now: Instant, mut ended: impl FnMut(&mut S) -> bool) -> usize {
        let before = self.shelf.len();
        self.shelf.retain_mut(|kept| !ended(&mut kept.stream));
        let removed = before - self.shelf.len();
        if removed > 0 {
            self.pause(now);
        }
        removed
    }

    /// Gives up everything on the shelf, for whoever needs the room.
    pub(super) fn give_up(&mut self, now: Instant) -> Vec<S> {
        self.pause(now);
        self.shelf.drain(..).map(|kept| kept.stream).collect()
    }

    /// Gives up everything for good.
    pub(super) fn end(&mut self, now: Instant) -> Vec<S> {
        self.ended = true;
        self.give_up(now)
    }

    /// Replaces what grows old, and closes what is.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for kept in &mut self.shelf {
            kept.aging |= now >= kept.since + self.life * 5 / 6;
        }
        self.close_old(now);
        self.plan(now);
    }

    /// Takes the next thing to do; `None` once there is nothing more to do now.
    pub(super) fn poll_output(&mut self) -> Option<Output<S, W>> {
        self.outputs.pop_front()
    }

    /// When to call [`Stock::handle_timeout`] at the latest.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let due = |kept: &Kept<S>| kept.since + if kept.aging { self.life } else { self.life * 5 / 6 };
        let rest = self.rest.filter(|rest| self.is_warm(*rest));
        self.shelf.iter().map(due).chain(rest).min()
    }

    /// Whether everything was given up for good.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// What its keeper has to watch.
    pub(super) fn watched(&self) -> Watched {
        Watched { kept: self.shelf.len(), due: self.poll_timeout(), ended: self.ended }
    }

    /// Gives a connection to the first who waits, or keeps it.
    fn give(&mut self, now: Instant, stream: S) {
        match self.waiters.pop_front() {
            Some(waiter) => {
                self.in_use += 1;
                self.outputs.push_back(Output::Hand(waiter, stream));
            }
            None => self.keep(now, stream),
        }
    }

    fn keep(&mut self, now: Instant, stream: S) {
        if self.ended {
            return self.outputs.push_back(Output::Close(stream));
        }
        self.shelf.push_back(Kept { since: now, stream, aging: false });
        while self.shelf.len() > self.config.streams {
            self.outputs.extend(self.shelf.pop_front().map(|kept| Output::Close(kept.stream)));
        }
    }

    fn close_old(&mut self, now: Instant) {
        while let Some(kept) = self.shelf.pop_front_if(|kept| now >= kept.since + self.life) {
            // It held all its life: what went wrong before is over.
            self.failures = 0;
            self.outputs.push_back(Output::Close(kept.stream));
        }
    }

    /// Begins as many handshakes as are missing: one for each who waits, whatever the grant allows, since the target
    /// knows better; and those ahead of need within what the grant leaves.
    fn plan(&mut self, now: Instant) {
        if self.rest.is_some_and(|rest| now >= rest) {
            self.rest = None;
        }
        let aging = self.shelf.iter().filter(|kept| kept.aging).count();
        let (fresh, waiting) = (self.shelf.len() - aging, self.waiters.len());
        let room = self.limit.saturating_sub(self.in_use + aging + waiting);
        let ahead = match self.rest.is_none() && self.is_warm(now) {
            true => self.config.streams.min(room),
            false => 0,
        };
        while fresh + self.opening < waiting + ahead {
            self.opening += 1;
            self.outputs.push_back(Output::Open);
        }
    }

    fn is_warm(&self, now: Instant) -> bool {
        !self.ended && self.used.is_some_and(|used| now < used + self.config.warm)
    }

    fn pause(&mut self, now: Instant) {
        let doubled = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        self.rest = Some(now + FIRST_PAUSE.saturating_mul(doubled).min(LAST_PAUSE));
    }
}

/// How long nothing is opened ahead of need after GO was answered: handshakes in the same moment would take from the
/// first exchange what GO alone has saved it, where both ends share a machine.
const SETTLE: Duration = Duration::from_millis(5);
/// How long nothing is opened ahead of need after one failure.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The same after many.
const LAST_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
