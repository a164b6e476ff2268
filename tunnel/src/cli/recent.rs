//! The things that were used last, by name: bounded, and the one that nobody used for the longest time goes.

/// At most `limit` values; looked through from the last used, so for few.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    /// The last used at the end.
    entries: Vec<(K, V)>,
    limit: usize,
}

impl<K: PartialEq, V: Clone> Recent<K, V> {
    /// Empty; holds at most `limit`.
    pub(super) const fn new(limit: usize) -> Self {
        Self { entries: Vec::new(), limit }
    }

    /// The value of a name, used now; made when it is not there.
    ///
    /// # Errors
    /// What making it brought.
    pub(super) fn or_make<E>(&mut self, key: K, make: impl FnOnce(&K) -> Result<V, E>) -> Result<V, E> {
        let found = self.entries.iter().rposition(|(name, _)| *name == key);
        let entry = match found {
            Some(at) => self.entries.remove(at),
            None => {
                let value = make(&key)?;
                (key, value)
            }
        };
        let value = entry.1.clone();
        self.entries.push(entry);
        if self.entries.len() > self.limit {
            self.entries.remove(0);
        }
        Ok(value)
    }

    /// All there are, the last used at the end.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_not_used_for_the_longest_time_goes() {
        let mut recent = Recent::new(2);
        let mut made = 0;
        let mut used = |key: &'static str| {
            let value = recent.or_make(key, |_| {
                made += 1;
                Ok::<_, ()>(made)
            });
            value.unwrap()
        };
        assert_eq!([used("a"), used("b"), used("a"), used("c")], [1, 2, 1, 3]);
        assert_eq!(used("a"), 1, "used since b was");
        assert_eq!(used("b"), 4, "it had gone");
        assert_eq!(recent.values().collect::<Vec<_>>(), [&1, &4]);
    }

    #[test]
    fn what_cannot_be_made_takes_no_place() {
        let mut recent = Recent::new(1);
        assert_eq!(recent.or_make("a", |_| Ok::<_, &str>(1)), Ok(1));
        assert_eq!(recent.or_make("b", |_| Err("no")), Err("no"));
        assert_eq!(recent.or_make("a", |_| Err("no")), Ok(1));
    }
}
