//! Seeded mutations of known inputs: flips, numbers at their limits, pieces cut, repeated and spliced.

/// An endless row of inputs.
pub(crate) struct Mutator {
    state: u64,
    inputs: Vec<Vec<u8>>,
}

impl Mutator {
    pub(crate) fn new(seed: u64, inputs: Vec<Vec<u8>>) -> Self {
        Self { state: seed, inputs }
    }

    /// A known input with one to eight mutations, or now and then noise.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        if self.inputs.is_empty() || self.below(16) == 0 {
            return (0..self.below(512)).map(|_| self.byte()).collect();
        }
        let chosen = self.below(self.inputs.len());
        let mut input = self.inputs[chosen].clone();
        for _ in 0..=self.below(8) {
            self.mutate(&mut input);
        }
        input.truncate(LENGTH_LIMIT);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let len = self.below(32).min(input.len() - at);
        match self.below(8) {
            0 => input.truncate(at),
            1 => input.insert(at, self.byte()),
            2 => drop(input.drain(at..at + len)),
            3 => {
                let piece = input[at..at + len].to_vec();
                input.splice(at..at, piece);
            }
            4 => {
                let other = self.below(self.inputs.len());
                let other = &self.inputs[other];
                let tail = other[at.min(other.len())..].to_vec();
                input.truncate(at);
                input.extend(tail);
            }
            5 => input.extend((0..len).map(|_| self.byte())),
            6 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
            _ if at < input.len() => input[at] ^= 1 << self.below(8),
            _ => {}
        }
    }

    fn byte(&mut self) -> u8 {
        self.number().to_be_bytes()[0]
    }

    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("a length fits");
        usize::try_from((self.number() >> 8) % limit.max(1)).expect("below a length")
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// As long as libFuzzer's inputs get unless told otherwise.
const LENGTH_LIMIT: usize = 4096;
