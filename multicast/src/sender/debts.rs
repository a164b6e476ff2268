//! What is owed to the group: which block goes out next, and how much of it.

use std::collections::{BTreeSet, VecDeque};

use super::book::Book;
use crate::layout::Layout;
use crate::mark::{ENTRIES_LIMIT, MarkEntry};

/// What each block owes.
#[derive(Debug)]
pub(super) struct Debts {
    layout: Layout,
    books: Vec<Book>,
    /// Blocks that owe symbols.
    owing: BTreeSet<u32>,
    /// Blocks of which something happened lately, newest last.
    recent: VecDeque<u32>,
    /// Every block below went out in full once.
    frontier: u32,
    /// The block that goes out in full now.
    opened: Option<u32>,
    /// Whether source symbols are owed again and again, so that nobody needs parity.
    repeats: bool,
}

/// What a request changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// Whether it is more than was known.
    pub(super) is_news: bool,
    /// Whether the block owed nothing before and does now.
    pub(super) begins: bool,
}

impl Debts {
    /// Nothing is owed; every block below `frontier` is out.
    pub(super) fn new(layout: Layout, frontier: u32) -> Self {
        let books = usize::try_from(layout.blocks()).expect("a block's number has 24 bits");
        Self {
            layout,
            books: vec![Book::default(); books],
            owing: BTreeSet::new(),
            recent: VecDeque::new(),
            frontier,
            opened: None,
            repeats: false,
        }
    }

    /// Every block owes all of its source symbols, at once. They come again where they are owed again: parity needs tables
    /// that take an encoder and each decoder 25 ms at first, and so small an object most of its time.
    pub(super) fn owe_everything(&mut self) {
        self.repeats = true;
        for block in 0..self.layout.blocks() {
            self.owe(block, self.layout.sources(block).into());
        }
        self.opened = None;
        self.frontier = self.layout.blocks();
    }

    /// From now on repair is parity.
    pub(super) const fn stop_repeating(&mut self) {
        self.repeats = false;
    }

    /// The frontier's block goes out in full from now on.
    pub(super) fn open(&mut self, symbols: u32) {
        self.opened = Some(self.frontier);
        self.owe(self.frontier, symbols);
    }

    /// Nobody needs a block below this.
    pub(super) fn skip_to(&mut self, block: u32) {
        self.frontier = self.frontier.max(block.min(self.layout.blocks()));
    }

    /// Takes in that somebody who has packet `seen` lacks `deficit` symbols of a block, for which `wanted` have to go out;
    /// `None` for a block that is not out yet.
    pub(super) fn ask(&mut self, block: u32, deficit: u16, wanted: u32, seen: u64) -> Option<Asked> {
        if block >= self.frontier || deficit == 0 {
            return None;
        }
        let book = self.books.get_mut(block as usize)?;
        let idle = book.owed == 0;
        let is_news = book.ask(deficit, wanted, seen);
        let owes = book.owed > 0;
        if owes {
            self.owing.insert(block);
        }
        Some(Asked { is_news, begins: idle && owes })
    }

    /// The catalogue, without which nobody can verify anything; else the lowest block that owes little, so that who misses
    /// little is done soon; else the lowest for which there is room.
    pub(super) fn next(&self, full: bool) -> Option<u32> {
        let owes_little = |block: &&u32| {
            **block == 0 || self.books[**block as usize].owed < u32::from(self.layout.sources(**block) / 2)
        };
        let has_room = |block: &&u32| !full || !self.is_tail() && self.opened != Some(**block);
        let mut owing = self.owing.iter();
        self.owing.iter().find(owes_little).or_else(|| owing.find(has_room)).copied()
    }

    /// The next symbols of a block, at most `burst`: the first, and how many.
    pub(super) fn run(&self, block: u32, burst: u16) -> (u16, u16) {
        let book = self.books[block as usize];
        let all = if self.repeats { self.layout.sources(block) } else { self.layout.symbols(block) };
        let (esi, run) = book.next(all);
        let burst = burst.min(run);
        (esi, u16::try_from(book.owed).map_or(burst, |owed| owed.min(burst)))
    }

    /// Notes that `count` symbols went out, the last of them in packet `number`; says whether that is all that was owed.
    pub(super) fn went_out(&mut self, block: u32, count: u16, number: u64) -> bool {
        let book = &mut self.books[block as usize];
        book.went_out(count, number);
        book.owed == 0
    }

    /// A block owes nothing any more.
    pub(super) fn settle(&mut self, block: u32) {
        self.books[block as usize].owed = 0;
        self.owing.remove(&block);
        if self.opened == Some(block) {
            self.opened = None;
            self.frontier = self.frontier.max(block + 1);
        }
        self.recent.retain(|recent| *recent != block);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(block);
    }

    /// The lowest block that owes symbols.
    pub(super) fn first(&self) -> Option<u32> {
        self.owing.first().copied()
    }

    /// Whether nothing is owed.
    pub(super) fn is_empty(&self) -> bool {
        self.owing.is_empty()
    }

    /// Whether a block is going out in full.
    pub(super) const fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    /// Every block below went out in full once.
    pub(super) const fn frontier(&self) -> u32 {
        self.frontier
    }

    /// Whether every block did.
    pub(super) const fn is_tail(&self) -> bool {
        self.frontier >= self.layout.blocks()
    }

    /// What a mark says of blocks: those that owe nothing any more, the newest first, then those that do.
    pub(super) fn entries(&self) -> Vec<MarkEntry> {
        let settled = self.recent.iter().rev().filter(|block| !self.owing.contains(block));
        let blocks = settled.chain(self.owing.iter().filter(|block| self.opened != Some(**block)));
        let entry = |block: &u32| {
            let book = self.books[*block as usize];
            MarkEntry { block: *block, sent: book.sent, heard: book.heard }
        };
        blocks.take(ENTRIES_LIMIT).map(entry).collect()
    }

    fn owe(&mut self, block: u32, symbols: u32) {
        let Some(book) = self.books.get_mut(block as usize) else { return };
        book.owed = book.owed.max(symbols);
        self.owing.insert(block);
    }
}

/// Settled blocks that a mark speaks of.
const RECENT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repair_of_little_goes_before_what_is_new_and_before_repair_of_much() {
        let mut debts = debts();
        debts.open(100);
        debts.settle(0);
        debts.open(100);
        debts.settle(1);
        debts.open(256);
        assert_eq!(debts.next(false), Some(2));
        assert!(debts.ask(0, 1, 1, 0).unwrap().begins && debts.ask(1, 3, 3, 0).unwrap().is_news);
        assert_eq!(debts.next(false), Some(0), "the catalogue, whatever it owes");
        debts.settle(0);
        assert_eq!(debts.next(false), Some(1));
        debts.settle(1);
        assert_eq!((debts.next(false), debts.next(true)), (Some(2), None), "who is full gets no new block");
        assert!(debts.ask(2, 9, 9, 0).is_none(), "it is not out yet");
    }

    #[test]
    fn what_is_repeated_is_no_parity_until_that_stops() {
        let mut debts = debts();
        let mut sent = Vec::new();
        for _ in 0..3 {
            debts.owe_everything();
            let mut left = 256;
            while left > 0 {
                let (esi, count) = debts.run(1, 44);
                sent.push(esi + count);
                debts.went_out(1, count, 0);
                left -= count;
            }
            debts.settle(1);
        }
        assert!(sent.iter().all(|end| *end <= 256), "{sent:?}");
        debts.stop_repeating();
        assert!(debts.run(1, 44).0 >= 256);
    }

    #[test]
    fn a_mark_speaks_of_what_is_settled_and_of_what_is_asked_for() {
        let mut debts = debts();
        for block in 0..3 {
            debts.open(10);
            assert!(debts.went_out(block, 10, u64::from(block) * 10 + 10));
            debts.settle(block);
        }
        debts.ask(1, 4, 4, 30);
        let entries: Vec<_> = debts.entries().into_iter().map(|entry| (entry.block, entry.heard)).collect();
        assert_eq!(entries, [(2, 0), (0, 0), (1, 4)]);
        assert_eq!((debts.frontier(), debts.is_tail()), (3, false));
    }

    /// A catalogue and three blocks.
    fn debts() -> Debts {
        Debts::new(Layout::new(1024, 3 << 18, 18, 1024).unwrap(), 0)
    }
}
