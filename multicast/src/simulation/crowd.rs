//! What receivers do with what comes, and with what they decide.

use std::time::Instant;

use super::agenda::{Packet, Taken, What, Written};
use super::station::Station;
use super::world::{DELAY, World, id};
use crate::mark::Mark;
use crate::packet::SYMBOL_OVERHEAD;
use crate::receiver::{self, Receiver, Run};

impl World<'_> {
    pub(super) fn arrive(&mut self, packet: &Packet) {
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
                    self.agenda.add(when, What::Taken(taken));
                }
            }
        }
        self.runs = runs;
        self.drain_receiver(index);
    }

    pub(super) fn taken(&mut self, taken: &Taken) {
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

    pub(super) fn tell(&mut self, index: usize, input: receiver::Input) {
        self.with_receiver(index, |receiver, now| receiver.handle_input(now, input));
    }

    pub(super) fn with_receiver(&mut self, index: usize, act: impl FnOnce(&mut Receiver, Instant)) {
        if let Some(receiver) = &mut self.stations[index].receiver {
            act(receiver, self.now);
            self.drain_receiver(index);
        }
    }

    pub(super) fn drain_receiver(&mut self, index: usize) {
        while let Some(output) = self.stations[index].receiver.as_mut().and_then(Receiver::poll_output) {
            self.receiver_does(index, output);
        }
        let due = self.stations[index].receiver.as_mut().and_then(Receiver::poll_timeout);
        let station = &mut self.stations[index];
        if let Some(when) = due
            && station.due.is_none_or(|scheduled| when < scheduled || scheduled < self.now)
        {
            station.due = Some(when);
            self.agenda.add(when.max(self.now), What::ReceiverIsDue(index));
        }
    }

    fn receiver_does(&mut self, index: usize, output: receiver::Output) {
        match output {
            receiver::Output::Say(said) => {
                let bytes = said.encode();
                self.feedback += 1;
                self.feedback_bytes += bytes.len() as u64;
                if self.stations[index].lane.is_linked(self.now) {
                    self.agenda.add(self.now + DELAY, What::Feedback(self.session, index, bytes));
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
                self.agenda.add(when, What::Written(written));
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

    pub(super) fn written(&mut self, written: &Written) {
        let Written { index, block, repaired, fits, .. } = *written;
        self.stations[index].verified.push(block);
        self.tell(index, receiver::Input::Restored { block, fits, repaired });
    }
}
