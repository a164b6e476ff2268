//! One relay's driver gives its live pairs to another's, in another process.
//!
//! ```text
//! old   retire ─▶ live pairs told ─▶ part (lift) ─▶ lifted, or ended ─▶ ...        recover: goes on, as if nothing had been
//! new             adopt: awaited ──────────────────▶ carry, or departed ─▶ settle   what is awaited then, is lost
//! ```
//! Once the old driver has told its live pairs, their ends are for whoever parts with them, not for its own core: the
//! new relay has their records. When it recovers its core hears of every end it has missed.

use std::collections::HashMap;

use klnet_wire::id::TenantId;
use tokio::sync::oneshot;

use super::driver::{Command, Driver};
use super::{Moved, RelayHandle, Stopped};
use crate::net::clock::now;
use crate::net::mover::{Lifted, Stop};
use crate::pair::{EndReason, PairEnd, PairId, PairLimits};
use crate::relay::{Input, LivePair};

/// What became of a pair that was parted with.
#[derive(Debug)]
pub enum Departure {
    /// Its sockets, what lies between them, and what it has moved.
    Lifted(Box<Lifted>, Moved),
    /// It ended here.
    Ended(PairEnd),
}

/// How to part with a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Take it out of its mover.
    Lift,
    /// Wait for its end.
    Wait,
    /// End it now.
    Cut,
}

/// What a handover asks of a driver.
#[derive(Debug)]
pub(super) enum Handover {
    Retire { reply: oneshot::Sender<Vec<(LivePair, Moved)>> },
    Part { pair: PairId, part: Part, reply: oneshot::Sender<Departure> },
    PutBack { pair: PairId, lifted: Box<Lifted> },
    Recover { lost: Vec<(PairId, PairEnd)> },
    Adopt { pairs: Vec<(LivePair, Moved)>, reply: oneshot::Sender<()> },
    Carry { pair: PairId, lifted: Box<Lifted>, moved: Moved, reply: oneshot::Sender<()> },
    Departed { pair: PairId, end: PairEnd },
    Settle,
}

/// What a driver keeps while it gives its pairs away.
#[derive(Debug)]
pub(super) struct Leaving {
    /// Who is told of the live pairs, once none but these is left.
    told: Option<oneshot::Sender<Vec<(LivePair, Moved)>>>,
    /// Ends that nobody has asked for yet.
    ended: HashMap<PairId, PairEnd>,
    /// Who waits for which pair.
    parting: HashMap<PairId, oneshot::Sender<Departure>>,
}

/// A pair that was adopted and whose sockets have not come yet.
#[derive(Debug)]
pub(super) struct Awaited {
    tenant: TenantId,
    limits: PairLimits,
    /// As far as it is known.
    pub(super) moved: Moved,
    cut: Option<EndReason>,
}

/// The old relay's part, and the new one's.
impl RelayHandle {
    /// Voids every grant and closes whatever is not a live pair; gives the live ones, once no other is left. No pair
    /// begins any more, unless the relay recovers and new grants are admitted.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn retire(&self) -> Result<Vec<(LivePair, Moved)>, Stopped> {
        self.ask(|reply| Handover::Retire { reply }).await
    }

    /// Parts with a pair of a relay that has retired.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn part(&self, pair: PairId, part: Part) -> Result<Departure, Stopped> {
        self.ask(|reply| Handover::Part { pair, part, reply }).await
    }

    /// Goes on with a pair that was lifted and that nobody has taken.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn put_back(&self, pair: PairId, lifted: Box<Lifted>) -> Result<(), Stopped> {
        self.hand(Handover::PutBack { pair, lifted }).await
    }

    /// Goes on as a relay that has not retired, without the pairs that are lost.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn recover(&self, lost: Vec<(PairId, PairEnd)>) -> Result<(), Stopped> {
        self.hand(Handover::Recover { lost }).await
    }

    /// Takes the live pairs of a relay that has retired; their sockets follow.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn adopt(&self, pairs: Vec<(LivePair, Moved)>) -> Result<(), Stopped> {
        self.ask(|reply| Handover::Adopt { pairs, reply }).await
    }

    /// Carries an adopted pair from now on; one that was cut meanwhile is closed.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn carry(&self, pair: PairId, lifted: Box<Lifted>, moved: Moved) -> Result<(), Stopped> {
        self.ask(|reply| Handover::Carry { pair, lifted, moved, reply }).await
    }

    /// An adopted pair has ended before its sockets came.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn departed(&self, pair: PairId, end: PairEnd) -> Result<(), Stopped> {
        self.hand(Handover::Departed { pair, end }).await
    }

    /// No more sockets come: what is still awaited is lost.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn settle(&self) -> Result<(), Stopped> {
        self.hand(Handover::Settle).await
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Handover) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.hand(question(reply)).await?;
        answer.await.map_err(|_| Stopped)
    }

    async fn hand(&self, handover: Handover) -> Result<(), Stopped> {
        self.send(Command::HandOver(handover)).await
    }
}

impl Driver {
    pub(super) fn hand_over(&mut self, handover: Handover) {
        match handover {
            Handover::Retire { reply } => {
                self.core.handle_input(now(), Input::Retire);
                self.leaving = Some(Leaving::new(reply));
            }
            Handover::Part { pair, part, reply } => self.part(pair, part, reply),
            Handover::PutBack { pair, lifted } => self.put_back(pair, lifted),
            Handover::Recover { lost } => {
                let missed = self.leaving.take().map(|leaving| leaving.ended).unwrap_or_default();
                missed.into_iter().chain(lost).for_each(|(pair, end)| self.ended(pair, end));
            }
            Handover::Adopt { pairs, reply } => {
                pairs.into_iter().for_each(|(live, moved)| self.adopt(live, moved));
                let _ = reply.send(());
            }
            Handover::Carry { pair, lifted, moved, reply } => {
                self.carry(pair, lifted, moved);
                let _ = reply.send(());
            }
            Handover::Departed { pair, end } => {
                if self.awaited.remove(&pair).is_some() {
                    self.ended(pair, end);
                }
            }
            Handover::Settle => {
                for (pair, awaited) in std::mem::take(&mut self.awaited) {
                    self.ended(pair, awaited.ended(EndReason::Reset));
                }
            }
        }
    }

    /// Tells of the live pairs once every other has ended. A pair that was cut has no mover to be stopped any more.
    pub(super) fn tell_live_pairs(&mut self) {
        let others_left = self.pairs.values().any(|pair| pair.stop.is_none()) || !self.core.is_decided();
        let Some(told) = self.leaving.as_mut().filter(|_| !others_left).and_then(|it| it.told.take()) else {
            return;
        };
        let live = self.core.live_pairs(now());
        // Who asked may have given up; then the relay stays as it is until it recovers.
        let _ = told.send(live.into_iter().map(|live| self.with_moved(live)).collect());
    }

    fn with_moved(&self, live: LivePair) -> (LivePair, Moved) {
        let moved = self.moved(live.pair);
        (live, moved)
    }

    fn part(&mut self, pair: PairId, part: Part, reply: oneshot::Sender<Departure>) {
        let Some(leaving) = &mut self.leaving else { return };
        if let Some(end) = leaving.ended.remove(&pair) {
            let _ = reply.send(Departure::Ended(end));
            return;
        }
        // One that is not there has no reply.
        let Some(carried) = self.pairs.get_mut(&pair) else { return };
        leaving.parting.insert(pair, reply);
        let stop = match part {
            Part::Lift => Stop::Lift,
            Part::Cut => Stop::Cut(EndReason::Shutdown),
            Part::Wait => return,
        };
        if let Some(sender) = carried.stop.take() {
            // An error means that the mover has just ended by itself, which it tells.
            let _ = sender.send(stop);
        }
    }

    /// A mover has let go of a pair. Without anyone to take it, it is closed.
    pub(super) fn lifted(&mut self, pair: PairId, lifted: Box<Lifted>) {
        let moved = self.moved(pair);
        let parting = self.leaving.as_mut().and_then(|leaving| leaving.parting.remove(&pair));
        let departure = Departure::Lifted(lifted, moved);
        let refused = match parting {
            Some(parting) => parting.send(departure).err(),
            None => Some(departure),
        };
        if let Some(Departure::Lifted(lifted, moved)) = refused {
            lifted.reset();
            self.ended(pair, moved.ended(EndReason::Shutdown));
        }
    }

    fn put_back(&mut self, pair: PairId, lifted: Box<Lifted>) {
        let moved = self.moved(pair);
        match self.pairs.remove(&pair) {
            Some(super::yard::Pair { course, .. }) => {
                let (tenant, limits) = (course.tenant, course.limits);
                self.pairs.insert(pair, self.yard.resume(pair, tenant, lifted, moved, limits));
            }
            None => lifted.reset(),
        }
    }

    fn adopt(&mut self, live: LivePair, moved: Moved) {
        let (pair, tenant) = (live.pair, live.grant.tenant);
        match self.core.adopt(now(), live) {
            Some(limits) => drop(self.awaited.insert(pair, Awaited { tenant, limits, moved, cut: None })),
            None => tracing::warn!(?pair, "a tunnel connection was handed over twice"),
        }
    }

    fn carry(&mut self, pair: PairId, lifted: Box<Lifted>, moved: Moved) {
        match self.awaited.remove(&pair) {
            Some(Awaited { tenant, limits, cut: None, .. }) => {
                self.pairs.insert(pair, self.yard.resume(pair, tenant, lifted, moved, limits));
            }
            Some(Awaited { cut: Some(reason), .. }) => {
                lifted.reset();
                self.ended(pair, moved.ended(reason));
            }
            None => lifted.reset(),
        }
    }

    /// Notes that a pair is to be closed when its sockets come; a relay that stops does not wait for them.
    pub(super) fn cut_awaited(&mut self, pair: PairId, reason: EndReason) {
        if self.stopping
            && let Some(awaited) = self.awaited.remove(&pair)
        {
            return self.ended(pair, awaited.ended(reason));
        }
        if let Some(awaited) = self.awaited.get_mut(&pair) {
            awaited.cut = Some(reason);
        }
    }
}

impl Leaving {
    fn new(reply: oneshot::Sender<Vec<(LivePair, Moved)>>) -> Self {
        Self { told: Some(reply), ended: HashMap::new(), parting: HashMap::new() }
    }

    /// Whether the live pairs are known elsewhere.
    pub(super) fn has_told(&self) -> bool {
        self.told.is_none()
    }

    /// A pair has ended: that is for whoever parts with it, now or later.
    pub(super) fn departed(&mut self, pair: PairId, end: PairEnd) {
        let waiting = self.parting.remove(&pair);
        if waiting.is_none_or(|waiting| waiting.send(Departure::Ended(end)).is_err()) {
            self.ended.insert(pair, end);
        }
    }
}

impl Awaited {
    fn ended(&self, reason: EndReason) -> PairEnd {
        self.moved.ended(self.cut.unwrap_or(reason))
    }
}

impl Moved {
    /// What was moved by a pair that ended so.
    pub const fn ended(self, reason: EndReason) -> PairEnd {
        PairEnd { to_target: self.to_target, to_initiator: self.to_initiator, reason }
    }
}
