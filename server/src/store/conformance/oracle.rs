//! The oracle: what a store must answer, as a map and a list of commits.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::{
    Batch, CommitError, Entry, Event, FailedGuard, Guard, Key, LeaseId, Limits, Op, Prefix, ReadError, Rev,
    WatchEnd,
};

/// A store without files, threads or time.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    now: BTreeMap<Key, Entry>,
    history: Vec<Batch>,
    oldest: Rev,
    leases: BTreeSet<LeaseId>,
}

impl Oracle {
    pub(super) fn commit(&mut self, guards: &[Guard], ops: &[Op]) -> Result<Rev, CommitError> {
        let failed: Vec<_> =
            guards.iter().enumerate().filter_map(|(n, guard)| self.failed(n, guard)).collect();
        if !failed.is_empty() {
            return Err(CommitError::Conflict(failed));
        }
        let mut asked: Vec<_> = ops.iter().filter_map(Op::lease).collect();
        asked.sort_unstable();
        asked.dedup();
        asked.into_iter().try_for_each(|lease| self.attachable(lease, ops))?;
        Ok(self.apply_all(ops))
    }

    pub(super) fn head(&self) -> Rev {
        self.history.last().map_or(Rev::ZERO, |batch| batch.rev)
    }

    pub(super) fn get(&self, key: &Key) -> Option<Entry> {
        self.now.get(key).cloned()
    }

    /// All entries under `prefix` as they were at `at`, found by applying the history again.
    pub(super) fn scan(&self, prefix: &Prefix, at: Rev) -> Result<Vec<(Key, Entry)>, ReadError> {
        match at {
            asked if asked > self.head() => return Err(ReadError::Ahead { asked, head: self.head() }),
            asked if asked < self.oldest => return Err(ReadError::Compacted { asked, oldest: self.oldest }),
            _ => {}
        }
        let mut then = BTreeMap::new();
        for event in self.history.iter().take_while(|batch| batch.rev <= at).flat_map(|batch| &batch.events) {
            match &event.entry {
                Some(entry) => then.insert(event.key.clone(), entry.clone()),
                None => then.remove(&event.key),
            };
        }
        Ok(then.into_iter().filter(|(key, _)| prefix.contains(key)).collect())
    }

    /// Every batch that a watch after `after` must deliver.
    pub(super) fn watch(&self, prefix: &Prefix, after: Rev) -> Result<Vec<Batch>, WatchEnd> {
        if after < self.oldest {
            return Err(WatchEnd::Compacted { oldest: self.oldest });
        }
        let late = self.history.iter().filter(|batch| batch.rev > after);
        Ok(late.filter_map(|batch| within(batch, |event| prefix.contains(&event.key))).collect())
    }

    /// What commits after `after` left that is still there at `at`.
    pub(super) fn survivors(&self, after: Rev, at: Rev) -> Result<Vec<Batch>, ReadError> {
        let then: BTreeMap<_, _> = self.scan(&Prefix::all(), at)?.into_iter().collect();
        let survives = |batch: &Batch, event: &Event| {
            then.get(&event.key).is_some_and(|entry| entry.mod_rev == batch.rev)
        };
        let late = self.history.iter().filter(|batch| batch.rev > after && batch.rev <= at);
        Ok(late.filter_map(|batch| within(batch, |event| survives(batch, event))).collect())
    }

    pub(super) fn compact(&mut self, oldest: Rev) -> Result<(), ReadError> {
        if oldest > self.head() {
            return Err(ReadError::Ahead { asked: oldest, head: self.head() });
        }
        self.oldest = self.oldest.max(oldest);
        Ok(())
    }

    pub(super) fn grant(&mut self, lease: LeaseId) {
        self.leases.insert(lease);
    }

    pub(super) fn is_alive(&self, lease: LeaseId) -> bool {
        self.leases.contains(&lease)
    }

    /// Ends a lease; its keys go in one commit, in byte order.
    pub(super) fn end(&mut self, lease: LeaseId) {
        self.leases.remove(&lease);
        let under = self.now.iter().filter(|(_, entry)| entry.lease == Some(lease));
        let deletes: Vec<_> = under.map(|(key, _)| Op::delete(key.clone())).collect();
        if !deletes.is_empty() {
            self.apply_all(&deletes);
        }
    }

    fn attachable(&self, lease: LeaseId, ops: &[Op]) -> Result<(), CommitError> {
        if !self.is_alive(lease) {
            return Err(CommitError::NoLease(lease));
        }
        let others = self
            .now
            .iter()
            .filter(|(key, entry)| entry.lease == Some(lease) && ops.iter().all(|op| op.key() != *key));
        let limit = Limits::COMMON.ops;
        match others.count() + ops.iter().filter(|op| op.lease() == Some(lease)).count() {
            held if held > limit => Err(CommitError::LeaseFull { lease, limit }),
            _ => Ok(()),
        }
    }

    fn failed(&self, guard: usize, condition: &Guard) -> Option<FailedGuard> {
        let current = self.now.get(condition.key()).map(|entry| entry.mod_rev);
        let holds = match condition {
            Guard::Absent(_) => current.is_none(),
            Guard::Present(_) => current.is_some(),
            Guard::ModRev(_, rev) => current == Some(*rev),
        };
        (!holds).then_some(FailedGuard { guard, current })
    }

    fn apply_all(&mut self, ops: &[Op]) -> Rev {
        let rev = self.head().next();
        let events = ops.iter().filter_map(|op| self.apply(rev, op)).collect();
        self.history.push(Batch { rev, events });
        rev
    }

    fn apply(&mut self, rev: Rev, op: &Op) -> Option<Event> {
        let old = self.now.remove(op.key());
        let entry = op.value().map(|value| Entry {
            value: value.clone(),
            create_rev: old.as_ref().map_or(rev, |old| old.create_rev),
            mod_rev: rev,
            lease: op.lease(),
        });
        if let Some(entry) = &entry {
            self.now.insert(op.key().clone(), entry.clone());
        }
        (old.is_some() || entry.is_some()).then(|| Event { key: op.key().clone(), entry })
    }
}

/// The part of a batch that counts, if there is one.
fn within(batch: &Batch, counts: impl Fn(&Event) -> bool) -> Option<Batch> {
    let events: Vec<_> = batch.events.iter().filter(|event| counts(event)).cloned().collect();
    (!events.is_empty()).then_some(Batch { rev: batch.rev, events })
}
