//! What is asked and kept while pairs go from one driver to another.

use std::collections::HashMap;

use klnet_wire::id::TenantId;
use tokio::sync::oneshot;

use super::Moved;
use crate::net::mover::Lifted;
use crate::pair::{EndReason, PairEnd, PairId, PairLimits};
use crate::relay::LivePair;

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
    pub(super) told: Option<oneshot::Sender<Vec<(LivePair, Moved)>>>,
    /// Ends that nobody has asked for yet.
    pub(super) ended: HashMap<PairId, PairEnd>,
    /// Who waits for which pair.
    pub(super) parting: HashMap<PairId, oneshot::Sender<Departure>>,
}

/// A pair that was adopted and whose sockets have not come yet.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) tenant: TenantId,
    pub(super) limits: PairLimits,
    /// As far as it is known.
    pub(super) moved: Moved,
    pub(super) cut: Option<EndReason>,
}

impl Leaving {
    pub(super) fn new(reply: oneshot::Sender<Vec<(LivePair, Moved)>>) -> Self {
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
    pub(super) fn ended(&self, reason: EndReason) -> PairEnd {
        self.moved.ended(self.cut.unwrap_or(reason))
    }
}
