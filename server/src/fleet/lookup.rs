//! The lock around the fleet in memory.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A value that everybody reads, and one writes now and then.
///
/// A thread that reads again while it reads already waits for ever once a writer waits between the two ([`RwLock`] lets no
/// reader overtake it), and with it everyone else. Debug builds panic at such a read, writer or not, so that tests find it.
#[derive(Debug, Default)]
pub(super) struct Lookup<T>(RwLock<T>);

/// What is read. Not for keeping: the writer waits for it.
#[derive(Debug)]
pub(super) struct Reading<'a, T> {
    value: RwLockReadGuard<'a, T>,
    _once: Once,
}

/// Held by the thread's only reading.
#[derive(Debug)]
struct Once;

thread_local! {
    static READS: Cell<bool> = const { Cell::new(false) };
}

impl<T> Lookup<T> {
    /// Around `value`.
    pub(super) const fn new(value: T) -> Self {
        Self(RwLock::new(value))
    }

    /// To read.
    pub(super) fn read(&self) -> Reading<'_, T> {
        let once = Once::begin();
        Reading { value: self.0.read().expect("no writer panics"), _once: once }
    }

    /// To change.
    pub(super) fn write(&self) -> RwLockWriteGuard<'_, T> {
        debug_assert!(!READS.get(), "the thread that writes still reads");
        self.0.write().expect("no writer panics")
    }
}

impl<T> Deref for Reading<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl Once {
    fn begin() -> Self {
        debug_assert!(!READS.replace(true), "the thread reads already");
        Self
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        READS.set(false);
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "the thread reads already")]
    fn a_read_within_a_read_is_found_without_a_writer() {
        let lookup = Lookup::new(1);
        let first = lookup.read();
        let _ = (*first, lookup.read());
    }

    #[test]
    fn one_read_after_the_other_is_no_fault() {
        let lookup = Lookup::new(1);
        let before = *lookup.read();
        *lookup.write() += 1;
        assert_eq!((before, *lookup.read()), (1, 2));
    }
}
