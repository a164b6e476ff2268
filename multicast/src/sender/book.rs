//! What went out of a block, and what is still owed.

/// The book of one block.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Book {
    /// Symbols that went out since the session began.
    pub(super) sent: u32,
    /// Symbols that are to go out.
    pub(super) owed: u32,
    /// The largest deficit that they answer.
    pub(super) heard: u16,
    /// Symbols that went out since somebody had seen all before.
    flight: u32,
    /// Number of the last packet that had one.
    last: u64,
}

impl Book {
    /// The next of `all` symbols that a block has, and how many follow it in a row.
    ///
    /// They go round, each time a few later: a rhythm of loss does not hit the same ones for ever.
    pub(super) fn next(&self, all: u16) -> (u16, u16) {
        let wide = u32::from(all).max(1);
        let (round, at) = (self.sent / wide, self.sent % wide);
        let esi = (at + round % wide * SHIFT) % wide;
        let run = (wide - at).min(wide - esi);
        [esi, run].map(|number| u16::try_from(number).expect("at most all there are")).into()
    }

    /// Notes that `count` symbols went out, the last of them in packet `number`.
    pub(super) fn went_out(&mut self, count: u16, number: u64) {
        let count = u32::from(count);
        (self.sent, self.flight) = (self.sent.saturating_add(count), self.flight.saturating_add(count));
        self.owed = self.owed.saturating_sub(count);
        self.last = number;
        if self.owed == 0 {
            self.heard = 0;
        }
    }

    /// Takes in that somebody who has packet `seen` lacks `deficit` symbols, for which `wanted` have to go out. Says
    /// whether that is more than was known.
    ///
    /// What went out after that packet may fill the gap already, so it is not sent twice.
    pub(super) fn ask(&mut self, deficit: u16, wanted: u32, seen: u64) -> bool {
        if seen >= self.last {
            self.flight = 0;
        }
        let unseen = u32::try_from(self.last.saturating_sub(seen)).unwrap_or(u32::MAX).min(self.flight);
        self.owed = self.owed.max(wanted.saturating_sub(unseen));
        if self.owed == 0 || deficit <= self.heard {
            return false;
        }
        self.heard = deficit;
        true
    }
}

/// Symbols by which each round begins later.
const SHIFT: u32 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_flight_is_not_sent_twice() {
        let mut book = Book { owed: 100, ..Book::default() };
        book.went_out(100, 100);
        assert!(book.ask(10, 11, 100));
        book.went_out(11, 111);
        assert!(!book.ask(10, 11, 100), "it had not seen the answer");
        assert_eq!(book.owed, 0);
        assert!(book.ask(3, 4, 111), "it has, and still lacks some");
        assert_eq!(book.owed, 4);
    }

    #[test]
    fn each_round_has_every_symbol_once_and_begins_later() {
        let (mut book, mut begins) = (Book::default(), Vec::new());
        for _ in 0..3 {
            let mut seen = vec![0; 100];
            while seen.iter().sum::<u32>() < 100 {
                let (esi, run) = book.next(100);
                if seen.iter().sum::<u32>() == 0 {
                    begins.push(esi);
                }
                (esi..esi + run).for_each(|esi| seen[usize::from(esi)] += 1);
                book.went_out(run, 0);
            }
            assert!(seen.iter().all(|count| *count == 1));
        }
        assert_eq!(begins, [0, 7, 14]);
    }

    #[test]
    fn the_largest_deficit_counts() {
        let mut book = Book::default();
        assert!(book.ask(5, 6, 0));
        assert!(book.ask(9, 10, 0));
        assert!(!book.ask(7, 8, 0));
        assert_eq!((book.owed, book.heard), (10, 9));
        book.went_out(10, 50);
        assert_eq!(book.heard, 0, "all that was asked for is out");
    }
}
