//! Golomb-Rice coded differences, as Safe Browsing sends sorted hashes.
//!
//! The first value is in the clear. Each next one is a difference: a quotient in unary (ones, then a zero) and a remainder
//! of as many bits as the parameter says, least significant first. Bits are taken from the least significant end of each
//! byte.

/// A sorted list of numbers.
pub(super) struct Rice<'a> {
    pub(super) first: Wide,
    pub(super) parameter: u32,
    pub(super) differences: usize,
    pub(super) data: &'a [u8],
}

/// A number of 256 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wide {
    pub(super) high: u128,
    pub(super) low: u128,
}

impl Rice<'_> {
    /// Shows every number to `each`, in order; `None` when the data does not hold as many, they do not grow, or do not fit
    /// into `width` bits.
    pub(super) fn decode(&self, width: u32, mut each: impl FnMut(Wide)) -> Option<()> {
        if self.parameter >= width {
            return None;
        }
        let mut bits = Bits { data: self.data, at: 0 };
        let mut value = Some(self.first).filter(|first| first.fits(width))?;
        each(value);
        for _ in 0..self.differences {
            let quotient = Wide::from(bits.unary()?).shifted(self.parameter)?;
            let difference = quotient.plus(bits.number(self.parameter)?)?;
            value = value.plus(difference).filter(|next| next.fits(width) && *next > value)?;
            each(value);
        }
        Some(())
    }
}

impl Wide {
    /// The last bytes of it, in the order of the network.
    pub(super) fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.high.to_be_bytes());
        bytes[16..].copy_from_slice(&self.low.to_be_bytes());
        bytes
    }

    fn fits(self, width: u32) -> bool {
        let low = self.low.checked_shr(width.min(128)).unwrap_or(0);
        let high = self.high.checked_shr(width.saturating_sub(128)).unwrap_or(0);
        low == 0 && high == 0
    }

    fn plus(self, other: Self) -> Option<Self> {
        let (low, carry) = self.low.overflowing_add(other.low);
        let high = self.high.checked_add(other.high)?.checked_add(carry.into())?;
        Some(Self { high, low })
    }

    fn shifted(self, by: u32) -> Option<Self> {
        if by == 0 || self.low == 0 {
            return Some(self);
        }
        let over = by.checked_sub(128);
        let low = self.low.checked_shl(by).unwrap_or(0);
        let high = match over {
            Some(over) if over > self.low.leading_zeros() => return None,
            Some(over) => self.low << over,
            None => self.low >> (128 - by),
        };
        Some(Self { high, low })
    }
}

impl From<u32> for Wide {
    fn from(number: u32) -> Self {
        Self { high: 0, low: number.into() }
    }
}

struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> Option<u8> {
        let bit = self.data.get(self.at / 8)? >> (self.at % 8) & 1;
        self.at += 1;
        Some(bit)
    }

    fn unary(&mut self) -> Option<u32> {
        let mut ones = 0;
        while self.bit()? == 1 {
            ones += 1;
        }
        Some(ones)
    }

    fn number(&mut self, bits: u32) -> Option<Wide> {
        let mut half = |bits: u32| {
            (0..bits).try_fold(0_u128, |number, place| Some(number | u128::from(self.bit()?) << place))
        };
        let low = half(bits.min(128))?;
        Some(Wide { low, high: half(bits.saturating_sub(128))? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn differences_are_read_from_the_low_end_of_each_byte() {
        // 2 is 0, then 01; 7 is 10, then 11: the bits 0 01 10 11, the first one lowest.
        assert_eq!(decoded(5, 2, 2, &[0b0110_1100], 32), Some(vec![5, 7, 14]));
        assert_eq!(decoded(7, 3, 0, &[], 32), Some(vec![7]));
    }

    #[test]
    fn what_the_data_does_not_hold_is_refused() {
        assert_eq!(decoded(0, 3, 1, &[], 32), None);
        assert_eq!(decoded(0, 3, 1, &[0xff; 4], 32), None, "a unary number without an end");
        assert_eq!(decoded(u32::MAX.into(), 3, 1, &[0b0010], 32), None, "beyond 32 bits");
        assert_eq!(decoded(1, 3, 1, &[0], 32), None, "the same value twice");
        assert_eq!(decoded(1, 32, 0, &[], 32), None, "a parameter as wide as the values");
        assert_eq!(decoded(1 << 32, 3, 0, &[], 32), None, "a first value beyond 32 bits");
    }

    #[test]
    fn numbers_of_256_bits_carry_and_end() {
        let first = Wide { high: 0, low: u128::MAX };
        assert_eq!(first.plus(1.into()), Some(Wide { high: 1, low: 0 }));
        assert_eq!(Wide { high: u128::MAX, low: u128::MAX }.plus(1.into()), None);
        assert_eq!(Wide::from(3).shifted(127), Some(Wide { high: 1, low: 1 << 127 }));
        assert_eq!(Wide::from(1).shifted(255), Some(Wide { high: 1 << 127, low: 0 }));
        assert_eq!(Wide::from(2).shifted(255), None);
        assert!(Wide { high: u128::MAX, low: u128::MAX }.fits(256) && !Wide { high: 1, low: 0 }.fits(128));
        assert!(Wide::from(255).fits(8) && !Wide::from(256).fits(8));
    }

    proptest! {
        #[test]
        fn what_was_coded_is_decoded(
            values in proptest::collection::btree_set(any::<u32>(), 1..50),
            parameter in 24_u32..31,
        ) {
            let values: Vec<u128> = values.into_iter().map(u128::from).collect();
            let data = encode(&values, parameter);
            prop_assert_eq!(decoded(values[0], parameter, values.len() - 1, &data, 32), Some(values));
        }
    }

    fn decoded(
        first: u128,
        parameter: u32,
        differences: usize,
        data: &[u8],
        width: u32,
    ) -> Option<Vec<u128>> {
        let mut values = Vec::new();
        let rice = Rice { first: Wide { high: 0, low: first }, parameter, differences, data };
        rice.decode(width, |value| values.push(value.low)).map(|()| values)
    }

    fn encode(values: &[u128], parameter: u32) -> Vec<u8> {
        let mut bits = Vec::new();
        for pair in values.windows(2) {
            let difference = pair[1] - pair[0];
            bits.extend(std::iter::repeat_n(
                1,
                usize::try_from(difference >> parameter).expect("it is short"),
            ));
            bits.push(0);
            bits.extend((0..parameter).map(|place| u8::from(difference >> place & 1 == 1)));
        }
        bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |byte, bit| byte << 1 | bit)).collect()
    }
}
