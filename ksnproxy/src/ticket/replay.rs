//! Which counters of a ticket were seen: one window for all threads, without a lock (RFC 6479 with a mark in each word).

use std::sync::atomic::{AtomicU64, Ordering};

/// The newest 1024 counters. Each word has the number of its block above and a bit for each of its counters below.
#[derive(Debug, Default)]
pub(super) struct Window([AtomicU64; WORDS]);

impl Window {
    /// Whether the counter could be taken now; costs nothing that is written.
    pub(super) fn is_new(&self, counter: u64) -> bool {
        with(self.word(counter).load(Ordering::Relaxed), counter).is_some()
    }

    /// Takes the counter; `false` when it was taken before, is older than the window or beyond the last.
    pub(super) fn take(&self, counter: u64) -> bool {
        let update = |seen| with(seen, counter);
        self.word(counter).fetch_update(Ordering::Relaxed, Ordering::Relaxed, update).is_ok()
    }

    fn word(&self, counter: u64) -> &AtomicU64 {
        let at = usize::try_from(counter / BITS % WORDS as u64).expect("less than the number of words");
        &self.0[at]
    }
}

/// The word with the counter's bit set, if it may be.
fn with(word: u64, counter: u64) -> Option<u64> {
    let (block, bit) = (counter / BITS + 1, 1 << (counter % BITS));
    if counter >= COUNTERS {
        return None;
    }
    match (word >> BITS).cmp(&block) {
        std::cmp::Ordering::Less => Some(block << BITS | bit),
        std::cmp::Ordering::Equal if word & bit == 0 => Some(word | bit),
        _ => None,
    }
}

/// Counters in a word.
const BITS: u64 = 32;

/// A word is used again once the counter is 1024 further on.
const WORDS: usize = 32;

/// No counter reaches this; the number of a block has 32 bits.
const COUNTERS: u64 = 1 << 36;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counters_may_come_in_any_order_inside_the_window() {
        let window = Window::default();
        for counter in (0..1024).rev() {
            assert!(window.is_new(counter) && window.take(counter), "{counter}");
        }
        for counter in 0..1024 {
            assert!(!window.is_new(counter) && !window.take(counter), "{counter}");
        }
    }

    #[test]
    fn what_is_older_than_the_window_is_refused() {
        let window = Window::default();
        assert!(window.take(5));
        assert!(window.take(5 + 1024));
        assert!(!window.take(4), "its word is in use for a newer block");
        assert!(window.take(4 + 1024));
    }

    #[test]
    fn counters_end() {
        assert!(!Window::default().take(COUNTERS));
        assert!(!Window::default().take(u64::MAX));
        assert!(Window::default().take(COUNTERS - 1));
    }

    #[test]
    fn threads_take_each_counter_once() {
        let window = Window::default();
        let taken = || (0..10_000).filter(|counter| window.take(*counter)).count();
        let sum = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(taken)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert!(sum <= 10_000, "{sum}");
    }

    proptest! {
        #[test]
        fn no_counter_is_taken_twice(counters in prop::collection::vec(0..5000_u64, 0..2000)) {
            let window = Window::default();
            let mut taken = std::collections::HashSet::new();
            for counter in counters {
                if window.take(counter) {
                    prop_assert!(taken.insert(counter));
                }
            }
        }
    }
}
