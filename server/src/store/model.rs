//! The oracle: what a store must answer, as a map and a list of commits.

use std::collections::BTreeMap;

use super::{Batch, Entry, Event, FailedGuard, Guard, Key, Op, Prefix, Rev};

/// A store without files, threads or limits.
#[derive(Debug, Default)]
pub(super) struct Model {
    now: BTreeMap<Key, Entry>,
    history: Vec<Batch>,
}

impl Model {
    pub(super) fn commit(&mut self, guards: &[Guard], ops: &[Op]) -> Result<Rev, Vec<FailedGuard>> {
        let failed: Vec<_> =
            guards.iter().enumerate().filter_map(|(n, guard)| self.failed(n, guard)).collect();
        if !failed.is_empty() {
            return Err(failed);
        }
        let rev = self.head().next();
        let events = ops.iter().filter_map(|op| self.apply(rev, op)).collect();
        self.history.push(Batch { rev, events });
        Ok(rev)
    }

    pub(super) fn head(&self) -> Rev {
        self.history.last().map_or(Rev::ZERO, |batch| batch.rev)
    }

    pub(super) fn get(&self, key: &Key) -> Option<Entry> {
        self.now.get(key).cloned()
    }

    /// All entries under `prefix` as they were at `at`, found by applying the history again.
    pub(super) fn scan(&self, prefix: &Prefix, at: Rev) -> Vec<(Key, Entry)> {
        let mut then = BTreeMap::new();
        for event in self.history.iter().take_while(|batch| batch.rev <= at).flat_map(|batch| &batch.events) {
            match &event.entry {
                Some(entry) => then.insert(event.key.clone(), entry.clone()),
                None => then.remove(&event.key),
            };
        }
        then.into_iter().filter(|(key, _)| prefix.contains(key)).collect()
    }

    /// Every batch that a watch after `after` must deliver.
    pub(super) fn watch(&self, prefix: &Prefix, after: Rev) -> Vec<Batch> {
        let late = self.history.iter().filter(|batch| batch.rev > after);
        late.map(|batch| Batch {
            rev: batch.rev,
            events: batch.events.iter().filter(|event| prefix.contains(&event.key)).cloned().collect(),
        })
        .filter(|batch| !batch.events.is_empty())
        .collect()
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
