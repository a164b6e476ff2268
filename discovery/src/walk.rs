//! The order in which addresses are probed: a keyed permutation, so that the hosts of one subnet are not hit in a row.
//!
//! Nothing is stored: a Feistel network over the next even number of bits gives the number at each position, and numbers
//! beyond the end are walked on until one is inside (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002).
//! It spreads load; no secret depends on it.

/// A permutation of the numbers below a length.
#[derive(Debug, Clone, Copy)]
pub struct Walk {
    len: u32,
    /// Bits of each half.
    half: u32,
    keys: [u32; ROUNDS],
}

impl Walk {
    /// A permutation of `0..len`; another key is another order.
    pub fn new(len: u32, key: u64) -> Self {
        let bits = u32::BITS - len.saturating_sub(1).leading_zeros();
        let mut state = key;
        let keys = [(); ROUNDS].map(|()| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            fold(state)
        });
        Self { len, half: bits.div_ceil(2).max(1), keys }
    }

    /// The number at a position.
    ///
    /// # Panics
    /// When the position is not below the length.
    pub fn at(&self, position: u32) -> u32 {
        assert!(position < self.len, "position {position} of {}", self.len);
        let mut number = self.permute(position.into());
        // A permutation leads from inside back to the inside, at the latest to where it began.
        while number >= self.len.into() {
            number = self.permute(number);
        }
        u32::try_from(number).expect("below the length")
    }

    fn permute(&self, number: u64) -> u64 {
        let mask = (1_u64 << self.half) - 1;
        let (mut left, mut right) = (number >> self.half, number & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (u64::from(fold(right << 32 | u64::from(key))) & mask));
        }
        left << self.half | right
    }
}

/// Every bit of the input changes half of the output (the finish of SplitMix64: Steele, Lea, Flood 2014).
fn fold(input: u64) -> u32 {
    let mut z = (input ^ (input >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u32::try_from(z >> 32).expect("half of the bits")
}

/// Enough to look random (Luby and Rackoff 1988).
const ROUNDS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_once() {
        for len in [1, 2, 3, 5, 255, 256, 257, 4096, 65_535, 65_537] {
            let walk = Walk::new(len, 7);
            let mut seen = vec![false; len as usize];
            for position in 0..len {
                assert!(
                    !std::mem::replace(&mut seen[walk.at(position) as usize], true),
                    "{position} of {len}"
                );
            }
        }
    }

    #[test]
    fn the_ends_of_the_largest_plan_are_inside() {
        let walk = Walk::new(crate::plan::SIZE_LIMIT, 9);
        assert!(
            [0, 1, crate::plan::SIZE_LIMIT - 1].into_iter().all(|p| walk.at(p) < crate::plan::SIZE_LIMIT)
        );
    }

    #[test]
    fn neighbours_in_time_are_no_neighbours_in_the_network() {
        let walk = Walk::new(65_536, 1);
        let same = (1..65_536).filter(|p| walk.at(*p) >> 8 == walk.at(p - 1) >> 8).count();
        assert!(same < 2 * 256, "{same} of 65,535 neighbours share a /24; chance alone makes 256");
        let other = Walk::new(65_536, 2);
        assert!((0..64).any(|position| walk.at(position) != other.at(position)));
    }
}
