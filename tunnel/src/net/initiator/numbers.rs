//! The numbers of connections: each names a label, and the relay takes only labels near the highest used one.

use crate::relay::WINDOW;

/// Gives every connection a number whose label the relay takes.
///
/// A label that came to nothing may be shown again (PROTOCOL.md, section 3). So numbers go round within the relay's
/// window: however often a device was away, the next try is one that the relay can join.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    next: u32,
    /// One more than the highest number whose handshake was done.
    used: u32,
}

impl Numbers {
    /// A number for another try.
    pub(super) fn take(&mut self) -> u32 {
        let number = self.next;
        self.next = match number.saturating_add(1) {
            next if next >= self.used.saturating_add(WINDOW) => self.used,
            next => next,
        };
        number
    }

    /// The handshake of this number is done: its label is used up, and the window has moved past it.
    pub(super) fn used(&mut self, number: u32) {
        self.used = self.used.max(number.saturating_add(1));
        self.next = self.next.max(self.used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_while_connections_come_about() {
        let mut numbers = Numbers::default();
        for expected in 0..100 {
            let number = numbers.take();
            assert_eq!(number, expected);
            numbers.used(number);
        }
    }

    #[test]
    fn tries_that_come_to_nothing_never_leave_the_relays_window() {
        let mut numbers = Numbers::default();
        assert!((0..1000).all(|_| numbers.take() < WINDOW));
        numbers.used(40);
        assert!((0..1000).map(|_| numbers.take()).all(|number| (41..41 + WINDOW).contains(&number)));
    }
}
