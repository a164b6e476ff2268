//! The sender's decisions: what goes out next, and when.
//!
//! ```text
//!             first request                    frontier at the end         as many complete as expected, or idle
//! Announcing ───────────────▶ Sending (owed) ─────────────────▶ Tail (owed) ────────────────▶ Ended
//! ```
//! It keeps the book; the bytes are the driver's. Every packet's number is given out here, so that each is used once.

mod announcer;
mod audience;
mod book;
mod busy;
mod config;
mod debts;
mod distrust;
mod grtt;
mod marks;
mod medium;
mod output;
mod rate;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::announcement::Phase;
use crate::feedback::{Feedback, State};
use crate::id::ReceiverId;
use crate::layout::Layout;
use crate::mark::Mark;
use crate::packet::{NUMBER_LIMIT, SYMBOL_OVERHEAD};
use crate::tags::TAGS_LIMIT;

pub use audience::{MEMBERS_LIMIT, Member, STRIKES, STUCK};
pub use config::Config;
pub use grtt::{GRTT_LEAST, GRTT_MOST};
pub use output::{Event, Output};

use announcer::Announcer;
use audience::{Audience, News};
use busy::Busy;
use debts::Debts;
use distrust::Distrust;
use grtt::Grtt;
use marks::{HEARTBEAT, Marks};
use rate::{BURST, Rate, Signals};

/// Brings one object to a group.
#[derive(Debug)]
pub struct Sender {
    config: Config,
    layout: Layout,
    debts: Debts,
    audience: Audience,
    /// Whether receivers have no room for another block.
    full: bool,
    grtt: Grtt,
    rate: Rate,
    busy: Busy,
    /// Number of the last packet.
    number: u64,
    announcer: Announcer,
    distrust: Distrust,
    last_request: Instant,
    last_feedback: Instant,
    marks: Marks,
    burst_at: Instant,
    counts: Counts,
    outputs: VecDeque<Output>,
}

/// What went out so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Symbols.
    pub symbols: u64,
    /// Requests that were answered.
    pub requests: u64,
    /// Times that a block had to send more because somebody asked.
    pub rounds: u64,
}

impl Sender {
    /// Begins a session.
    pub fn new(now: Instant, config: Config, layout: Layout) -> Self {
        // What is inline has gone out with the first announcement.
        let frontier = if config.inline { layout.blocks() } else { 0 };
        Self {
            rate: Rate::new(config.cap),
            debts: Debts::new(layout, frontier),
            config,
            layout,
            audience: Audience::default(),
            full: false,
            grtt: Grtt::new(),
            busy: Busy::default(),
            number: 0,
            announcer: Announcer::new(now),
            distrust: Distrust::default(),
            last_request: now,
            last_feedback: now,
            marks: Marks::new(now),
            burst_at: now,
            counts: Counts::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes in what a receiver says; the driver has made sure that it is that receiver's.
    pub fn handle_feedback(&mut self, now: Instant, receiver: ReceiverId, mut said: Feedback) {
        if self.announcer.is_over() {
            return;
        }
        // A member of the group can have told the receiver of packets that are not out yet.
        said.seen = said.seen.min(self.number);
        let (seen, held, state, spoilt) = (said.seen, said.held, said.state, said.spoilt);
        let news = self.audience.hear(now, receiver, said);
        if state == State::Complete {
            // Also when it was heard before: the last receipt may be lost.
            self.outputs.push_back(Output::Receipt(receiver));
        }
        match news {
            News::Stale => return,
            News::Joined => self.outputs.push_back(Output::Event(Event::Joined(receiver))),
            News::Completed => {
                self.outputs.push_back(Output::Event(Event::Completed(receiver)));
                self.rate.forget();
            }
            News::Demoted => {
                self.outputs.push_back(Output::Event(Event::Demoted(receiver)));
                self.announcer.demote(now, receiver);
            }
            News::More => {}
        }
        self.last_feedback = now;
        self.grtt.heard(now, seen, held);
        if state == State::Receiving {
            self.last_request = now;
        }
        self.full = self.audience.is_full(now);
        self.drop_unneeded(now);
        self.serve(now, receiver);
        if let Some(block) = spoilt.filter(|block| *block < self.layout.blocks())
            && self.distrust.hear(now, block)
        {
            self.tag(now, block);
        }
        self.advance(now);
        self.busy.look(now, self.is_busy());
    }

    /// Ends the session.
    pub fn stop(&mut self, now: Instant) {
        self.announcer.stop(now);
    }

    /// Sends whatever it is time for.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.announcer.due().is_some_and(|due| due <= now) {
            self.announce(now);
        }
        if !self.announcer.is_open() {
            return;
        }
        self.adapt(now);
        self.burst(now);
        if now >= self.marks.due() {
            self.mark(now);
        }
        self.advance(now);
        self.busy.look(now, self.is_busy());
        self.end_when_done(now);
    }

    /// Takes the next thing to do; `None` once there is nothing more to do now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Sender::handle_timeout`] at the latest; `None` once the session is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let announce_at = self.announcer.due()?;
        if !self.announcer.is_open() {
            return Some(announce_at);
        }
        let due = announce_at.min(self.marks.due());
        Some(if self.is_busy() { due.min(self.burst_at) } else { due })
    }

    /// The receivers that were heard.
    pub fn members(&self) -> impl Iterator<Item = (ReceiverId, &Member)> {
        self.audience.iter()
    }

    /// Blocks that went out in full.
    pub const fn frontier(&self) -> u32 {
        self.debts.frontier()
    }

    /// What went out.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// The rate in bits a second.
    pub const fn rate(&self) -> f64 {
        self.rate.bits()
    }

    fn announce(&mut self, now: Instant) {
        let Some(number) = self.number(now, 1) else { return };
        let (sequence, phase) = self.announcer.announce(now);
        let demoted = self.announcer.demoted();
        self.outputs.push_back(Output::Announce { number, sequence, phase, demoted });
        if self.announcer.is_over() {
            self.outputs.push_back(Output::Event(Event::Over));
        } else if phase == Phase::Open && sequence < REPEATS && self.goes_along() {
            self.debts.owe_everything();
        } else {
            self.debts.stop_repeating();
        }
    }

    /// Small objects go out at once, with the first announcements, before anybody asks.
    fn goes_along(&self) -> bool {
        let is_small = !self.config.inline && self.layout.total_sources() <= SMALL;
        is_small && self.counts.symbols < UNASKED
    }

    /// Lets the blocks that the receiver asks for owe what it needs.
    fn serve(&mut self, now: Instant, receiver: ReceiverId) {
        let Some(member) = self.audience.member(receiver) else { return };
        if member.is_deferred() && (!self.debts.is_tail() || self.audience.is_first_wanting(now)) {
            return;
        }
        let deviations = if self.is_crowd() { 1.0 } else { 0.0 };
        let (seen, loss) = (member.said.seen, member.said.loss.or(self.audience.loss(now)));
        let (mut is_news, mut asked) = (false, false);
        for deficit in &member.said.deficits {
            let symbols = deficit.symbols.min(self.layout.sources(deficit.block));
            let wanted = loss.map_or(symbols.into(), |loss| loss.inflate(symbols, deviations));
            let Some(new) = self.debts.ask(deficit.block, symbols, wanted, seen) else { continue };
            is_news |= new.is_news;
            self.counts.rounds += u64::from(new.begins);
            asked = true;
        }
        self.counts.requests += u64::from(asked);
        if is_news {
            self.marks.answer(now);
        }
    }

    /// Owes nothing any more of blocks that everybody has.
    fn drop_unneeded(&mut self, now: Instant) {
        let needed = self.audience.first_needed(now).unwrap_or(self.layout.blocks());
        while let Some(block) = self.debts.first().filter(|block| *block < needed) {
            self.settle(now, block);
        }
    }

    /// Opens the next block once nothing is owed and somebody needs it.
    fn advance(&mut self, now: Instant) {
        let waits = self.full || self.debts.is_open() || !self.debts.is_empty();
        if waits || self.debts.is_tail() || !self.announcer.is_open() {
            return;
        }
        let Some(needed) = self.audience.first_needed(now) else { return };
        self.debts.skip_to(needed);
        if self.debts.is_tail() {
            self.marks.hurry(now);
            return;
        }
        let (block, deviations) = (self.debts.frontier(), if self.is_crowd() { 2.0 } else { 0.0 });
        let sources = self.layout.sources(block);
        let symbols =
            self.audience.loss(now).map_or(sources.into(), |loss| loss.inflate(sources, deviations));
        self.debts.open(symbols);
        if self.distrust.is_roused() {
            self.distrust.note(now, block);
            self.tag(now, block);
        }
        self.burst_at = self.burst_at.max(now);
    }

    /// Sends what is owed and due.
    fn burst(&mut self, now: Instant) {
        // Who was kept from sending catches up by no more than receivers can take at once.
        let late = CATCH_UP.max(self.rate.time_of(self.packet() * u64::from(BURST)));
        self.burst_at = self.burst_at.max(now.checked_sub(late).unwrap_or(now));
        while self.burst_at <= now {
            let Some(block) = self.debts.next(self.full) else { return };
            let Some(bytes) = self.send(now, block) else { return };
            self.burst_at += self.rate.time_of(bytes);
            if self.debts.is_empty() {
                self.advance(now);
            }
        }
    }

    /// Sends the next symbols of a block; says how many bytes they were.
    fn send(&mut self, now: Instant, block: u32) -> Option<u64> {
        let packet = self.packet();
        let (esi, count) = self.debts.run(block, self.rate.burst(packet));
        let number = self.number(now, count.into())?;
        let done = self.debts.went_out(block, count, number + u64::from(count) - 1);
        self.marks.symbol_went_out();
        self.counts.symbols += u64::from(count);
        self.busy.sent(packet * u64::from(count));
        self.outputs.push_back(Output::Symbols { number, block, esi, count });
        if done {
            self.settle(now, block);
        }
        Some(packet * u64::from(count))
    }

    /// Says what every symbol of a block is.
    fn tag(&mut self, now: Instant, block: u32) {
        let all = self.layout.symbols(block);
        for first in (0..all).step_by(TAGS_LIMIT.into()) {
            let Some(number) = self.number(now, 1) else { return };
            let count = (all - first).min(TAGS_LIMIT);
            self.outputs.push_back(Output::Tags { number, block, first, count });
            self.burst_at += self.rate.time_of(self.packet());
        }
    }

    /// Everything a block owed is out: says so.
    fn settle(&mut self, now: Instant, block: u32) {
        self.debts.settle(block);
        self.mark(now);
    }

    fn mark(&mut self, now: Instant) {
        self.marks.went_out(now, self.mark_pause(now));
        // Who said that it is full and nothing since does not hold the others up for ever.
        self.full = self.audience.is_full(now);
        let Some(number) = self.number(now, 1) else { return };
        let mark = Mark {
            tail: self.debts.is_tail(),
            frontier: self.debts.frontier(),
            grtt: self.grtt.estimate(),
            group: u32::try_from(self.audience.len()).unwrap_or(u32::MAX),
            loss: self.audience.loss(now),
            entries: self.debts.entries(),
        };
        self.outputs.push_back(Output::Mark { number, mark });
    }

    /// How long until the next mark.
    fn mark_pause(&self, now: Instant) -> Duration {
        match self.audience.is_wanting(now) {
            true => self.marks.pause(self.debts.is_empty(), self.grtt.estimate()),
            false => 5 * HEARTBEAT,
        }
    }

    /// Gives out `count` packet numbers and returns the first; a session that has used them all ends.
    fn number(&mut self, now: Instant, count: u64) -> Option<u64> {
        let first = self.number + 1;
        if first + count >= NUMBER_LIMIT {
            self.announcer.give_up();
            self.outputs.push_back(Output::Event(Event::Over));
            return None;
        }
        self.number += count;
        self.grtt.sent(now, self.number);
        Some(first)
    }

    fn adapt(&mut self, now: Instant) {
        if self.is_busy() && self.rate.is_due(now) {
            self.busy.look(now, true);
            let signals = Signals {
                overrun: self.audience.overran(),
                queue: self.grtt.queue(),
                loss: self.audience.loss(now).map(crate::loss::Loss::share),
                achieved: self.busy.achieved(),
            };
            self.rate.step(now, signals);
        }
    }

    fn end_when_done(&mut self, now: Instant) {
        let silent = now.saturating_duration_since(self.last_feedback);
        let unasked = now.saturating_duration_since(self.last_request);
        let done = match self.config.expect {
            Some(expected) => {
                self.audience.count(State::Complete) >= expected as usize || silent >= self.config.patience
            }
            None => self.debts.is_empty() && unasked >= self.config.linger,
        };
        if done {
            self.stop(now);
        }
    }

    /// Whether there is something to send, and somebody has room for it.
    fn is_busy(&self) -> bool {
        self.debts.next(self.full).is_some()
    }

    /// Bytes of a symbol's packet.
    fn packet(&self) -> u64 {
        u64::from(self.layout.symbol()) + SYMBOL_OVERHEAD as u64
    }

    /// Whether there are so many receivers that somebody will miss more than most.
    fn is_crowd(&self) -> bool {
        self.audience.len() >= CROWD
    }
}

/// Announcements that take a small object along.
const REPEATS: u32 = 8;
/// Source symbols of a small object.
const SMALL: u64 = 64;
/// Symbols of a small object that go out before anybody asks: the largest four times, a policy with all of the announcements.
const UNASKED: u64 = 4 * SMALL;
/// What a sender that was kept waiting makes up for at once; or a burst, where that takes longer.
const CATCH_UP: Duration = Duration::from_millis(2);
/// From here on two deviations of parity are needed by somebody anyway.
const CROWD: usize = 100;
