//! Seeded randomness: the same seed, the same run.

/// A small generator (splitmix64).
#[derive(Clone, Debug)]
pub(in crate::store) struct Chance(u64);

impl Chance {
    pub(in crate::store) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`; 0 when that is 0.
    pub(in crate::store) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).checked_rem(limit).unwrap_or(0)
    }

    pub(in crate::store) fn one_in(&mut self, limit: u64) -> bool {
        self.below(limit) == 0
    }

    /// One of a few.
    pub(in crate::store) fn of<'a, T>(&mut self, some: &'a [T]) -> &'a T {
        let index = self.below(some.len() as u64);
        &some[usize::try_from(index).expect("an index")]
    }
}
