//! A small seeded generator: xoshiro256++ (Blackman and Vigna, 2019), seeded by SplitMix64 (Steele et al., 2014).
//!
//! Not for secrets. Written here rather than taken from a crate, so that a seed in a bug report still means the same
//! history after an update of dependencies.

use std::ops::Range;
use std::time::Duration;

/// A stream of pseudo-random numbers, the same for the same seed on every machine.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The stream of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut next = seed;
        Self { state: [(); 4].map(|()| split_mix(&mut next)) }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        let [s0, s1, s2, s3] = self.state;
        let result = s0.wrapping_add(s3).rotate_left(23).wrapping_add(s0);
        let (s2, s3) = (s2 ^ s0, s3 ^ s1);
        self.state = [s0 ^ s3, s1 ^ s2, s2 ^ (s1 << 17), s3.rotate_left(45)];
        result
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Lemire's multiply-shift; its bias of bound / 2^64 is far below what any test could see.
        let high = (u128::from(self.bits()) * u128::from(bound)) >> 64;
        u64::try_from(high).expect("the upper half of a product of two u64 fits")
    }

    /// A number of the range; its start when it is empty.
    pub fn within(&mut self, range: Range<usize>) -> usize {
        let width = range.end.saturating_sub(range.start);
        range.start + usize::try_from(self.below(width as u64)).expect("below a usize")
    }

    /// True in `permille` of a thousand calls.
    pub fn chance(&mut self, permille: u16) -> bool {
        permille > 0 && self.below(1000) < u64::from(permille)
    }

    /// A time below `bound`.
    pub fn duration(&mut self, bound: Duration) -> Duration {
        Duration::from_nanos(self.below(u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Fills a buffer.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bits = self.bits().to_le_bytes();
            chunk.copy_from_slice(bits.get(..chunk.len()).expect("chunks are at most 8 long"));
        }
    }

    /// A generator of its own, so that one part's draws do not shift another's.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.bits())
    }
}

fn split_mix(next: &mut u64) -> u64 {
    *next = next.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*next ^ (*next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_mix_gives_the_published_numbers() {
        let mut next = 1_234_567;
        assert_eq!(split_mix(&mut next), 6_457_827_717_110_365_317);
        assert_eq!(split_mix(&mut next), 3_203_168_211_198_807_973);
    }

    #[test]
    fn xoshiro_gives_the_published_numbers() {
        let mut rng = Rng { state: [1, 2, 3, 4] };
        assert_eq!([rng.bits(), rng.bits(), rng.bits()], [41_943_041, 58_720_359, 3_588_806_011_781_223]);
    }

    #[test]
    fn chance_is_about_what_was_asked() {
        let mut rng = Rng::new(1);
        let hits = (0..100_000).filter(|_| rng.chance(250)).count();
        assert!(hits.abs_diff(25_000) < 700, "{hits}");
        assert!(!Rng::new(1).chance(0));
        assert!(Rng::new(1).chance(1000));
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let mut rng = Rng::new(2);
        assert!((0..1000).all(|_| rng.below(7) < 7));
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.within(5..5), 5);
    }
}
