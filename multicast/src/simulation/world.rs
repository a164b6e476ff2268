//! The sender and all receivers in virtual time: one thing happens after the other.

use std::time::{Duration, Instant};

use super::agenda::{Agenda, Packet, What};
use super::bytes::Content;
use super::link::{Lane, Link};
use super::outcome::Outcome;
use super::scenario::{Scenario, Who};
use super::station::Station;
use crate::announcement::Phase;
use crate::dice::Dice;
use crate::feedback::{Feedback, State};
use crate::id::ReceiverId;
use crate::receiver::{self, Receiver};
use crate::sender::{self, Counts, Sender};

/// The sender, the receivers, and what is on its way between them.
pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) agenda: Agenda,
    pub(super) sender: Sender,
    pub(super) session: u32,
    sender_due: Option<Instant>,
    pub(super) stations: Vec<Station>,
    /// Runs of a packet that are not lost.
    pub(super) runs: Vec<(u16, u16)>,
    pub(super) content: Option<Content>,
    pub(super) dice: Dice,
    past: Counts,
    pub(super) feedback: u64,
    pub(super) feedback_bytes: u64,
    pub(super) wrong: u64,
    ended: Option<Duration>,
}

impl Scenario {
    /// Lets it happen.
    pub fn run(&self) -> Outcome {
        let mut world = World::new(self);
        while let Some(event) = world.agenda.next() {
            if event.when > world.start + self.end || (world.is_settled() && world.sender_is_over()) {
                break;
            }
            world.now = event.when;
            match world.stalls_until(&event.what) {
                Some(when) => world.agenda.add(when, event.what),
                None => world.happen(event.what),
            }
        }
        world.outcome()
    }
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let (start, mut dice) = (Instant::now(), Dice::new(scenario.seed));
        let station = |link: &Link| Station::new(Lane::new(start, link.clone(), dice.bits()));
        let stations: Vec<_> = scenario.links.iter().map(station).collect();
        let with_bytes = stations.len() <= BYTES_LIMIT;
        let mut world = Self {
            scenario,
            start,
            now: start,
            agenda: Agenda::default(),
            sender: Sender::new(start, scenario.sender.clone(), scenario.layout),
            session: 0,
            sender_due: None,
            stations,
            runs: Vec::new(),
            content: with_bytes.then(|| Content::new(scenario.layout, scenario.seed)),
            dice,
            past: Counts::default(),
            feedback: 0,
            feedback_bytes: 0,
            wrong: 0,
            ended: None,
        };
        for (when, who) in &scenario.restarts {
            world.agenda.add(start + *when, What::Restart(*who));
        }
        world.rouse_insider();
        world.drain_sender();
        world
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

    fn drain_sender(&mut self) {
        while let Some(output) = self.sender.poll_output() {
            self.sender_does(output);
        }
        if let Some(when) = self.sender.poll_timeout()
            && self.sender_due.is_none_or(|scheduled| when < scheduled)
        {
            self.sender_due = Some(when);
            self.agenda.add(when.max(self.now), What::SenderIsDue);
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
                    self.agenda.add(when, What::Receipt(session, index));
                }
                return;
            }
            sender::Output::Event(sender::Event::Over) => {
                self.ended = Some(self.now.saturating_duration_since(self.start));
                return;
            }
            sender::Output::Event(_) => return,
        };
        self.agenda.add(when, What::Group(session, packet));
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
        self.stations[index].kill();
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
pub(super) fn id(index: usize) -> ReceiverId {
    ReceiverId::new((index as u128).to_be_bytes())
}

/// One way.
pub(super) const DELAY: Duration = Duration::from_millis(1);
/// Receivers up to which there are real bytes.
const BYTES_LIMIT: usize = 32;
