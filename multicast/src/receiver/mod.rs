//! A receiver's decisions: which symbols to keep, when to restore a block, what to ask for.
//!
//! ```text
//! block: Empty ─symbol─▶ Filling ─k symbols─▶ Restoring ─hash fits─▶ Verified
//!          ▲── evicted ─────┘ ▲                    └─hash does not fit─▶ Suspect
//!                             └────── forged symbols thrown away by tags ───┘
//! due:   Quiet (somebody asked) ─2 GRTT without a symbol─▶ Speak ─back-off over─▶ feedback ─▶ Quiet
//! ```
//! It keeps the book; the bytes are the driver's.

mod backoff;
mod config;
mod due;
mod output;
mod suspect;

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::dice::Dice;
use crate::feedback::{DEFICITS_LIMIT, Deficit, Feedback, State, period};
use crate::layout::Layout;
use crate::loss::LossMeter;
use crate::mark::{Mark, MarkEntry};
use crate::symbols::SymbolSet;

pub use backoff::BACKOFF;
pub use config::{Config, WINDOW};
pub use output::{Input, Output};

use backoff::{Group, Share, spread};
use due::{Due, DueBlocks, Wait};
use suspect::Suspect;

/// Takes one object of one session.
#[derive(Debug)]
pub struct Receiver {
    config: Config,
    layout: Layout,
    blocks: Vec<Block>,
    /// Blocks in memory.
    held: usize,
    /// Those that wait for the disk.
    restoring: usize,
    verified: u32,
    /// Every block below is verified.
    below: u32,
    repaired: u32,
    state: State,
    /// Blocks that were not what was signed.
    suspects: BTreeSet<u32>,
    due: DueBlocks,
    /// Every block below has gone out.
    frontier: u32,
    tail: bool,
    demoted: bool,
    group: Group,
    meter: LossMeter,
    seen: u64,
    heard: Instant,
    overruns: u32,
    /// Symbols that found no room.
    crowded: u32,
    /// Whether there is hardly any room for another block.
    full: bool,
    sequence: u32,
    dice: Dice,
    /// When to report; `None` before what was there is known, and once the session is over.
    report_at: Option<Instant>,
    /// How often it was said that all is complete.
    told: u32,
    rejoin_at: Instant,
    rejoined: u32,
    over: bool,
    outputs: VecDeque<Output>,
}

/// A block on its way.
#[derive(Debug)]
enum Block {
    Empty,
    Filling(SymbolSet),
    Restoring,
    Suspect(Suspect),
    Verified,
}

/// Symbols that came: `count` of a block from `esi` on, in packets from `number` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first packet's number.
    pub number: u64,
    /// Which block.
    pub block: u32,
    /// The first symbol.
    pub esi: u16,
    /// How many.
    pub count: u16,
}

impl Receiver {
    /// Begins to take part in a session.
    pub fn new(now: Instant, config: Config, layout: Layout) -> Self {
        let blocks = (0..layout.blocks()).map(|_| Block::Empty).collect();
        Self {
            dice: Dice::new(config.seed),
            config,
            layout,
            blocks,
            held: 0,
            restoring: 0,
            verified: 0,
            below: 0,
            repaired: 0,
            state: State::Receiving,
            suspects: BTreeSet::new(),
            due: DueBlocks::default(),
            frontier: 0,
            tail: false,
            demoted: false,
            group: Group { grtt: GRTT_FIRST, size: 1, loss: None },
            meter: LossMeter::default(),
            seen: 0,
            heard: now,
            overruns: 0,
            crowded: 0,
            full: false,
            sequence: 0,
            report_at: None,
            told: 0,
            rejoin_at: now + STALL,
            rejoined: 0,
            over: false,
            outputs: VecDeque::new(),
        }
    }

    /// Takes in authentic symbols and says whether to keep their bytes.
    pub fn handle_symbols(&mut self, now: Instant, run: Run) -> bool {
        if self.over || run.block >= self.layout.blocks() {
            return false;
        }
        // What is no symbol of the block takes no room.
        if run.count == 0 || run.esi >= self.layout.symbols(run.block) {
            return false;
        }
        self.note(now, run.number + u64::from(run.count) - 1, run.count.into());
        // Blocks go out in order: once the second after a block is on its way, the block is out.
        self.advance(now, run.block.saturating_sub(1), None);
        if !self.keep(now, run) {
            return false;
        }
        if let Some(due) = self.due.get(run.block) {
            self.due.insert(
                run.block,
                Due { wait: Wait::Quiet(now + 2 * self.group.grtt), asked: 0, since: now, ..due },
            );
        }
        self.restore(run.block);
        true
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        if self.over {
            return;
        }
        match input {
            Input::Announced { number, ended, demoted } => {
                self.note(now, number, 1);
                self.demoted |= demoted;
                if ended {
                    self.end();
                }
            }
            Input::Mark { number, mark } => {
                self.note(now, number, 1);
                self.take_mark(now, &mark);
            }
            Input::Receipt if self.state == State::Complete => self.end(),
            Input::Receipt => {}
            Input::Resumed(blocks) => {
                blocks.into_iter().for_each(|block| self.verify(block));
                self.restore_all();
                self.report_at = Some(now + self.dice.within(JOIN));
                self.finish_when_done();
            }
            Input::Restored { block, fits, repaired } => {
                self.restored(now, block, fits, repaired);
                self.watch_room(now);
            }
            Input::Spoilt { block, have } => self.spoil(now, block, have),
            Input::Tagged { block, first, count, sound } => {
                self.compare(now, block, (first, count), &sound);
            }
            Input::Finished => {
                self.state = State::Complete;
                self.report_at = Some(now + self.dice.within(spread(self.group.size)));
            }
            Input::Failed => {
                self.state = State::Failed;
                self.report_at = Some(now);
            }
            Input::Retry if self.state == State::Failed => {
                self.state = State::Receiving;
                self.report_at = Some(now);
                self.finish_when_done();
            }
            Input::Retry => {}
            Input::Overruns(overruns) => self.overruns = overruns,
        }
    }

    /// Asks, reports, or rejoins when it is time to.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.over {
            return;
        }
        if now >= self.rejoin_at {
            self.rejoin(now);
        }
        if self.report_at.is_some_and(|when| when <= now) {
            self.report(now);
        }
        if self.is_asking() {
            self.ask(now);
        }
    }

    /// Takes the next thing to do; `None` once there is nothing more to do now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Receiver::handle_timeout`] at the latest; `None` once the session is over.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let due = if self.is_asking() { self.due.next() } else { None };
        [Some(self.rejoin_at), self.report_at, due].into_iter().flatten().min()
    }

    /// Blocks that are verified.
    pub const fn verified(&self) -> u32 {
        self.verified
    }

    /// Whether a block is.
    pub fn is_verified(&self, block: u32) -> bool {
        matches!(self.blocks.get(block as usize), Some(Block::Verified))
    }

    /// Symbols that were restored.
    pub const fn repaired(&self) -> u32 {
        self.repaired
    }

    /// Whether nothing was heard for so long that the sender must have gone.
    pub fn is_deserted(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) >= DESERTED
    }

    /// How it is doing.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Notes `count` packets, the highest of them `number`.
    fn note(&mut self, now: Instant, number: u64, count: u32) {
        self.meter.count(number, count);
        if number > self.seen {
            self.seen = number;
        }
        self.heard = now;
        (self.rejoin_at, self.rejoined) = (now + STALL, 0);
    }

    /// Notes the symbols of a run; says whether any was new, and there is room for it.
    fn keep(&mut self, now: Instant, run: Run) -> bool {
        if matches!(self.blocks[run.block as usize], Block::Empty) {
            if !self.make_room(run.block) {
                self.crowded = self.crowded.saturating_add(run.count.into());
                return false;
            }
            self.held += 1;
            self.blocks[run.block as usize] = Block::Filling(SymbolSet::new(self.layout.symbols(run.block)));
            self.watch_room(now);
        }
        let Block::Filling(have) = &mut self.blocks[run.block as usize] else { return false };
        have.len() < self.layout.sources(run.block) && have.insert(run.esi, run.count) > 0
    }

    /// Tells the sender soon that there is hardly any room, and when there is some again.
    fn watch_room(&mut self, now: Instant) {
        let full = self.is_full();
        if full != self.full
            && let Some(report_at) = self.report_at
        {
            let soon = now + self.dice.within(spread(self.group.size).min(JOIN));
            (self.full, self.report_at) = (full, Some(report_at.min(soon)));
        }
    }

    /// Whether there is hardly any room: much waits for the disk, or, while new blocks come, for anything at all. In the
    /// tail what waits for symbols is no reason, for they would not come then.
    fn is_full(&self) -> bool {
        let window = self.config.window;
        let (much, most) =
            if self.full { (window / 4, window / 2) } else { (window / 2, window - window.div_ceil(SPARE)) };
        let held = self.held - self.idle_blocks().count();
        self.restoring > much || !self.tail && held > most
    }

    /// Blocks in memory that nobody will send more of before the tail.
    fn idle_blocks(&self) -> impl Iterator<Item = u32> {
        (self.below.max(1)..self.frontier).filter(|block| {
            let half = self.layout.sources(*block) / 2;
            !self.tail && matches!(&self.blocks[*block as usize], Block::Filling(have) if have.len() < half)
        })
    }

    /// Gives up a block that waits for the tail, or the highest one for a lower one: repair comes lowest first, so what is
    /// given up comes again.
    fn make_room(&mut self, block: u32) -> bool {
        if self.held < self.config.window {
            return true;
        }
        let highest = || {
            let above = (block + 1..self.layout.blocks()).rev();
            above.into_iter().find(|block| matches!(self.blocks[*block as usize], Block::Filling(_)))
        };
        let Some(given_up) = self.idle_blocks().next().or_else(highest) else { return false };
        self.forget(given_up);
        self.outputs.push_back(Output::Forget(given_up));
        true
    }

    fn forget(&mut self, block: u32) {
        self.blocks[block as usize] = Block::Empty;
        self.held -= 1;
        if !self.may_ask(block) {
            self.due.remove(block);
        }
    }

    /// Has a block restored once enough of it is there, and its hash is known.
    fn restore(&mut self, block: u32) {
        if block > 0 && !self.is_verified(0) {
            return;
        }
        let Block::Filling(have) = &mut self.blocks[block as usize] else { return };
        if have.len() >= self.layout.sources(block) {
            let have = std::mem::replace(have, SymbolSet::new(0));
            self.blocks[block as usize] = Block::Restoring;
            self.restoring += 1;
            self.due.remove(block);
            self.outputs.push_back(Output::Restore { block, have });
        }
    }

    fn restore_all(&mut self) {
        (0..self.layout.blocks()).for_each(|block| self.restore(block));
    }

    fn restored(&mut self, now: Instant, block: u32, fits: bool, repaired: u16) {
        if !matches!(self.blocks.get(block as usize), Some(Block::Restoring)) {
            return;
        }
        if fits {
            self.repaired = self.repaired.saturating_add(repaired.into());
            self.verify(block);
            if block == 0 {
                self.restore_all();
            }
            self.finish_when_done();
        } else {
            (self.held, self.restoring) = (self.held - 1, self.restoring - 1);
            self.blocks[block as usize] = Block::Empty;
            if block < self.frontier {
                self.become_due(now, block, None);
            }
        }
    }

    /// Keeps a block that is not what was signed, and asks for what its symbols should be.
    fn spoil(&mut self, now: Instant, block: u32, have: SymbolSet) {
        if !matches!(self.blocks.get(block as usize), Some(Block::Restoring)) {
            return;
        }
        self.restoring -= 1;
        self.blocks[block as usize] = Block::Suspect(Suspect::new(have, self.layout.symbols(block)));
        self.suspects.insert(block);
        if let Some(report_at) = self.report_at {
            let soon = now + self.dice.within(spread(self.group.size).min(JOIN));
            self.report_at = Some(report_at.min(soon));
        }
    }

    /// Throws away what was forged, once all symbols of a block were compared.
    fn compare(&mut self, now: Instant, block: u32, (first, count): (u16, u16), sound: &SymbolSet) {
        let Some(Block::Suspect(suspect)) = self.blocks.get_mut(block as usize) else { return };
        suspect.compare(first, count, sound);
        let Some(sound) = suspect.verdict() else { return };
        self.blocks[block as usize] = Block::Filling(sound);
        self.suspects.remove(&block);
        if block < self.frontier {
            self.become_due(now, block, None);
        }
        self.restore(block);
    }

    fn verify(&mut self, block: u32) {
        match self.blocks.get(block as usize) {
            None | Some(Block::Verified) => return,
            Some(Block::Restoring) => (self.held, self.restoring) = (self.held - 1, self.restoring - 1),
            Some(Block::Filling(_)) => self.held -= 1,
            Some(Block::Suspect(_)) => {
                self.held -= 1;
                self.suspects.remove(&block);
            }
            Some(Block::Empty) => {}
        }
        self.blocks[block as usize] = Block::Verified;
        self.due.remove(block);
        self.verified += 1;
        while self.is_verified(self.below) {
            self.below += 1;
        }
    }

    fn finish_when_done(&mut self) {
        if self.verified == self.layout.blocks() && self.state == State::Receiving {
            self.outputs.push_back(Output::Finish);
        }
    }

    fn take_mark(&mut self, now: Instant, mark: &Mark) {
        let grtt = mark.grtt.clamp(crate::sender::GRTT_LEAST, crate::sender::GRTT_MOST);
        self.group = Group { grtt, size: mark.group, loss: mark.loss };
        let begins = mark.tail && !self.tail;
        self.tail = mark.tail;
        self.advance(now, mark.frontier, Some(mark));
        if begins {
            // What was deferred can now be asked for.
            for block in self.below..self.frontier {
                self.become_due(now, block, None);
            }
            self.watch_room(now);
        }
        for entry in &mark.entries {
            self.take_entry(now, *entry);
        }
    }

    /// Notes that every block below `frontier` is out.
    fn advance(&mut self, now: Instant, frontier: u32, mark: Option<&Mark>) {
        let frontier = frontier.min(self.layout.blocks());
        let passed = self.frontier..frontier;
        self.frontier = self.frontier.max(frontier);
        for block in passed {
            let entry = mark.and_then(|mark| mark.entries.iter().find(|entry| entry.block == block));
            self.become_due(now, block, entry.map(|entry| entry.sent));
        }
    }

    fn become_due(&mut self, now: Instant, block: u32, sent: Option<u32>) {
        if self.may_ask(block) && !self.due.contains(block) {
            let wait = Wait::Speak(now + self.back_off(block, sent));
            self.due.insert(block, Due { wait, sent, asked: 0, since: now });
        }
    }

    fn take_entry(&mut self, now: Instant, entry: MarkEntry) {
        let Some(due) = self.due.get(entry.block) else { return };
        let quiet = Wait::Quiet(now + 2 * self.group.grtt);
        let more = due.sent.is_none_or(|sent| entry.sent > sent);
        let may_hush = now < due.since + LAPSE * self.group.grtt;
        let wait = if entry.heard >= self.deficit(entry.block) {
            if may_hush { quiet } else { due.wait }
        } else if more && entry.heard == 0 && matches!(due.wait, Wait::Quiet(_)) {
            // The answer is out, and was not enough.
            Wait::Speak(now + self.back_off(entry.block, Some(entry.sent)))
        } else {
            due.wait
        };
        self.due.insert(entry.block, Due { wait, sent: Some(entry.sent), ..due });
    }

    /// Whether the block is missing, and one that may be asked for now: what is missing mostly waits for the tail.
    fn may_ask(&self, block: u32) -> bool {
        let have = match self.blocks.get(block as usize) {
            Some(Block::Empty) => 0,
            Some(Block::Filling(have)) => have.len(),
            _ => return false,
        };
        let sources = self.layout.sources(block);
        block < self.frontier && have < sources && (self.tail || block == 0 || have >= sources / 2)
    }

    /// How many symbols a block lacks.
    fn deficit(&self, block: u32) -> u16 {
        let sources = self.layout.sources(block);
        match self.blocks.get(block as usize) {
            Some(Block::Empty) => sources,
            Some(Block::Filling(have)) => sources.saturating_sub(have.len()),
            _ => 0,
        }
    }

    fn back_off(&mut self, block: u32, sent: Option<u32>) -> Duration {
        let came = self.layout.sources(block).saturating_sub(self.deficit(block));
        let all = u32::from(self.layout.symbols(block));
        let share = Share { sent: sent.filter(|sent| *sent <= all), came };
        self.group.wait(share, &mut self.dice)
    }

    fn is_asking(&self) -> bool {
        self.state == State::Receiving && self.report_at.is_some() && (self.tail || !self.demoted)
    }

    /// Asks once the wait of a block is over, and then for all that nobody has asked for.
    fn ask(&mut self, now: Instant) {
        for block in self.due.lapsed(now) {
            let Some(due) = self.due.get(block) else { continue };
            let wait = Wait::Speak(now + self.back_off(block, due.sent));
            self.due.insert(block, Due { wait, ..due });
        }
        if !self.due.is_time_to_speak(now) {
            return;
        }
        let mut deficits = Vec::new();
        for block in self.due.speaking().into_iter().take(DEFICITS_LIMIT) {
            let Some(due) = self.due.get(block) else { continue };
            deficits.push(Deficit { block, symbols: self.deficit(block) });
            // What a sender has much of to send is not asked for again and again.
            let quiet = 2 * self.group.grtt * (1 << due.asked.min(PATIENCE));
            self.due.insert(block, Due { wait: Wait::Quiet(now + quiet), asked: due.asked + 1, ..due });
        }
        self.say(now, deficits);
    }

    fn report(&mut self, now: Instant) {
        self.say(now, Vec::new());
        let pause = if self.state == State::Complete {
            self.told += 1;
            TELL * (1 << self.told.min(5))
        } else {
            period(self.group.size)
        };
        self.report_at = Some(now + pause.mul_f64(0.75 + 0.5 * self.dice.share()));
        if self.told == TELLINGS {
            self.end();
        }
    }

    fn say(&mut self, now: Instant, deficits: Vec<Deficit>) {
        self.sequence += 1;
        self.outputs.push_back(Output::Say(Feedback {
            seen: self.seen,
            held: now.saturating_duration_since(self.heard),
            sequence: self.sequence,
            state: self.state,
            full: self.full,
            loss: self.meter.loss(),
            overruns: self.overruns.saturating_add(self.crowded),
            below: self.below,
            verified: self.verified,
            repaired: self.repaired,
            spoilt: self.suspects.first().copied(),
            label: self.config.label.clone(),
            deficits,
        }));
    }

    fn rejoin(&mut self, now: Instant) {
        if now.saturating_duration_since(self.heard) >= GIVE_UP {
            return self.end();
        }
        self.rejoined += 1;
        self.rejoin_at = now + STALL * (1 << self.rejoined.min(3));
        self.outputs.push_back(Output::Rejoin);
    }

    fn end(&mut self) {
        self.over = true;
        self.report_at = None;
        self.outputs.push_back(Output::Over { complete: self.state == State::Complete });
    }
}

/// Before a mark has said what it is.
const GRTT_FIRST: Duration = Duration::from_millis(10);
/// Receivers that hear an announcement do not all answer at once.
const JOIN: Duration = Duration::from_millis(20);
/// Silence after which a switch may have forgotten that this receiver is in the group.
const STALL: Duration = Duration::from_secs(3);
/// Silence of a sender that says something ten times a second while anybody needs anything, and twice otherwise.
const DESERTED: Duration = Duration::from_secs(2);
/// Silence after which a sender will not come back to this session.
const GIVE_UP: Duration = Duration::from_secs(600);
/// One part in so many of the window is for what is on its way when a receiver says that it is full.
const SPARE: usize = 3;
/// Round trips for which marks keep a receiver silent while no symbol comes: who forges marks silences nobody for longer.
const LAPSE: u32 = 32;
/// Doublings of the wait for an answer.
const PATIENCE: u32 = 6;
/// Between the first times that completion is told.
const TELL: Duration = Duration::from_millis(50);
/// How often it is told to a sender that does not answer.
const TELLINGS: u32 = 12;

#[cfg(test)]
mod tests;
