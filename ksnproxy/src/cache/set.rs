//! One set: 16 entries of 40 bytes behind one line of their tags, marks and order.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::thread::yield_now;

use super::entry::{self, Cached, Words};
use super::sieve::Sieve;

/// Eleven lines of a processor's cache.
#[repr(align(64))]
pub(super) struct Set {
    /// Odd while a writer is in.
    sequence: AtomicU32,
    /// Slots that were asked for since the hand passed.
    visited: AtomicU32,
    /// How often each was asked for, two bits each.
    asked: AtomicU32,
    hand: AtomicU32,
    order: AtomicU64,
    /// One byte of each slot's hash; 0 is an empty slot.
    tags: [AtomicU64; 2],
    slots: [[AtomicU64; 5]; WAYS],
}

impl Set {
    pub(super) fn find(&self, key: &Words<3>, tag: u8) -> Option<Cached> {
        for attempt in 0..ATTEMPTS {
            let sequence = self.sequence.load(Ordering::Acquire);
            let found = self.search(key, tag);
            fence(Ordering::Acquire);
            if sequence.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == sequence {
                let (slot, value) = found?;
                return entry::cached(value, self.mark(slot));
            }
            wait(attempt);
        }
        // A writer that was stopped in the middle: what is not found is asked for.
        None
    }

    pub(super) fn insert(&self, key: &Words<3>, tag: u8, value: Words<2>) {
        let sequence = self.lock();
        let slot = match self.search(key, tag) {
            Some((slot, _)) => slot,
            None => self.make_room(tag),
        };
        for (word, at) in key.iter().chain(&value).zip(&self.slots[slot]) {
            at.store(*word, Ordering::Relaxed);
        }
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    pub(super) fn len(&self) -> usize {
        let tags = self.tags.iter().flat_map(|tags| tags.load(Ordering::Relaxed).to_le_bytes());
        tags.filter(|tag| *tag != 0).count()
    }

    fn search(&self, key: &Words<3>, tag: u8) -> Option<(usize, Words<2>)> {
        for (half, tags) in self.tags.iter().enumerate() {
            let mut equal = equal_bytes(tags.load(Ordering::Relaxed), tag);
            while equal != 0 {
                let slot = half * 8 + equal.trailing_zeros() as usize / 8;
                let [k0, k1, k2, v0, v1] = &self.slots[slot];
                if [k0, k1, k2].map(|word| word.load(Ordering::Relaxed)) == *key {
                    return Some((slot, [v0, v1].map(|word| word.load(Ordering::Relaxed))));
                }
                equal &= equal - 1;
            }
        }
        None
    }

    /// Notes that the slot was asked for, and says how often before. Nothing is written once both are at their limit, so
    /// that what everybody asks for is not sent between processors. A count that two threads spoil for each other is a
    /// count too low.
    fn mark(&self, slot: usize) -> u8 {
        let bit = 1 << slot;
        if self.visited.load(Ordering::Relaxed) & bit == 0 {
            self.visited.fetch_or(bit, Ordering::Relaxed);
        }
        let all = self.asked.load(Ordering::Relaxed);
        let asked = all >> (2 * slot) & 3;
        if asked < 3 {
            self.asked.store(all + (1 << (2 * slot)), Ordering::Relaxed);
        }
        u8::try_from(asked).unwrap_or(3)
    }

    /// An empty slot or one whose entry goes, with its tag set. The writer is in.
    fn make_room(&self, tag: u8) -> usize {
        let used = self.len();
        let slot = if used < WAYS { used } else { self.evict() };
        self.asked.fetch_and(!(3 << (2 * slot)), Ordering::Relaxed);
        self.visited.fetch_and(!(1 << slot), Ordering::Relaxed);
        let (tags, shift) = (&self.tags[slot / 8], 8 * (slot % 8));
        let others = tags.load(Ordering::Relaxed) & !(0xff << shift);
        tags.store(others | u64::from(tag) << shift, Ordering::Relaxed);
        slot
    }

    fn evict(&self) -> usize {
        let mut sieve =
            Sieve { order: self.order.load(Ordering::Relaxed), hand: self.hand.load(Ordering::Relaxed) };
        let before = self.visited.load(Ordering::Relaxed);
        let mut visited = before;
        let slot = sieve.evict(&mut visited);
        self.visited.fetch_and(!(before ^ visited), Ordering::Relaxed);
        self.order.store(sieve.order, Ordering::Relaxed);
        self.hand.store(sieve.hand, Ordering::Relaxed);
        slot as usize
    }

    /// Waits until no other writer is in. Writers are few: one thread stores what comes from upstream.
    fn lock(&self) -> u32 {
        for attempt in 0.. {
            let sequence = self.sequence.load(Ordering::Relaxed) & !1;
            let odd = sequence | 1;
            if self.sequence.compare_exchange(sequence, odd, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                fence(Ordering::Release);
                return sequence;
            }
            wait(attempt);
        }
        unreachable!("the loop has no end")
    }
}

impl Default for Set {
    fn default() -> Self {
        Self {
            sequence: AtomicU32::new(0),
            visited: AtomicU32::new(0),
            asked: AtomicU32::new(0),
            hand: AtomicU32::new(Sieve::START.hand),
            order: AtomicU64::new(Sieve::START.order),
            tags: Default::default(),
            slots: Default::default(),
        }
    }
}

/// The top bit of each byte of `bytes` that equals `byte`; some above the first may be wrong, which the key then tells.
const fn equal_bytes(bytes: u64, byte: u8) -> u64 {
    let difference = bytes ^ (LOW * byte as u64);
    difference.wrapping_sub(LOW) & !difference & HIGH
}

/// The first waits are short; after them the writer may need this processor.
fn wait(attempt: u32) {
    if attempt < SPINS { spin_loop() } else { yield_now() }
}

/// Entries of a set.
pub(super) const WAYS: usize = 16;

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// How often a reader that was overtaken begins again.
const ATTEMPTS: u32 = 100;

/// How often it waits without giving up its processor.
const SPINS: u32 = 64;
