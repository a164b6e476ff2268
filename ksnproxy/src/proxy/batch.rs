//! One request upstream, and to whom it was sent.

use std::sync::Arc;
use std::time::Instant;

use crate::subject::Key;

/// A request; each upstream gets it once.
#[derive(Debug)]
pub(super) struct Batch {
    keys: Arc<[Key]>,
    sent: Vec<Sent>,
}

#[derive(Debug)]
struct Sent {
    upstream: usize,
    at: Instant,
    /// When it takes longer than most.
    slow: Instant,
    fails: Instant,
    failed: bool,
}

impl Batch {
    pub(super) const fn new(keys: Arc<[Key]>) -> Self {
        Self { keys, sent: Vec::new() }
    }

    pub(super) fn sent(&mut self, upstream: usize, at: Instant, slow: Instant, fails: Instant) {
        self.sent.push(Sent { upstream, at, slow, fails, failed: false });
    }

    /// Notes that an upstream failed; `false` when it was not being asked.
    pub(super) fn failed(&mut self, upstream: usize) -> bool {
        let sent = self.sent.iter_mut().find(|sent| sent.upstream == upstream && !sent.failed);
        sent.map(|sent| sent.failed = true).is_some()
    }

    /// Nobody else can be asked: it is not slow before it has failed.
    pub(super) fn wait(&mut self) {
        self.sent.iter_mut().for_each(|sent| sent.slow = sent.fails);
    }

    pub(super) const fn keys(&self) -> &Arc<[Key]> {
        &self.keys
    }

    /// Who is being asked.
    pub(super) fn upstreams(&self) -> impl Iterator<Item = usize> {
        self.live().map(|sent| sent.upstream)
    }

    pub(super) fn tried(&self, upstream: usize) -> bool {
        self.sent.iter().any(|sent| sent.upstream == upstream)
    }

    /// When this upstream was asked, if it is being asked.
    pub(super) fn sent_to(&self, upstream: usize) -> Option<Instant> {
        self.live().find(|sent| sent.upstream == upstream).map(|sent| sent.at)
    }

    /// Those that did not answer in time.
    pub(super) fn failed_at(&self, id: u64, now: Instant) -> impl Iterator<Item = (u64, usize)> {
        self.live().filter(move |sent| sent.fails <= now).map(move |sent| (id, sent.upstream))
    }

    /// Whether the one upstream that is being asked takes longer than most.
    pub(super) fn is_slow(&self, now: Instant) -> bool {
        self.sent.len() == 1 && self.live().any(|sent| sent.slow <= now)
    }

    /// When something is to be done about it.
    pub(super) fn deadline(&self, may_hedge: bool) -> Option<Instant> {
        let hedge = may_hedge && self.sent.len() == 1;
        self.live().map(|sent| if hedge { sent.slow.min(sent.fails) } else { sent.fails }).min()
    }

    fn live(&self) -> impl Iterator<Item = &Sent> {
        self.sent.iter().filter(|sent| !sent.failed)
    }
}
