//! The cores under any number of receivers in virtual time: the same seed gives the same history.
//!
//! Up to 32 receivers get real bytes, restore them and compare; more have books only, a few KiB each, kept by the very
//! same cores. Packets arrive after a millisecond; feedback is encoded and decoded as on the wire.

mod bytes;
mod insider;
mod link;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use crate::announcement::Phase;
use crate::dice::Dice;
use crate::feedback::{Feedback, State};
use crate::id::ReceiverId;
use crate::layout::Layout;
use crate::mark::Mark;
use crate::packet::SYMBOL_OVERHEAD;
use crate::receiver::{self, Receiver, Run};
use crate::sender::{self, Counts, Sender};
use crate::symbols::SymbolSet;

pub use insider::Insider;
pub use link::{Intake, Link, Pattern};

/// What is to happen.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Everything is drawn from it.
    pub seed: u64,
    /// The object.
    pub layout: Layout,
    /// The receivers.
    pub links: Vec<Link>,
    /// The sender.
    pub sender: sender::Config,
    /// Who forges symbols; only receivers with bytes can tell.
    pub insider: Option<Insider>,
    /// Who is killed and started again, and when.
    pub restarts: Vec<(Duration, Who)>,
    /// When the sender does not get the processor, and until when.
    pub stalls: Vec<(Duration, Duration)>,
    /// When to stop looking.
    pub end: Duration,
}

/// Somebody of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The sender, and so the session.
    Sender,
    /// A receiver.
    Receiver(usize),
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// When each receiver had all.
    pub completed: Vec<Option<Duration>>,
    /// What the last sender sent.
    pub counts: Counts,
    /// Symbols that all senders sent.
    pub symbols: u64,
    /// Symbols sent for each source symbol of the object.
    pub ratio: f64,
    /// Requests for symbols.
    pub requests: u64,
    /// Requests of each block's first round of repair, on average.
    pub requests_of_a_round: f64,
    /// Feedback packets of all kinds.
    pub feedback: u64,
    /// Bytes of them.
    pub feedback_bytes: u64,
    /// Blocks that were not what was sent.
    pub wrong: u64,
    /// When the session was over.
    pub ended: Option<Duration>,
}

impl Scenario {
    /// `receivers` that lose independently, an object of `length` bytes, until all have it.
    pub fn new(seed: u64, length: u64, receivers: usize, loss: f64) -> Self {
        let layout = Layout::new(4096, length, 22, 1408).expect("a usual layout");
        let link = Link { loss: Pattern::Independent(loss), ..Link::default() };
        let expect = u32::try_from(receivers).ok();
        Self {
            seed,
            layout,
            links: vec![link; receivers],
            sender: sender::Config { expect, cap: 1_000_000_000, ..sender::Config::default() },
            insider: None,
            restarts: Vec::new(),
            stalls: Vec::new(),
            end: Duration::from_secs(600),
        }
    }

    /// Lets it happen.
    pub fn run(&self) -> Outcome {
        let mut world = World::new(self);
        while let Some(Reverse(event)) = world.events.pop() {
            if event.when > world.start + self.end || (world.is_settled() && world.sender_is_over()) {
                break;
            }
            world.now = event.when;
            match world.stalls_until(&event.what) {
                Some(when) => world.schedule(when, event.what),
                None => world.happen(event.what),
            }
        }
        world.outcome()
    }
}

struct World<'a> {
    scenario: &'a Scenario,
    start: Instant,
    now: Instant,
    serial: u64,
    events: BinaryHeap<Reverse<Event>>,
    sender: Sender,
    session: u32,
    sender_due: Option<Instant>,
    stations: Vec<Station>,
    /// Runs of a packet that are not lost.
    runs: Vec<(u16, u16)>,
    content: Option<bytes::Content>,
    dice: Dice,
    past: Counts,
    feedback: u64,
    feedback_bytes: u64,
    wrong: u64,
    ended: Option<Duration>,
}

struct Station {
    receiver: Option<Receiver>,
    lane: link::Lane,
    due: Option<Instant>,
    /// Counts how often it was started.
    life: u32,
    verified: Vec<u32>,
    /// Symbols whose tags it knows.
    tagged: BTreeMap<u32, SymbolSet>,
    completed: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    when: Instant,
    serial: u64,
    what: What,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    SenderIsDue,
    ReceiverIsDue(usize),
    Group(u32, Packet),
    Taken(Taken),
    Feedback(u32, usize, Vec<u8>),
    Receipt(u32, usize),
    Written(Written),
    Forge,
    Restart(Who),
}

/// What a receiver takes from its socket's buffer, if it was not killed meanwhile: of symbols a run.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Taken {
    index: usize,
    life: u32,
    packet: Packet,
    run: (u16, u16),
}

/// A block that a receiver restored and wrote, if it was not killed meanwhile.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Written {
    index: usize,
    life: u32,
    block: u32,
    repaired: u16,
    fits: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Packet {
    Announcement { number: u64, ended: bool, demoted: Vec<ReceiverId> },
    Symbols { number: u64, block: u32, esi: u16, count: u16 },
    Mark { number: u64, body: Vec<u8> },
    Tags { block: u32, first: u16, count: u16 },
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let (start, mut dice) = (Instant::now(), Dice::new(scenario.seed));
        let station = |link: &Link| Station {
            receiver: None,
            lane: link::Lane::new(start, link.clone(), dice.bits()),
            due: None,
            life: 0,
            verified: Vec::new(),
            tagged: BTreeMap::new(),
            completed: None,
        };
        let stations: Vec<_> = scenario.links.iter().map(station).collect();
        let with_bytes = stations.len() <= BYTES_LIMIT;
        let mut world = Self {
            scenario,
            start,
            now: start,
            serial: 0,
            events: BinaryHeap::new(),
            sender: Sender::new(start, scenario.sender.clone(), scenario.layout),
            session: 0,
            sender_due: None,
            stations,
            runs: Vec::new(),
            content: with_bytes.then(|| bytes::Content::new(scenario.layout, scenario.seed)),
            dice,
            past: Counts::default(),
            feedback: 0,
            feedback_bytes: 0,
            wrong: 0,
            ended: None,
        };
        for (when, who) in &scenario.restarts {
            world.schedule(start + *when, What::Restart(*who));
        }
        world.rouse_insider();
        world.drain_sender();
        world
    }

    fn schedule(&mut self, when: Instant, what: What) {
        self.serial += 1;
        self.events.push(Reverse(Event { when, serial: self.serial, what }));
    }

    /// When the sender comes to something, where it stands still now.
    fn stalls_until(&self, what: &What) -> Option<Instant> {
        let is_for_sender = matches!(what, What::SenderIsDue | What::Feedback(..));
        let mut stalls = self.scenario.stalls.iter().filter(|_| is_for_sender);
        let at = self.now.saturating_duration_since(self.start);
        stalls.find(|(from, until)| (*from..*until).contains(&at)).map(|(_, until)| self.start + *until)
    }

    fn happen(&mut self, what: What) {
        match what {
            What::SenderIsDue if self.sender_due.is_some_and(|due| due <= self.now) => {
                self.sender_due = None;
                self.sender.handle_timeout(self.now);
                self.drain_sender();
            }
            What::ReceiverIsDue(index) if self.stations[index].due.is_some_and(|due| due <= self.now) => {
                self.stations[index].due = None;
                self.with_receiver(index, Receiver::handle_timeout);
            }
            What::SenderIsDue | What::ReceiverIsDue(_) => {}
            What::Group(session, packet) if session == self.session => self.arrive(&packet),
            What::Feedback(session, index, bytes) if session == self.session => {
                let said = Feedback::decode(&bytes).expect("feedback survives the wire");
                self.sender.handle_feedback(self.now, id(index), said);
                self.drain_sender();
            }
            What::Receipt(session, index) if session == self.session => {
                self.tell(index, receiver::Input::Receipt);
            }
            What::Written(written) if written.life == self.stations[written.index].life => {
                self.written(&written);
            }
            What::Taken(taken) if taken.life == self.stations[taken.index].life => self.taken(&taken),
            What::Taken(_) | What::Written(_) | What::Group(..) | What::Feedback(..) | What::Receipt(..) => {}
            What::Forge => self.forge(),
            What::Restart(who) => self.restart(who),
        }
    }

    fn arrive(&mut self, packet: &Packet) {
        for index in 0..self.stations.len() {
            let Station { lane, receiver, .. } = &self.stations[index];
            // Who starts joins the group, so a switch forgets only who has begun.
            if lane.hears(self.now) || receiver.is_none() && lane.is_linked(self.now) {
                self.arrive_at(index, packet);
            }
        }
    }

    /// Loses what the line loses; what the receiver does not take at once waits for it, or is dropped.
    fn arrive_at(&mut self, index: usize, packet: &Packet) {
        let (count, bytes) = match packet {
            Packet::Symbols { count, .. } => {
                (*count, u64::from(self.scenario.layout.symbol()) + SYMBOL_OVERHEAD as u64)
            }
            Packet::Announcement { .. } | Packet::Mark { .. } | Packet::Tags { .. } => (1, 500),
        };
        let (now, mut runs) = (self.now, std::mem::take(&mut self.runs));
        runs.clear();
        let Station { lane, life, .. } = &mut self.stations[index];
        let life = *life;
        lane.carry(now, count, bytes, |at, run| runs.push((at, run)));
        for (at, run) in runs.iter().copied() {
            match self.stations[index].lane.buffer(now, run, bytes) {
                None => self.take(index, packet, (at, run)),
                Some((0, _)) => {}
                Some((room, when)) => {
                    let taken = Taken { index, life, packet: packet.clone(), run: (at, room) };
                    self.schedule(when, What::Taken(taken));
                }
            }
        }
        self.runs = runs;
        self.drain_receiver(index);
    }

    fn taken(&mut self, taken: &Taken) {
        let (overruns, backlog) = self.stations[taken.index].lane.socket(self.now);
        self.tell(taken.index, receiver::Input::Overruns(overruns));
        self.tell(taken.index, receiver::Input::Backlog(backlog));
        self.take(taken.index, &taken.packet, taken.run);
        self.drain_receiver(taken.index);
    }

    /// A receiver has a packet, or `run` of its symbols.
    fn take(&mut self, index: usize, packet: &Packet, (at, run): (u16, u16)) {
        match packet {
            Packet::Symbols { number, block, esi, .. } => {
                let Some(receiver) = &mut self.stations[index].receiver else { return };
                let (esi, number) = (esi + at, number + u64::from(at));
                if receiver.handle_symbols(self.now, Run { number, block: *block, esi, count: run })
                    && let Some(content) = &mut self.content
                {
                    content.keep(index, *block, esi, run);
                }
            }
            Packet::Announcement { number, ended, demoted } => {
                if self.stations[index].receiver.is_none() && !ended {
                    self.join(index);
                }
                let demoted = demoted.contains(&id(index));
                let input = receiver::Input::Announced { number: *number, ended: *ended, demoted };
                self.tell(index, input);
            }
            Packet::Mark { number, body } => {
                let mark = Mark::decode(body).expect("a mark survives the wire");
                self.tell(index, receiver::Input::Mark { number: *number, mark });
            }
            Packet::Tags { block, first, count } => self.tagged(index, *block, *first, *count),
        }
    }

    /// A receiver opens the session, with what it has on its disk.
    fn join(&mut self, index: usize) {
        let config = receiver::Config { seed: self.dice.bits(), ..receiver::Config::default() };
        let mut receiver = Receiver::new(self.now, config, self.scenario.layout);
        let verified = self.stations[index].verified.clone();
        receiver.handle_input(self.now, receiver::Input::Resumed(verified));
        self.stations[index].receiver = Some(receiver);
    }

    fn tell(&mut self, index: usize, input: receiver::Input) {
        self.with_receiver(index, |receiver, now| receiver.handle_input(now, input));
    }

    fn with_receiver(&mut self, index: usize, act: impl FnOnce(&mut Receiver, Instant)) {
        if let Some(receiver) = &mut self.stations[index].receiver {
            act(receiver, self.now);
            self.drain_receiver(index);
        }
    }

    fn drain_receiver(&mut self, index: usize) {
        while let Some(output) = self.stations[index].receiver.as_mut().and_then(Receiver::poll_output) {
            self.receiver_does(index, output);
        }
        let due = self.stations[index].receiver.as_mut().and_then(Receiver::poll_timeout);
        let station = &mut self.stations[index];
        if let Some(when) = due
            && station.due.is_none_or(|scheduled| when < scheduled || scheduled < self.now)
        {
            station.due = Some(when);
            self.schedule(when.max(self.now), What::ReceiverIsDue(index));
        }
    }

    fn receiver_does(&mut self, index: usize, output: receiver::Output) {
        match output {
            receiver::Output::Say(said) => {
                let bytes = said.encode();
                self.feedback += 1;
                self.feedback_bytes += bytes.len() as u64;
                if self.stations[index].lane.is_linked(self.now) {
                    self.schedule(self.now + DELAY, What::Feedback(self.session, index, bytes));
                }
            }
            receiver::Output::Restore { block, have } => {
                let (repaired, fits) = match &mut self.content {
                    Some(content) => content.restore(index, block, &have),
                    None => (have.missing_below(self.scenario.layout.sources(block)), true),
                };
                self.wrong += u64::from(!fits);
                if !fits {
                    return self.spoilt(index, block, have);
                }
                let station = &mut self.stations[index];
                let when = station.lane.written(self.now, self.scenario.layout.bytes(block));
                let written = Written { index, life: station.life, block, repaired, fits };
                self.schedule(when, What::Written(written));
            }
            receiver::Output::Forget(block) => {
                if let Some(content) = &mut self.content {
                    content.forget(index, block);
                }
            }
            receiver::Output::Finish => {
                let station = &mut self.stations[index];
                station.completed.get_or_insert(self.now.saturating_duration_since(self.start));
                if let Some(receiver) = &mut station.receiver {
                    receiver.handle_input(self.now, receiver::Input::Finished);
                }
            }
            receiver::Output::Rejoin => self.stations[index].lane.rejoin(self.now),
            receiver::Output::Over { .. } => {}
        }
    }

    fn written(&mut self, written: &Written) {
        let Written { index, block, repaired, fits, .. } = *written;
        self.stations[index].verified.push(block);
        self.tell(index, receiver::Input::Restored { block, fits, repaired });
    }

    fn drain_sender(&mut self) {
        while let Some(output) = self.sender.poll_output() {
            self.sender_does(output);
        }
        if let Some(when) = self.sender.poll_timeout()
            && self.sender_due.is_none_or(|scheduled| when < scheduled)
        {
            self.sender_due = Some(when);
            self.schedule(when.max(self.now), What::SenderIsDue);
        }
    }

    fn sender_does(&mut self, output: sender::Output) {
        let (when, session) = (self.now + DELAY, self.session);
        let packet = match output {
            sender::Output::Announce { number, phase, demoted, .. } => {
                Packet::Announcement { number, ended: phase == Phase::Ended, demoted }
            }
            sender::Output::Symbols { number, block, esi, count } => {
                Packet::Symbols { number, block, esi, count }
            }
            sender::Output::Tags { block, first, count, .. } => Packet::Tags { block, first, count },
            sender::Output::Mark { number, mark } => Packet::Mark { number, body: mark.encode() },
            sender::Output::Receipt(receiver) => {
                if let Some(index) = (0..self.stations.len()).find(|index| id(*index) == receiver) {
                    self.schedule(when, What::Receipt(session, index));
                }
                return;
            }
            sender::Output::Event(sender::Event::Over) => {
                self.ended = Some(self.now.saturating_duration_since(self.start));
                return;
            }
            sender::Output::Event(_) => return,
        };
        self.schedule(when, What::Group(session, packet));
    }

    fn restart(&mut self, who: Who) {
        match who {
            Who::Receiver(index) => self.kill(index),
            Who::Sender => {
                let counts = self.sender.counts();
                self.past.symbols += counts.symbols;
                self.past.requests += counts.requests;
                self.past.rounds += counts.rounds;
                self.session += 1;
                self.sender_due = None;
                self.sender = Sender::new(self.now, self.scenario.sender.clone(), self.scenario.layout);
                (0..self.stations.len()).for_each(|index| self.kill(index));
                self.drain_sender();
            }
        }
    }

    /// What was in memory is gone, what was verified is on the disk.
    fn kill(&mut self, index: usize) {
        let station = &mut self.stations[index];
        (station.receiver, station.due) = (None, None);
        station.tagged.clear();
        station.life += 1;
        if let Some(content) = &mut self.content {
            (0..self.scenario.layout.blocks()).for_each(|block| content.forget(index, block));
        }
    }

    fn is_settled(&self) -> bool {
        self.stations.iter().all(|station| {
            station.receiver.as_ref().is_none_or(|receiver| receiver.state() == State::Complete)
        })
    }

    fn sender_is_over(&self) -> bool {
        self.ended.is_some()
    }

    fn outcome(&self) -> Outcome {
        let counts = self.sender.counts();
        let symbols = counts.symbols + self.past.symbols;
        let requests = counts.requests + self.past.requests;
        let rounds = counts.rounds + self.past.rounds;
        let share =
            |part: u64, whole: u64| crate::loss::whole_f64(part) / crate::loss::whole_f64(whole.max(1));
        Outcome {
            completed: self.stations.iter().map(|station| station.completed).collect(),
            counts,
            symbols,
            ratio: share(symbols, self.scenario.layout.total_sources()),
            requests,
            requests_of_a_round: share(requests, rounds),
            feedback: self.feedback,
            feedback_bytes: self.feedback_bytes,
            wrong: self.wrong,
            ended: self.ended,
        }
    }
}

/// The id of a receiver in a simulation.
fn id(index: usize) -> ReceiverId {
    ReceiverId::new((index as u128).to_be_bytes())
}

/// One way.
const DELAY: Duration = Duration::from_millis(1);
/// Receivers up to which there are real bytes.
const BYTES_LIMIT: usize = 32;

#[cfg(test)]
mod small;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;
