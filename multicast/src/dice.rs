//! Seeded numbers for back-off: SplitMix64 (Steele et al., 2014). Not for secrets.

use std::time::Duration;

/// A stream of pseudo-random numbers, the same for the same seed.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The stream of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to 1.
    pub fn share(&mut self) -> f64 {
        crate::loss::whole_f64(self.bits() >> 11) / (1_u64 << 53) as f64
    }

    /// A time below `bound`.
    pub fn within(&mut self, bound: Duration) -> Duration {
        bound.mul_f64(self.share())
    }
}
