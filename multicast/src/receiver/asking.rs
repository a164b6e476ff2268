//! What went out and is missing, and when to ask for it: so that one voice speaks for all who miss as much.

use std::time::{Duration, Instant};

use super::backoff::{Group, Share, spread};
use super::blocks::Blocks;
use super::due::{Due, DueBlocks, Wait};
use crate::dice::Dice;
use crate::feedback::{DEFICITS_LIMIT, Deficit};
use crate::layout::Layout;
use crate::mark::{Mark, MarkEntry};

/// What may be asked for.
#[derive(Debug)]
pub(super) struct Asking {
    layout: Layout,
    due: DueBlocks,
    /// Every block below has gone out.
    frontier: u32,
    tail: bool,
    group: Group,
    dice: Dice,
    /// When all others have been counted, too.
    counted_at: Instant,
}

impl Asking {
    /// Nothing went out yet, as far as is known.
    pub(super) fn new(now: Instant, layout: Layout, dice: Dice) -> Self {
        let group = Group { grtt: GRTT_FIRST, size: 1, is_counted: false, loss: None };
        let counted_at = now + COUNTED;
        Self { layout, due: DueBlocks::default(), frontier: 0, tail: false, group, dice, counted_at }
    }

    /// Takes in a mark; says whether the tail begins with it.
    pub(super) fn take_mark(&mut self, now: Instant, mark: &Mark, blocks: &Blocks) -> bool {
        let grtt = mark.grtt.clamp(crate::sender::GRTT_LEAST, crate::sender::GRTT_MOST);
        let is_counted = now >= self.counted_at;
        self.group = Group { grtt, size: mark.group, is_counted, loss: mark.loss };
        let begins = mark.tail && !self.tail;
        self.tail = mark.tail;
        self.advance(now, mark.frontier, Some(mark), blocks);
        if begins {
            // What was deferred can now be asked for.
            for block in blocks.below()..self.frontier {
                self.become_due(now, block, None, blocks);
            }
        }
        for entry in &mark.entries {
            self.take_entry(now, *entry, blocks);
        }
        begins
    }

    /// Notes that every block below `frontier` is out.
    pub(super) fn advance(&mut self, now: Instant, frontier: u32, mark: Option<&Mark>, blocks: &Blocks) {
        let frontier = frontier.min(self.layout.blocks());
        let passed = self.frontier..frontier;
        self.frontier = self.frontier.max(frontier);
        for block in passed {
            let entry = mark.and_then(|mark| mark.entries.iter().find(|entry| entry.block == block));
            self.become_due(now, block, entry.map(|entry| entry.sent), blocks);
        }
    }

    /// Notes that a symbol of a block came: more of them may.
    pub(super) fn came(&mut self, now: Instant, block: u32) {
        if let Some(due) = self.due.get(block) {
            let wait = Wait::Quiet(now + 2 * self.group.grtt);
            self.due.insert(block, Due { wait, asked: 0, since: now, ..due });
        }
    }

    /// Notes that a block has to come anew, or some of it.
    pub(super) fn lost(&mut self, now: Instant, block: u32, blocks: &Blocks) {
        if block < self.frontier {
            self.become_due(now, block, None, blocks);
        }
    }

    /// Notes that a block was given up for another. It may have been whole, and waited for the catalogue: then nobody has
    /// missed it so far.
    pub(super) fn give_up(&mut self, now: Instant, block: u32, blocks: &Blocks) {
        match self.may_ask(block, blocks) {
            true => self.become_due(now, block, None, blocks),
            false => self.due.remove(block),
        }
    }

    /// Notes that a block is not missing any more.
    pub(super) fn remove(&mut self, block: u32) {
        self.due.remove(block);
    }

    /// What to ask for once the wait of a block is over: all that nobody has asked for. `None` while none is.
    pub(super) fn ask(&mut self, now: Instant, blocks: &Blocks) -> Option<Vec<Deficit>> {
        for block in self.due.lapsed(now) {
            let Some(due) = self.due.get(block) else { continue };
            let wait = Wait::Speak(now + self.back_off(block, due.sent, blocks));
            self.due.insert(block, Due { wait, ..due });
        }
        if !self.due.is_time_to_speak(now) {
            return None;
        }
        let mut deficits = Vec::new();
        for block in self.due.speaking().into_iter().take(DEFICITS_LIMIT) {
            let Some(due) = self.due.get(block) else { continue };
            deficits.push(Deficit { block, symbols: blocks.deficit(block) });
            // What a sender has much of to send is not asked for again and again.
            let quiet = 2 * self.group.grtt * (1 << due.asked.min(PATIENCE));
            self.due.insert(block, Due { wait: Wait::Quiet(now + quiet), asked: due.asked + 1, ..due });
        }
        Some(deficits)
    }

    /// When a wait is over.
    pub(super) fn poll_timeout(&mut self) -> Option<Instant> {
        self.due.next()
    }

    /// A share of a time in which all of the group say something, drawn anew each time.
    pub(super) fn jitter(&mut self, most: Duration) -> Duration {
        self.dice.within(spread(self.group.size).min(most))
    }

    /// A share of a time, drawn anew each time.
    pub(super) fn within(&mut self, time: Duration) -> Duration {
        self.dice.within(time)
    }

    /// How many there are in the group.
    pub(super) const fn size(&self) -> u32 {
        self.group.size
    }

    /// Whether every block is out.
    pub(super) const fn is_tail(&self) -> bool {
        self.tail
    }

    /// Blocks below this that hold less than half wait for the tail.
    pub(super) const fn deferred(&self) -> u32 {
        if self.tail { 0 } else { self.frontier }
    }

    fn become_due(&mut self, now: Instant, block: u32, sent: Option<u32>, blocks: &Blocks) {
        if self.may_ask(block, blocks) && !self.due.contains(block) {
            let wait = Wait::Speak(now + self.back_off(block, sent, blocks));
            self.due.insert(block, Due { wait, sent, asked: 0, since: now });
        }
    }

    fn take_entry(&mut self, now: Instant, entry: MarkEntry, blocks: &Blocks) {
        let Some(due) = self.due.get(entry.block) else { return };
        let quiet = Wait::Quiet(now + 2 * self.group.grtt);
        let more = due.sent.is_none_or(|sent| entry.sent > sent);
        let may_hush = now < due.since + LAPSE * self.group.grtt;
        let wait = if entry.heard >= blocks.deficit(entry.block) {
            if may_hush { quiet } else { due.wait }
        } else if more && entry.heard == 0 && matches!(due.wait, Wait::Quiet(_)) {
            // The answer is out, and was not enough.
            Wait::Speak(now + self.back_off(entry.block, Some(entry.sent), blocks))
        } else {
            due.wait
        };
        self.due.insert(entry.block, Due { wait, sent: Some(entry.sent), ..due });
    }

    /// Whether the block is missing, and one that may be asked for now: what is missing mostly waits for the tail.
    fn may_ask(&self, block: u32, blocks: &Blocks) -> bool {
        let Some(have) = blocks.have(block) else { return false };
        block < self.frontier && (self.tail || block == 0 || have >= self.layout.sources(block) / 2)
    }

    fn back_off(&mut self, block: u32, sent: Option<u32>, blocks: &Blocks) -> Duration {
        let came = self.layout.sources(block).saturating_sub(blocks.deficit(block));
        let all = u32::from(self.layout.symbols(block));
        let share = Share { sent: sent.filter(|sent| *sent <= all), came };
        self.group.wait(share, &mut self.dice)
    }
}

/// All who heard an announcement have answered by then, and a mark has told how many they are.
const COUNTED: Duration = Duration::from_millis(150);
/// Before a mark has said what it is.
const GRTT_FIRST: Duration = Duration::from_millis(10);
/// Round trips for which marks keep a receiver silent while no symbol comes: who forges marks silences nobody for longer.
const LAPSE: u32 = 32;
/// Doublings of the wait for an answer.
const PATIENCE: u32 = 6;
