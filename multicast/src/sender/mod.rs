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
mod distrust;
mod grtt;
mod output;
mod rate;

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::announcement::Phase;
use crate::feedback::{Feedback, State};
use crate::id::ReceiverId;
use crate::layout::Layout;
use crate::mark::{ENTRIES_LIMIT, Mark, MarkEntry};
use crate::packet::{NUMBER_LIMIT, SYMBOL_OVERHEAD};
use crate::tags::TAGS_LIMIT;

pub use audience::{MEMBERS_LIMIT, Member, STRIKES, STUCK};
pub use config::Config;
pub use grtt::{GRTT_LEAST, GRTT_MOST};
pub use output::{Event, Output};

use announcer::Announcer;
use audience::{Audience, News};
use book::Book;
use busy::Busy;
use distrust::Distrust;
use grtt::Grtt;
use rate::{BURST, Rate, Signals};

/// Brings one object to a group.
#[derive(Debug)]
pub struct Sender {
    config: Config,
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
    mark_at: Instant,
    marked: Instant,
    /// Marks since the last symbol.
    silent_marks: u32,
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
        let books = usize::try_from(layout.blocks()).expect("a block's number has 24 bits");
        Self {
            rate: Rate::new(config.cap),
            // What is inline has gone out with the first announcement.
            frontier: if config.inline { layout.blocks() } else { 0 },
            config,
            layout,
            books: vec![Book::default(); books],
            owing: BTreeSet::new(),
            recent: VecDeque::new(),
            opened: None,
            audience: Audience::default(),
            full: false,
            grtt: Grtt::new(),
            busy: Busy::default(),
            number: 0,
            announcer: Announcer::new(now),
            distrust: Distrust::default(),
            last_request: now,
            last_feedback: now,
            mark_at: now + HEARTBEAT,
            marked: now,
            silent_marks: 0,
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
            News::Completed => self.outputs.push_back(Output::Event(Event::Completed(receiver))),
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
        if now >= self.mark_at {
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
        let due = announce_at.min(self.mark_at);
        Some(if self.is_busy() { due.min(self.burst_at) } else { due })
    }

    /// The receivers that were heard.
    pub fn members(&self) -> impl Iterator<Item = (ReceiverId, &Member)> {
        self.audience.iter()
    }

    /// Blocks that went out in full.
    pub const fn frontier(&self) -> u32 {
        self.frontier
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
        } else if phase == Phase::Open && sequence < REPEATS && self.is_small() {
            self.owe_everything();
        }
    }

    /// Small objects go out at once, with the first announcements, before anybody asks.
    fn is_small(&self) -> bool {
        !self.config.inline && self.layout.total_sources() <= SMALL
    }

    fn owe_everything(&mut self) {
        for block in 0..self.layout.blocks() {
            self.owe(block, self.layout.sources(block).into());
        }
        self.opened = None;
        self.frontier = self.layout.blocks();
    }

    fn owe(&mut self, block: u32, symbols: u32) {
        let Some(book) = self.books.get_mut(block as usize) else { return };
        book.owed = book.owed.max(symbols);
        self.owing.insert(block);
    }

    /// Lets the blocks that the receiver asks for owe what it needs.
    fn serve(&mut self, now: Instant, receiver: ReceiverId) {
        let Some(member) = self.audience.member(receiver) else { return };
        if member.demoted && (!self.is_tail() || self.audience.is_first_wanting(now)) {
            return;
        }
        let deviations = if self.is_crowd() { 1.0 } else { 0.0 };
        let (seen, loss) = (member.said.seen, member.said.loss.or(self.audience.loss(now)));
        let (mut is_news, mut asked) = (false, false);
        for deficit in &member.said.deficits {
            if deficit.block >= self.frontier || deficit.symbols == 0 {
                continue;
            }
            let Some(book) = self.books.get_mut(deficit.block as usize) else { continue };
            let symbols = deficit.symbols.min(self.layout.sources(deficit.block));
            let wanted = loss.map_or(symbols.into(), |loss| loss.inflate(symbols, deviations));
            let idle = book.owed == 0;
            is_news |= book.ask(symbols, wanted, seen);
            if book.owed > 0 {
                self.owing.insert(deficit.block);
                self.counts.rounds += u64::from(idle);
            }
            asked = true;
        }
        self.counts.requests += u64::from(asked);
        if is_news {
            self.mark_at = self.mark_at.min((self.marked + MARK_GAP).max(now));
        }
    }

    /// Owes nothing any more of blocks that everybody has.
    fn drop_unneeded(&mut self, now: Instant) {
        let needed = self.audience.first_needed(now).unwrap_or(self.layout.blocks());
        while let Some(block) = self.owing.first().copied().filter(|block| *block < needed) {
            self.books[block as usize].owed = 0;
            self.settle(now, block);
        }
    }

    /// Opens the next block once nothing is owed and somebody needs it.
    fn advance(&mut self, now: Instant) {
        let waits = self.full || self.opened.is_some() || !self.owing.is_empty();
        if waits || self.is_tail() || !self.announcer.is_open() {
            return;
        }
        let Some(needed) = self.audience.first_needed(now) else { return };
        self.frontier = self.frontier.max(needed.min(self.layout.blocks()));
        if self.is_tail() {
            self.mark_at = now;
            return;
        }
        let (block, deviations) = (self.frontier, if self.is_crowd() { 2.0 } else { 0.0 });
        let sources = self.layout.sources(block);
        let symbols =
            self.audience.loss(now).map_or(sources.into(), |loss| loss.inflate(sources, deviations));
        self.opened = Some(block);
        if self.distrust.is_roused() {
            self.distrust.note(now, block);
            self.tag(now, block);
        }
        self.owe(block, symbols);
        self.burst_at = self.burst_at.max(now);
    }

    /// Sends what is owed and due.
    fn burst(&mut self, now: Instant) {
        // Who was kept from sending catches up by no more than receivers can take at once.
        let late = CATCH_UP.max(self.rate.time_of(self.packet() * u64::from(BURST)));
        self.burst_at = self.burst_at.max(now.checked_sub(late).unwrap_or(now));
        while self.burst_at <= now {
            let Some(block) = self.next_block() else { return };
            let Some(bytes) = self.send(now, block) else { return };
            self.burst_at += self.rate.time_of(bytes);
            if self.owing.is_empty() {
                self.advance(now);
            }
        }
    }

    /// The catalogue, without which nobody can verify anything; else the lowest block that owes little, so that who
    /// misses little is done soon; else the lowest for which there is room.
    fn next_block(&self) -> Option<u32> {
        let owes_little = |block: &&u32| {
            **block == 0 || self.books[**block as usize].owed < u32::from(self.layout.sources(**block) / 2)
        };
        let has_room = |block: &&u32| !self.full || !self.is_tail() && self.opened != Some(**block);
        let mut owing = self.owing.iter();
        self.owing.iter().find(owes_little).or_else(|| owing.find(has_room)).copied()
    }

    /// Sends the next symbols of a block; says how many bytes they were.
    fn send(&mut self, now: Instant, block: u32) -> Option<u64> {
        let packet = self.packet();
        let book = self.books.get(block as usize)?;
        let (esi, run) = book.next(self.layout.symbols(block));
        let burst = self.rate.burst(packet).min(run);
        let count = u16::try_from(book.owed).map_or(burst, |owed| owed.min(burst));
        if count == 0 {
            self.owing.remove(&block);
            return Some(0);
        }
        let number = self.number(now, count.into())?;
        let last = number + u64::from(count) - 1;
        let book = &mut self.books[block as usize];
        book.went_out(count, last);
        let done = book.owed == 0;
        self.silent_marks = 0;
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
        self.mark(now);
    }

    fn mark(&mut self, now: Instant) {
        (self.marked, self.mark_at) = (now, now + self.mark_pause(now));
        self.silent_marks += 1;
        // Who said that it is full and nothing since does not hold the others up for ever.
        self.full = self.audience.is_full(now);
        let Some(number) = self.number(now, 1) else { return };
        let settled = self.recent.iter().rev().filter(|block| !self.owing.contains(block));
        let blocks = settled.chain(self.owing.iter().filter(|block| self.opened != Some(**block)));
        let entry = |block: &u32| {
            let book = self.books[*block as usize];
            MarkEntry { block: *block, sent: book.sent, heard: book.heard }
        };
        let mark = Mark {
            tail: self.is_tail(),
            frontier: self.frontier,
            grtt: self.grtt.estimate(),
            group: u32::try_from(self.audience.len()).unwrap_or(u32::MAX),
            loss: self.audience.loss(now),
            entries: blocks.take(ENTRIES_LIMIT).map(entry).collect(),
        };
        self.outputs.push_back(Output::Mark { number, mark });
    }

    /// How long until the next mark. Once nothing else goes out they come fast at first: who lost one waits for it.
    fn mark_pause(&self, now: Instant) -> Duration {
        if !self.audience.is_wanting(now) {
            return 5 * HEARTBEAT;
        }
        let soon = self.grtt.estimate() * (1 << self.silent_marks.min(6));
        if self.owing.is_empty() { HEARTBEAT.min(soon) } else { HEARTBEAT }
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
            None => self.owing.is_empty() && unasked >= self.config.linger,
        };
        if done {
            self.stop(now);
        }
    }

    /// Whether there is something to send, and somebody has room for it.
    fn is_busy(&self) -> bool {
        self.next_block().is_some()
    }

    /// Bytes of a symbol's packet.
    fn packet(&self) -> u64 {
        u64::from(self.layout.symbol()) + SYMBOL_OVERHEAD as u64
    }

    /// Whether every block went out in full once.
    fn is_tail(&self) -> bool {
        self.frontier >= self.layout.blocks()
    }

    /// Whether there are so many receivers that somebody will miss more than most.
    fn is_crowd(&self) -> bool {
        self.audience.len() >= CROWD
    }
}

/// Announcements that take a small object along.
const REPEATS: u32 = 4;
/// Source symbols of a small object.
const SMALL: u64 = 64;
/// Marks while somebody needs something.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// Between marks that say what was heard.
const MARK_GAP: Duration = Duration::from_micros(500);
/// What a sender that was kept waiting makes up for at once; or a burst, where that takes longer.
const CATCH_UP: Duration = Duration::from_millis(2);
/// Settled blocks that a mark speaks of.
const RECENT: usize = 16;
/// From here on two deviations of parity are needed by somebody anyway.
const CROWD: usize = 100;
