//! Which symbols of a block are there.

/// A set of symbol numbers below a bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolSet {
    words: Box<[u64]>,
    bound: u16,
    count: u16,
}

impl SymbolSet {
    /// The empty set of numbers below `bound`.
    pub fn new(bound: u16) -> Self {
        Self { words: vec![0; usize::from(bound.div_ceil(64))].into(), bound, count: 0 }
    }

    /// Adds `count` numbers from `first` on and says how many of them were new; those at or above the bound are not
    /// taken.
    pub fn insert(&mut self, first: u16, count: u16) -> u16 {
        let end = first.saturating_add(count).min(self.bound);
        let (mut at, before) = (first, self.count);
        while at < end {
            let bit = at % 64;
            let run = (end - at).min(64 - bit);
            let mask = (u64::MAX >> (64 - run)) << bit;
            let word = &mut self.words[usize::from(at / 64)];
            self.count += u16::try_from((mask & !*word).count_ones()).expect("at most 64");
            *word |= mask;
            at += run;
        }
        self.count - before
    }

    /// Whether a number is in the set.
    pub fn contains(&self, number: u16) -> bool {
        self.words.get(usize::from(number / 64)).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// How many numbers are in the set.
    pub const fn len(&self) -> u16 {
        self.count
    }

    /// Whether nothing is.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many numbers below `end` are not in the set.
    pub fn missing_below(&self, end: u16) -> u16 {
        let missing = (0..end).filter(|number| !self.contains(*number)).count();
        u16::try_from(missing).expect("at most as many as there are numbers")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_is_what_a_set_is(runs in proptest::collection::vec((0_u16..300, 0_u16..200), 0..20)) {
            let (mut set, mut model) = (SymbolSet::new(250), BTreeSet::new());
            for (first, count) in runs {
                let new = (first..first + count).filter(|n| *n < 250 && model.insert(*n)).count();
                prop_assert_eq!(usize::from(set.insert(first, count)), new);
            }
            prop_assert_eq!(usize::from(set.len()), model.len());
            prop_assert!((0..400).all(|n| set.contains(n) == model.contains(&n)));
            prop_assert_eq!(usize::from(set.missing_below(250)), 250 - model.len());
        }
    }

    #[test]
    fn numbers_at_the_end_of_their_type_do_no_harm() {
        let mut set = SymbolSet::new(100);
        assert_eq!(set.insert(u16::MAX, u16::MAX), 0);
        assert_eq!(set.insert(90, u16::MAX), 10);
    }
}
