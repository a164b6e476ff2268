//! Deadlines, at most one per key, expired by comparing instants.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Instant;

/// A set of deadlines; every operation takes time logarithmic in their number.
#[derive(Debug)]
pub(crate) struct Timers<Key> {
    order: BTreeSet<(Instant, Key)>,
    deadlines: HashMap<Key, Instant>,
}

impl<Key: Copy + Ord + Hash> Timers<Key> {
    pub(crate) fn new() -> Self {
        Self { order: BTreeSet::new(), deadlines: HashMap::new() }
    }

    /// Sets or moves the deadline of `key`.
    pub(crate) fn set(&mut self, key: Key, deadline: Instant) {
        if let Some(old) = self.deadlines.insert(key, deadline) {
            self.order.remove(&(old, key));
        }
        self.order.insert((deadline, key));
    }

    pub(crate) fn clear(&mut self, key: Key) {
        if let Some(old) = self.deadlines.remove(&key) {
            self.order.remove(&(old, key));
        }
    }

    pub(crate) fn is_set(&self, key: Key) -> bool {
        self.deadlines.contains_key(&key)
    }

    pub(crate) fn deadline(&self, key: Key) -> Option<Instant> {
        self.deadlines.get(&key).copied()
    }

    /// Takes one key whose deadline is `now` or earlier.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Key> {
        let (deadline, key) = *self.order.first()?;
        if deadline > now {
            return None;
        }
        self.clear(key);
        Some(key)
    }

    /// The earliest deadline.
    pub(crate) fn first(&self) -> Option<Instant> {
        self.order.first().map(|(deadline, _)| *deadline)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_moved_deadline_fires_once_and_only_at_its_new_instant() {
        let start = Instant::now();
        let second = |n| start + Duration::from_secs(n);
        let mut timers = Timers::new();
        timers.set('a', second(1));
        timers.set('b', second(2));
        timers.set('a', second(3));
        assert_eq!(timers.first(), Some(second(2)));
        assert_eq!(timers.pop_due(second(2)), Some('b'));
        assert_eq!(timers.pop_due(second(2)), None);
        assert_eq!(timers.pop_due(second(3)), Some('a'));
        assert_eq!((timers.first(), timers.len()), (None, 0));
    }

    #[test]
    fn a_cleared_deadline_never_fires() {
        let start = Instant::now();
        let mut timers = Timers::new();
        timers.set(1, start);
        timers.clear(1);
        assert_eq!(timers.pop_due(start), None);
    }
}
