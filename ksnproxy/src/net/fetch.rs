//! The task that owns the proxy core: it stores what comes from upstream, and wakes who waits for it.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::clock::moment;
use super::inbox::{Letter, Slot, Waiter};
use super::upstream::{Answered, Request};
use crate::cache::Cached;
use crate::counters::{Counter, Counters};
use crate::proxy::{Input, Outcome, Output, Proxy};
use crate::responder::Shared;
use crate::subject::Key;
use crate::verdict::{Reputation, Verdict};

/// A key that is asked for.
#[derive(Debug)]
pub(super) struct Ask {
    /// Which.
    pub(super) key: Key,
    /// Who waits for it; nobody, when it is only to be newer.
    pub(super) waiter: Option<Waiter>,
}

/// Where keys are asked for.
pub(super) type Asks = mpsc::Sender<Ask>;

/// What the task is made of.
pub(super) struct Fetch {
    pub(super) proxy: Proxy<Waiter>,
    pub(super) shared: Arc<Shared>,
    pub(super) counters: Arc<Counters>,
    pub(super) workers: Vec<Slot>,
    pub(super) upstreams: Vec<mpsc::Sender<Request>>,
}

impl Fetch {
    /// Runs until shutdown.
    pub(super) async fn run(
        mut self,
        mut asks: mpsc::Receiver<Ask>,
        mut answers: mpsc::Receiver<Answered>,
        shutdown: CancellationToken,
    ) {
        let (mut asked, mut answered) = (Vec::with_capacity(TURN), Vec::with_capacity(TURN));
        loop {
            self.drain();
            let due = self.proxy.poll_timeout().map(tokio::time::Instant::from_std);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                count = answers.recv_many(&mut answered, TURN) => if count == 0 { return },
                count = asks.recv_many(&mut asked, TURN) => if count == 0 { return },
                () = sleep_until(due.unwrap_or_else(tokio::time::Instant::now)), if due.is_some() => {}
            }
            let now = Instant::now();
            for answer in answered.drain(..) {
                self.proxy.handle_input(now, answer.into());
            }
            for ask in asked.drain(..) {
                self.proxy.handle_input(now, Input::Ask(ask.key, ask.waiter));
            }
            self.proxy.handle_timeout(now);
            self.shared.rest(self.proxy.rest(now), moment().unix);
        }
    }

    fn drain(&mut self) {
        let mut rung = vec![false; self.workers.len()];
        while let Some(output) = self.proxy.poll_output() {
            match output {
                Output::Send { batch, upstream, keys } => self.send(upstream, Request { batch, keys }),
                Output::Done { key, outcome, waiters } => self.done(&key, outcome, waiters, &mut rung),
            }
        }
        self.workers.iter().zip(rung).filter(|(_, rung)| *rung).for_each(|(slot, _)| slot.ring());
    }

    /// The window of the core is smaller than the channel, so it is never full; a task that has ended fails in time.
    fn send(&self, upstream: usize, request: Request) {
        self.counters.add(Counter::Forwarded, request.keys.len() as u64);
        let _ = self.upstreams[upstream].try_send(request);
    }

    fn done(&self, key: &Key, outcome: Outcome, waiters: Vec<Waiter>, rung: &mut [bool]) {
        let now = moment().unix;
        let (counter, verdict) = match outcome {
            Outcome::Said(verdict) => (Counter::Succeeded, self.store(key, &verdict, now)),
            Outcome::Failed(verdict) => (Counter::Failed, verdict),
            Outcome::Late(verdict) => (Counter::RejectedLate, verdict),
            Outcome::Full(verdict) => (Counter::RejectedFull, verdict),
        };
        self.counters.count(counter);
        for waiter in waiters {
            match waiter {
                Waiter::Worker { worker, entry, place } => {
                    self.workers[worker].put(Letter { entry, place, verdict });
                    rung[worker] = true;
                }
                // Whoever asked may have gone.
                Waiter::Task(sender) => drop(sender.send(verdict)),
            }
        }
    }

    /// Puts a verdict into the cache, and says how it is told.
    fn store(&self, key: &Key, verdict: &Verdict, unix: u32) -> Verdict {
        if verdict.reputation == Reputation::Unavailable {
            return *verdict;
        }
        let ttl = self.shared.policy.ttl(verdict, key.bytes[15]);
        let seconds = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
        let age = u32::try_from(verdict.age.as_secs()).unwrap_or(u32::MAX);
        let cached = Cached {
            reputation: verdict.reputation,
            category: verdict.category,
            confidence: verdict.confidence,
            partial: verdict.partial,
            source: verdict.source,
            tenth: u16::try_from(seconds / 10).unwrap_or(u16::MAX),
            expires: unix.saturating_add(seconds),
            said: unix.saturating_sub(age),
            asked: 0,
        };
        self.shared.cache.insert(key, &cached);
        Verdict { ttl, ..*verdict }
    }
}

impl From<Answered> for Input<Waiter> {
    fn from(Answered { batch, upstream, verdicts }: Answered) -> Self {
        match verdicts {
            Some(verdicts) => Self::Answered { batch, upstream, verdicts },
            None => Self::Failed { batch, upstream },
        }
    }
}

/// Asks or answers taken in one turn.
const TURN: usize = 1024;
