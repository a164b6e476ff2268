//! Seats for connections: so many for all, and so few for one address that nobody alone can take them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The seats of one port.
#[derive(Debug)]
pub(super) struct Seats {
    taken: Mutex<Taken>,
    all: usize,
    each: usize,
}

#[derive(Debug, Default)]
struct Taken {
    count: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A seat; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    address: IpAddr,
}

impl Seats {
    /// So many seats. One address has a sixteenth of them, but never less than 64: behind an address may be a network.
    pub(super) fn new(all: usize) -> Arc<Self> {
        Arc::new(Self { taken: Mutex::default(), all, each: (all / 16).max(64) })
    }

    /// A seat, when one is free for this address.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let address = address.to_canonical();
        let mut taken = self.taken();
        let here = taken.by_address.get(&address).copied().unwrap_or(0);
        if taken.count >= self.all || here >= self.each {
            return None;
        }
        taken.count += 1;
        taken.by_address.insert(address, here + 1);
        Some(Seat { seats: Arc::clone(self), address })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        taken.count -= 1;
        if let Some(here) = taken.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_seats_to_others() {
        let seats = Seats::new(1024);
        let mine: Vec<_> = std::iter::from_fn(|| seats.take([10, 0, 0, 1].into())).collect();
        assert_eq!(mine.len(), 64);
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert!(seats.take(mapped).is_none(), "it is the same address");
        assert!(seats.take([10, 0, 0, 2].into()).is_some());
    }

    #[test]
    fn all_together_have_no_more_than_there_are_and_what_is_free_can_be_taken_again() {
        let seats = Seats::new(100);
        let mut taken: Vec<_> = (0..200).filter_map(|n| seats.take([10, 0, 0, n].into())).collect();
        assert_eq!(taken.len(), 100);
        taken.pop();
        assert!(seats.take([10, 0, 1, 1].into()).is_some());
        taken.clear();
        let left = seats.taken();
        assert_eq!((left.count, left.by_address.len()), (0, 0));
    }
}
