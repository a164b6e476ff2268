//! Which entry of a full set goes: SIEVE (Zhang et al., NSDI 2024) over 16 slots in two words.
//!
//! The slots stand in the order in which they were filled, the oldest first. A hand goes from the oldest to the newest: who
//! was asked for since it last passed stays where it is, who was not goes.

/// The order of a set's slots, a nibble each, and where the hand is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sieve {
    pub(super) order: u64,
    pub(super) hand: u32,
}

impl Sieve {
    /// The slots were filled in the order of their numbers.
    pub(super) const START: Self = Self { order: 0xfedc_ba98_7654_3210, hand: 0 };

    /// Takes the slot that goes and puts it behind the newest. `visited` has a bit for each slot that was asked for; the
    /// hand clears those it passes.
    pub(super) const fn evict(&mut self, visited: &mut u32) -> u32 {
        loop {
            let slot = (self.order >> (4 * self.hand) & 15) as u32;
            if *visited & 1 << slot == 0 {
                self.renew(slot);
                return slot;
            }
            *visited &= !(1 << slot);
            self.hand = (self.hand + 1) % 16;
        }
    }

    /// Moves the slot under the hand behind the newest; the hand is then on the next one.
    const fn renew(&mut self, slot: u32) {
        let below = (1 << (4 * self.hand)) - 1;
        let newer = self.order >> 4 & !below;
        self.order = self.order & below | newer & !(15 << 60) | (slot as u64) << 60;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_when_none_was_asked_for() {
        let mut sieve = Sieve::START;
        let gone: Vec<_> = (0..20).map(|_| sieve.evict(&mut 0)).collect();
        assert_eq!(gone, (0..20).map(|n| n % 16).collect::<Vec<_>>());
    }

    #[test]
    fn who_was_asked_for_stays_once() {
        let (mut sieve, mut visited) = (Sieve::START, 0b101);
        assert_eq!(sieve.evict(&mut visited), 1);
        assert_eq!(sieve.evict(&mut visited), 3);
        assert_eq!(visited, 0);
        let rest: Vec<_> = (0..14).map(|_| sieve.evict(&mut visited)).collect();
        assert_eq!(rest, [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 1, 3]);
    }

    #[test]
    fn one_goes_also_when_all_were_asked_for() {
        let (mut sieve, mut visited) = (Sieve::START, 0xffff);
        assert_eq!(sieve.evict(&mut visited), 0);
        assert_eq!(visited, 0);
    }

    #[test]
    fn every_slot_stays_in_the_order_once() {
        let (mut sieve, mut visited) = (Sieve::START, 0);
        for step in 0..10_000_u32 {
            visited |= step.wrapping_mul(0x9e37_79b9) >> 16;
            sieve.evict(&mut visited);
            let mut slots: Vec<_> = (0..16).map(|at| sieve.order >> (4 * at) & 15).collect();
            slots.sort_unstable();
            assert_eq!(slots, (0..16).collect::<Vec<_>>());
        }
    }
}
