//! The proxy core: keys nobody here knows in, requests upstream and verdicts out.
//!
//! ```text
//! Ask ─▶ flight (all who wait for one key) ─▶ pending ─▶ batch ─Send─▶ upstream
//!                                                          │ not answered in time: Send to the next one
//! Done ◀── verdict, or nobody could be asked ◀── Answered, Failed, timeout, patience
//! ```
//! A key is under way once, however many ask for it. Every table has its limit in [`Config`]; at it the one who asked is
//! told to ask later.

mod batch;
mod config;
mod upstream;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::subject::Key;
use crate::verdict::Verdict;
use batch::Batch;
pub use config::Config;
use upstream::Upstream;

/// The core of a proxy; `Waiter` is whatever finds again who asked.
#[derive(Debug)]
pub struct Proxy<Waiter> {
    config: Config,
    flights: HashMap<Key, Flight<Waiter>>,
    waiters: usize,
    /// When the patience for each flight is over, the soonest first.
    patience: VecDeque<(Instant, Key)>,
    /// Flights that are in no batch yet, with the time of the oldest.
    pending: Vec<Key>,
    pending_since: Option<Instant>,
    batches: BTreeMap<u64, Batch>,
    next_batch: u64,
    upstreams: Vec<Upstream>,
    /// Tenths of a second request that may be sent because the first is slow.
    hedges: u32,
    outputs: VecDeque<Output<Waiter>>,
}

/// Everyone who waits for one key.
#[derive(Debug)]
struct Flight<Waiter> {
    waiters: Vec<Waiter>,
    /// When their patience is over.
    until: Instant,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<Waiter> {
    /// Somebody asks for a key; without a waiter, only so that it is newer when somebody does.
    Ask(Key, Option<Waiter>),
    /// An upstream answered a request: verdicts in the order of its keys.
    Answered {
        /// Which request.
        batch: u64,
        /// Which upstream.
        upstream: usize,
        /// As many as there were keys.
        verdicts: Vec<Verdict>,
    },
    /// An upstream did not take a request, or did not answer as it should.
    Failed {
        /// Which request.
        batch: u64,
        /// Which upstream.
        upstream: usize,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<Waiter> {
    /// A request is to be sent.
    Send {
        /// What its answer is told by.
        batch: u64,
        /// Where to.
        upstream: usize,
        /// What is asked for.
        keys: Arc<[Key]>,
    },
    /// A key is not under way any more.
    Done {
        /// Which.
        key: Key,
        /// What became of it.
        outcome: Outcome,
        /// Who waited for it.
        waiters: Vec<Waiter>,
    },
}

/// What became of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An upstream said this.
    Said(Verdict),
    /// No upstream could be asked, or none answered.
    Failed(Verdict),
    /// Whoever asked does not wait any longer.
    Late(Verdict),
    /// Too much is asked for already.
    Full(Verdict),
}

impl<Waiter> Proxy<Waiter> {
    /// A core that knows nothing yet.
    pub fn new(config: Config) -> Self {
        Self {
            flights: HashMap::new(),
            waiters: 0,
            patience: VecDeque::new(),
            pending: Vec::new(),
            pending_since: None,
            batches: BTreeMap::new(),
            next_batch: 1,
            upstreams: (0..config.upstreams).map(|_| Upstream::new()).collect(),
            hedges: 0,
            outputs: VecDeque::new(),
            config,
        }
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, now: Instant, input: Input<Waiter>) {
        match input {
            Input::Ask(key, waiter) => self.ask(now, key, waiter),
            Input::Answered { batch, upstream, verdicts } => self.answered(now, batch, upstream, verdicts),
            Input::Failed { batch, upstream } => self.failed(now, batch, upstream),
        }
        self.flush(now);
    }

    /// Fails, hedges and gives up what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<_> = self.batches.iter().flat_map(|(id, batch)| batch.failed_at(*id, now)).collect();
        for (batch, upstream) in due {
            self.failed(now, batch, upstream);
        }
        self.hedge(now);
        self.lose_patience(now);
        self.flush(now);
    }

    /// Takes the next thing to do; `None` once there is nothing more to do now.
    pub fn poll_output(&mut self) -> Option<Output<Waiter>> {
        self.outputs.pop_front()
    }

    /// When to call `handle_timeout` at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let patience = self.patience.front().map(|(until, _)| *until);
        // With nobody to send it to, a pending key waits for a request to end, or for its patience.
        let flush = self.pending_since.and_then(|since| {
            let since = since + self.config.delay;
            self.upstreams.iter().filter_map(|upstream| upstream.may_be_asked_from(&self.config, since)).min()
        });
        let batches = self.batches.values().filter_map(|batch| batch.deadline(self.may_hedge()));
        batches.chain(patience).chain(flush).min()
    }

    /// How long nobody is asked; nothing while somebody may be.
    pub fn rest(&self, now: Instant) -> Duration {
        let pauses = self.upstreams.iter().map(|upstream| upstream.pause(now));
        pauses.min().unwrap_or(self.config.pause_limit)
    }

    /// How many keys are under way.
    pub fn under_way(&self) -> usize {
        self.flights.len()
    }

    fn ask(&mut self, now: Instant, key: Key, waiter: Option<Waiter>) {
        if waiter.is_some() && self.waiters >= self.config.waiters {
            return self.turn_away(now, key, waiter, Outcome::Full);
        }
        if let Some(flight) = self.flights.get_mut(&key) {
            self.waiters += usize::from(waiter.is_some());
            flight.waiters.extend(waiter);
            return;
        }
        if self.flights.len() >= self.config.keys {
            return self.turn_away(now, key, waiter, Outcome::Full);
        }
        if !self.upstreams.iter().any(|upstream| upstream.is_worth_waiting_for(now)) {
            return self.turn_away(now, key, waiter, Outcome::Failed);
        }
        self.waiters += usize::from(waiter.is_some());
        let until = now + self.config.patience;
        self.flights.insert(key, Flight { waiters: Vec::from_iter(waiter), until });
        self.patience.push_back((until, key));
        self.pending.push(key);
        self.pending_since.get_or_insert(now);
    }

    fn turn_away(&mut self, now: Instant, key: Key, waiter: Option<Waiter>, outcome: fn(Verdict) -> Outcome) {
        if let Some(waiter) = waiter {
            let outcome = outcome(self.unavailable(now));
            self.outputs.push_back(Output::Done { key, outcome, waiters: vec![waiter] });
        }
    }

    fn answered(&mut self, now: Instant, id: u64, from: usize, verdicts: Vec<Verdict>) {
        let Some(batch) = self.batches.get(&id) else { return };
        let (Some(sent), true) = (batch.sent_to(from), batch.keys().len() == verdicts.len()) else {
            return self.failed(now, id, from);
        };
        let Some(batch) = self.batches.remove(&id) else { return };
        self.upstreams[from].answered(now.saturating_duration_since(sent), &self.config);
        for other in batch.upstreams().filter(|other| *other != from) {
            // Slower, which is no failure; its answer is not waited for.
            self.upstreams[other].under_way -= 1;
        }
        self.hedges = (self.hedges + 1).min(HEDGES_LIMIT);
        for (key, verdict) in batch.keys().iter().zip(verdicts) {
            self.done(*key, Outcome::Said(verdict));
        }
    }

    /// One request failed: the next upstream is asked, unless another is being asked already or there is none.
    fn failed(&mut self, now: Instant, id: u64, from: usize) {
        let Some(batch) = self.batches.get_mut(&id) else { return };
        if !batch.failed(from) {
            return;
        }
        self.upstreams[from].failed(&self.config, now);
        if batch.upstreams().next().is_some() {
            return;
        }
        let next = (0..self.upstreams.len())
            .find(|next| !batch.tried(*next) && self.upstreams[*next].may_ask(&self.config, now));
        if let Some(next) = next {
            return self.send(now, id, next);
        }
        let Some(batch) = self.batches.remove(&id) else { return };
        let verdict = self.unavailable(now);
        for key in batch.keys().iter() {
            self.done(*key, Outcome::Failed(verdict));
        }
    }

    /// Asks another upstream for what the first is slow to answer, for a tenth of all requests at most.
    fn hedge(&mut self, now: Instant) {
        if !self.may_hedge() {
            return;
        }
        let slow: Vec<_> =
            self.batches.iter().filter(|(_, batch)| batch.is_slow(now)).map(|(id, _)| *id).collect();
        for id in slow {
            let batch = &self.batches[&id];
            let next = (0..self.upstreams.len())
                .find(|next| !batch.tried(*next) && self.upstreams[*next].may_ask(&self.config, now));
            match next.filter(|_| self.may_hedge()) {
                Some(next) => {
                    self.hedges -= HEDGE;
                    self.send(now, id, next);
                }
                None => self.batches.get_mut(&id).into_iter().for_each(Batch::wait),
            }
        }
    }

    const fn may_hedge(&self) -> bool {
        self.hedges >= HEDGE && self.upstreams.len() > 1
    }

    /// Sends pending keys: at once when nothing is under way, else when there are enough or they waited long enough.
    fn flush(&mut self, now: Instant) {
        while !self.pending.is_empty() {
            let waited = self.pending_since.is_some_and(|since| now >= since + self.config.delay);
            if !(self.batches.is_empty() || waited || self.pending.len() >= self.config.batch) {
                return;
            }
            let chosen = self.upstreams.iter().position(|upstream| upstream.may_ask(&self.config, now));
            let Some(upstream) = chosen else { return self.give_up(now) };
            let count = self.pending.len().min(self.config.batch);
            let keys: Arc<[Key]> = self.pending.drain(..count).collect();
            self.pending_since = if self.pending.is_empty() { None } else { Some(now) };
            let id = self.next_batch;
            self.next_batch += 1;
            self.batches.insert(id, Batch::new(keys));
            self.send(now, id, upstream);
        }
    }

    /// Nobody can be sent the pending keys now; when that is not because of requests under way, nobody will.
    fn give_up(&mut self, now: Instant) {
        if self.upstreams.iter().any(|upstream| upstream.is_worth_waiting_for(now)) {
            return;
        }
        self.pending_since = None;
        let verdict = self.unavailable(now);
        for key in std::mem::take(&mut self.pending) {
            self.done(key, Outcome::Failed(verdict));
        }
    }

    fn send(&mut self, now: Instant, id: u64, upstream: usize) {
        let Some(batch) = self.batches.get_mut(&id) else { return };
        self.upstreams[upstream].sent();
        let slow = now + self.upstreams[upstream].slow;
        batch.sent(upstream, now, slow, now + self.config.timeout);
        self.outputs.push_back(Output::Send { batch: id, upstream, keys: Arc::clone(batch.keys()) });
    }

    /// Ends the flight of a key. A verdict that comes when nobody waits any longer is still one.
    fn done(&mut self, key: Key, outcome: Outcome) {
        let Some(flight) = self.flights.remove(&key) else {
            if matches!(outcome, Outcome::Said(_)) {
                self.outputs.push_back(Output::Done { key, outcome, waiters: Vec::new() });
            }
            return;
        };
        self.waiters -= flight.waiters.len();
        self.outputs.push_back(Output::Done { key, outcome, waiters: flight.waiters });
        // Its place in the queue of patience is taken out once it is the first, or once most places are such.
        while self.patience.front().is_some_and(|entry| !self.waits(entry)) {
            self.patience.pop_front();
        }
        if self.patience.len() > 2 * self.flights.len() + PLACES {
            let Self { patience, flights, .. } = self;
            patience.retain(|(until, key)| flights.get(key).is_some_and(|flight| flight.until == *until));
        }
    }

    fn lose_patience(&mut self, now: Instant) {
        let verdict = self.unavailable(now);
        let mut any = false;
        while let Some(entry) = self.patience.front().copied().filter(|(until, _)| *until <= now) {
            self.patience.pop_front();
            if self.waits(&entry) {
                any = true;
                self.done(entry.1, Outcome::Late(verdict));
            }
        }
        if any {
            self.pending.retain(|key| self.flights.contains_key(key));
            self.pending_since = self.pending_since.filter(|_| !self.pending.is_empty());
        }
    }

    fn waits(&self, (until, key): &(Instant, Key)) -> bool {
        self.flights.get(key).is_some_and(|flight| flight.until == *until)
    }

    /// What is said when nobody can be asked: come back when the first upstream may be asked again.
    fn unavailable(&self, now: Instant) -> Verdict {
        Verdict::unavailable(self.rest(now).max(Duration::from_secs(1)))
    }
}

/// What a second request costs of [`Proxy::hedges`]; each answer gives one.
const HEDGE: u32 = 10;

/// Places of flights that ended are taken out of the queue of patience when there are so many.
const PLACES: usize = 1024;

/// Enough for five in a row.
const HEDGES_LIMIT: u32 = 50;

#[cfg(test)]
mod tests;
