//! A receiver's decisions: which symbols to keep, when to restore a block, what to ask for.
//!
//! ```text
//! block: Empty ─symbol─▶ Filling ─k symbols─▶ Restoring ─hash fits─▶ Verified
//!          ▲── evicted ─────┘ ▲                    └─hash does not fit─▶ Suspect
//!                             └────── forged symbols thrown away by tags ───┘
//! due:   Quiet (somebody asked) ─2 GRTT without a symbol─▶ Speak ─back-off over─▶ feedback ─▶ Quiet
//! ```
//! It keeps the book; the bytes are the driver's.

mod asking;
mod backoff;
mod blocks;
mod config;
mod due;
mod output;
mod reports;
mod room;
mod silence;
mod suspect;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::dice::Dice;
use crate::feedback::{Deficit, Feedback, State};
use crate::layout::Layout;
use crate::loss::LossMeter;
use crate::symbols::SymbolSet;

pub use backoff::BACKOFF;
pub use config::{Config, WINDOW};
pub use output::{Input, Output};

use asking::Asking;
use blocks::{Blocks, NoRoom};
use reports::Reports;
use room::Room;
use silence::Silence;

/// Takes one object of one session.
#[derive(Debug)]
pub struct Receiver {
    config: Config,
    layout: Layout,
    blocks: Blocks,
    repaired: u32,
    state: State,
    asking: Asking,
    demoted: bool,
    meter: LossMeter,
    seen: u64,
    silence: Silence,
    room: Room,
    sequence: u32,
    reports: Reports,
    over: bool,
    outputs: VecDeque<Output>,
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
        Self {
            asking: Asking::new(now, layout, Dice::new(config.seed)),
            blocks: Blocks::new(layout, config.window),
            config,
            layout,
            repaired: 0,
            state: State::Receiving,
            demoted: false,
            meter: LossMeter::default(),
            seen: 0,
            silence: Silence::new(now),
            room: Room::default(),
            sequence: 0,
            reports: Reports::default(),
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
        self.asking.advance(now, run.block.saturating_sub(1), None, &self.blocks);
        if !self.keep(now, run) {
            return false;
        }
        self.asking.came(now, run.block);
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
                if self.asking.take_mark(now, &mark, &self.blocks) {
                    self.watch_room(now);
                }
            }
            Input::Receipt if self.state == State::Complete => self.end(),
            Input::Receipt => {}
            Input::Resumed(blocks) => {
                blocks.into_iter().for_each(|block| self.verify(block));
                self.restore_all();
                self.reports.at(now + self.asking.within(JOIN));
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
                self.reports.at(now + self.asking.jitter(Duration::MAX));
            }
            Input::Failed => {
                self.state = State::Failed;
                self.reports.at(now);
            }
            Input::Retry if self.state == State::Failed => {
                self.state = State::Receiving;
                self.reports.at(now);
                self.finish_when_done();
            }
            Input::Retry => {}
            Input::Overruns(overruns) => self.room.overran(overruns),
            Input::Backlog(share) => self.weigh(now, share),
        }
    }

    /// Asks, reports, or rejoins when it is time to.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.over {
            return;
        }
        if now >= self.silence.poll_timeout() {
            self.listen(now);
        }
        if self.reports.due().is_some_and(|due| due <= now) {
            self.report(now);
        }
        if self.is_asking()
            && let Some(deficits) = self.asking.ask(now, &self.blocks)
        {
            self.say(now, deficits);
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
        let due = if self.is_asking() { self.asking.poll_timeout() } else { None };
        [Some(self.silence.poll_timeout()), self.reports.due(), due].into_iter().flatten().min()
    }

    /// Blocks that are verified.
    pub const fn verified(&self) -> u32 {
        self.blocks.verified()
    }

    /// Whether a block is.
    pub fn is_verified(&self, block: u32) -> bool {
        self.blocks.is_verified(block)
    }

    /// Symbols that were restored.
    pub const fn repaired(&self) -> u32 {
        self.repaired
    }

    /// Whether nothing was heard for so long that the sender must have gone.
    pub fn is_deserted(&self, now: Instant) -> bool {
        self.silence.lasts(now) >= DESERTED
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
        let was_missed = self.silence.is_new();
        self.silence.end(now);
        if was_missed {
            self.watch_room(now);
        }
    }

    /// Notes the symbols of a run; says whether any was new, and there is room for it.
    fn keep(&mut self, now: Instant, run: Run) -> bool {
        if self.blocks.is_empty(run.block) {
            match self.blocks.open(run.block, self.asking.deferred()) {
                Ok(given_up) => given_up.into_iter().for_each(|block| self.give_up(now, block)),
                Err(NoRoom) => {
                    self.room.crowd_out(run.count);
                    return false;
                }
            }
            self.watch_room(now);
        }
        self.blocks.insert(run)
    }

    /// Tells the sender soon that there is hardly any room, and when there is some again.
    fn watch_room(&mut self, now: Instant) {
        let full = self.is_full();
        if self.reports.have_begun() && self.room.note(full) {
            self.reports.by(now + self.asking.jitter(JOIN));
        }
    }

    /// Tells the sender at once that much waits in the socket's buffer, or little: it fills within milliseconds.
    fn weigh(&mut self, now: Instant, backlog: f64) {
        if !self.room.weigh(backlog) || !self.is_taking() {
            return;
        }
        let full = self.is_full();
        if self.room.note(full) {
            self.report(now);
        }
    }

    /// Whether there is hardly any room: in the socket's buffer, or for another block. What does not come here has none
    /// either.
    fn is_full(&self) -> bool {
        let is_missed = self.room.is_backlogged() || self.silence.is_new();
        is_missed || self.blocks.is_full(self.room.is_full(), self.asking.is_tail(), self.asking.deferred())
    }

    fn give_up(&mut self, now: Instant, block: u32) {
        self.asking.give_up(now, block, &self.blocks);
        self.outputs.push_back(Output::Forget(block));
    }

    /// Has a block restored once enough of it is there, and its hash is known.
    fn restore(&mut self, block: u32) {
        if block > 0 && !self.is_verified(0) {
            return;
        }
        if let Some(have) = self.blocks.restore(block) {
            self.asking.remove(block);
            self.outputs.push_back(Output::Restore { block, have });
        }
    }

    fn restore_all(&mut self) {
        (0..self.layout.blocks()).for_each(|block| self.restore(block));
    }

    fn restored(&mut self, now: Instant, block: u32, fits: bool, repaired: u16) {
        if !self.blocks.is_restoring(block) {
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
            self.blocks.forget(block);
            self.asking.lost(now, block, &self.blocks);
        }
    }

    /// Keeps a block that is not what was signed, and asks for what its symbols should be.
    fn spoil(&mut self, now: Instant, block: u32, have: SymbolSet) {
        if !self.blocks.is_restoring(block) {
            return;
        }
        self.blocks.suspect(block, have);
        if self.reports.have_begun() {
            self.reports.by(now + self.asking.jitter(JOIN));
        }
    }

    /// Throws away what was forged, once all symbols of a block were compared.
    fn compare(&mut self, now: Instant, block: u32, symbols: (u16, u16), sound: &SymbolSet) {
        if !self.blocks.compare(block, symbols, sound) {
            return;
        }
        self.asking.lost(now, block, &self.blocks);
        self.restore(block);
    }

    fn verify(&mut self, block: u32) {
        self.blocks.verify(block);
        self.asking.remove(block);
    }

    fn finish_when_done(&mut self) {
        if self.verified() == self.layout.blocks() && self.state == State::Receiving {
            self.outputs.push_back(Output::Finish);
        }
    }

    /// Whether it takes symbols, and what was there before is known.
    fn is_taking(&self) -> bool {
        self.state == State::Receiving && self.reports.have_begun()
    }

    fn is_asking(&self) -> bool {
        self.is_taking() && (self.asking.is_tail() || !self.demoted)
    }

    fn report(&mut self, now: Instant) {
        self.say(now, Vec::new());
        let pause = self.reports.pause(self.state, self.asking.size());
        self.reports.at(now + pause.mul_f64(0.75) + self.asking.within(pause.mul_f64(0.5)));
        if self.reports.are_enough() {
            self.end();
        }
    }

    fn say(&mut self, now: Instant, deficits: Vec<Deficit>) {
        self.sequence += 1;
        self.outputs.push_back(Output::Say(Feedback {
            seen: self.seen,
            held: self.silence.lasts(now),
            sequence: self.sequence,
            state: self.state,
            full: self.room.is_full(),
            loss: self.meter.loss(),
            overruns: self.room.dropped(),
            below: self.blocks.below(),
            verified: self.verified(),
            repaired: self.repaired,
            spoilt: self.blocks.spoilt(),
            label: self.config.label.clone(),
            deficits,
        }));
    }

    /// Nothing comes: says so, and joins the group again where something should.
    fn listen(&mut self, now: Instant) {
        if self.silence.lasts(now) >= GIVE_UP {
            return self.end();
        }
        if self.silence.handle_timeout(now) && self.is_taking() {
            self.outputs.push_back(Output::Rejoin);
        }
        self.watch_room(now);
    }

    fn end(&mut self) {
        self.over = true;
        self.reports.end();
        self.outputs.push_back(Output::Over { complete: self.state == State::Complete });
    }
}

/// Receivers that hear an announcement do not all answer at once.
const JOIN: Duration = Duration::from_millis(20);
/// Silence of a sender that says something ten times a second while anybody needs anything, and twice otherwise.
const DESERTED: Duration = Duration::from_secs(2);
/// Silence after which a sender will not come back to this session.
const GIVE_UP: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests;
