//! Asks every address of a plan until it answers or enough rounds are over.
//!
//! ```text
//! Sending(round) ──every address had its turn──▶ Waiting(round) ──time over──▶ Sending(round + 1)
//!      │                                            │ enough rounds, or nobody is silent
//!      └───────────── nobody is silent ─────────────┴──▶ Over
//! ```
//!
//! A round is sent only to the silent, and, for a measure of loss, to some of those that have answered. What is kept
//! for an address are two bits; an answer is known by what it carries ([`crate::cookie`]). Answers count in any phase.

mod board;
mod sample;
mod timed;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use board::{Board, State};
use sample::Sample;
use timed::Timed;

use crate::loss::Loss;
use crate::pacer::Pacer;
use crate::plan::Plan;
use crate::probe::Answer;
use crate::rtt::Rtt;
use crate::walk::Walk;

/// How a sweep goes about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// The wanted probability that a host is found; decides the number of rounds.
    pub recall: f64,
    /// How long the last answers are waited for at least.
    pub patience: Duration,
    /// Decides the order of the walk.
    pub key: u64,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// An answer came; whether it is one to this poll's probes has been checked.
    Answered(Answer),
    /// Everything handed out before is on its way.
    Sent,
    /// There is no way to this address: it is not asked again.
    Refused(IpAddr),
    /// The kernel or the network cannot take so much.
    Congested,
}

/// Something is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send a probe.
    Probe {
        /// To this address.
        target: IpAddr,
        /// Which attempt it is: what the probe carries, so that its answer tells.
        attempt: u16,
    },
    /// A host answered for the first time.
    Found {
        /// Its answer.
        answer: Answer,
        /// The round trip, when it was timed and belongs to one probe beyond doubt.
        rtt: Option<Duration>,
    },
    /// The sweep is over.
    Over,
}

/// Where a sweep is; what a progress bar shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The round, from 1.
    pub round: u8,
    /// How many rounds there will be, as far as is known.
    pub rounds: u8,
    /// Addresses that had their turn in this round.
    pub walked: u32,
    /// Addresses of the plan.
    pub of: u32,
    /// Addresses that have answered.
    pub found: u32,
}

/// One poll of the addresses of one plan by one kind of probe.
#[derive(Debug)]
pub struct Sweep {
    plan: Arc<Plan>,
    config: Config,
    walk: Walk,
    board: Board,
    pacer: Pacer,
    sample: Sample,
    timed: Timed,
    loss: Loss,
    rtt: Rtt,
    round: u8,
    /// When the round before this one was over.
    before: Option<Instant>,
    phase: Phase,
    now: Instant,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The next position of the walk, and how many probes may go now.
    Sending {
        position: u32,
        allowance: u32,
    },
    /// Every address had its turn.
    Waiting {
        since: Instant,
        until: Instant,
    },
    Over,
}

impl Sweep {
    /// A sweep that begins now, with a pacer that may have served others before.
    pub fn new(now: Instant, plan: Arc<Plan>, config: Config, pacer: Pacer) -> Self {
        let len = plan.len();
        Self {
            walk: Walk::new(len, config.key),
            board: Board::new(len),
            sample: Sample::default(),
            timed: Timed::default(),
            loss: Loss::default(),
            rtt: Rtt::default(),
            round: 1,
            before: None,
            phase: Phase::Sending { position: 0, allowance: 0 },
            plan,
            config,
            pacer,
            now,
            outputs: VecDeque::new(),
        }
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.now = now;
        match input {
            Input::Answered(answer) => self.answered(answer),
            Input::Sent => self.pacer.settle(now),
            Input::Refused(target) => {
                if let Some(index) = self.plan.index(target) {
                    self.board.set(index, State::Refused);
                }
            }
            Input::Congested => self.pacer.slow_down(now),
        }
    }

    fn answered(&mut self, answer: Answer) {
        // Whatever the network says, a poll does not leave the ranges it was given.
        let Some(index) = self.plan.index(answer.from) else { return };
        let rtt = self.timed.take(index, answer.attempt, self.now);
        if let Some(rtt) = rtt {
            self.rtt.observe(rtt);
        }
        if self.sample.answered(index) {
            self.loss.answer();
        }
        if self.board.state(index) != State::Alive {
            self.board.set(index, State::Alive);
            self.sample.add(index);
            self.outputs.push_back(Output::Found { answer, rtt });
        }
        if self.board.silent() == 0 && matches!(self.phase, Phase::Waiting { .. }) {
            self.end();
        }
    }

    /// Goes on to whatever is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        match &mut self.phase {
            Phase::Sending { allowance, .. } => *allowance = self.pacer.allowance(now),
            Phase::Waiting { since, until } if *until <= now => {
                let since = *since;
                self.next_round(since);
            }
            Phase::Waiting { .. } | Phase::Over => {}
        }
    }

    /// Takes the next thing to do; `None` once there is nothing more to do now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front().or_else(|| self.probe())
    }

    /// The next probe, as long as the pace allows it.
    fn probe(&mut self) -> Option<Output> {
        while let Phase::Sending { position, allowance } = self.phase {
            if position == self.plan.len() {
                return self.end_round();
            }
            if allowance == 0 {
                return None;
            }
            if self.round > 1
                && let Some((index, attempt)) = self.sample.due(position, self.plan.len())
            {
                self.loss.ask();
                return Some(self.send(index, attempt, position, allowance));
            }
            let index = self.walk.at(position);
            if self.board.state(index) == State::Silent {
                return Some(self.send(index, self.round.into(), position + 1, allowance));
            }
            self.phase = Phase::Sending { position: position + 1, allowance };
        }
        None
    }

    fn send(&mut self, index: u32, attempt: u16, position: u32, allowance: u32) -> Output {
        self.phase = Phase::Sending { position, allowance: allowance - 1 };
        self.pacer.spend(self.now, 1);
        self.timed.sent(index, attempt, self.now);
        Output::Probe { target: self.plan.address(index), attempt }
    }

    /// Waits for what is on its way, or ends when nobody is silent any more.
    fn end_round(&mut self) -> Option<Output> {
        if self.board.silent() == 0 {
            self.end();
            return self.outputs.pop_front();
        }
        self.phase = Phase::Waiting { since: self.now, until: self.now + self.rtt.timeout() };
        None
    }

    /// Sends another round when the loss that is known now demands it; after the last, waits for the slowest.
    ///
    /// Patience counts from the end of the round before: a host that takes long answers what it was asked then.
    fn next_round(&mut self, since: Instant) {
        if self.round < self.loss.rounds(self.config.recall) {
            self.round += 1;
            self.before = Some(since);
            self.sample.restart();
            self.phase = Phase::Sending { position: 0, allowance: self.pacer.allowance(self.now) };
            return;
        }
        let patient = self.before.unwrap_or(since) + self.config.patience;
        let until = patient.max(since + self.rtt.longest());
        match until <= self.now {
            true => self.end(),
            false => self.phase = Phase::Waiting { since, until },
        }
    }

    fn end(&mut self) {
        self.phase = Phase::Over;
        self.outputs.push_back(Output::Over);
    }

    /// When to call [`Sweep::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Sending { .. } => Some(self.pacer.wake()),
            Phase::Waiting { until, .. } => Some(until),
            Phase::Over => None,
        }
    }

    /// Where it is.
    pub fn progress(&self) -> Progress {
        let of = self.plan.len();
        let walked = if let Phase::Sending { position, .. } = self.phase { position } else { of };
        let rounds = self.loss.rounds(self.config.recall).max(self.round);
        Progress { round: self.round, rounds, walked, of, found: self.board.alive() }
    }

    /// The share of packets that was lost, where it could be measured.
    pub fn loss(&self) -> Option<f64> {
        self.loss.share()
    }

    /// Whether an address has answered.
    pub fn has_answered(&self, address: IpAddr) -> bool {
        self.plan.index(address).is_some_and(|index| self.board.state(index) == State::Alive)
    }

    /// Gives the pacer to the next sweep: what this one sent still counts there.
    pub fn into_pacer(self) -> Pacer {
        self.pacer
    }
}

#[cfg(test)]
mod tests;
