//! Asks every address of a plan until it answers or enough rounds are over.
//!
//! ```text
//! Sending(round, method) ──every address had its turn by the last method──▶ Waiting(round) ──time over──▶ Sending(round + 1, first)
//!    │          ▲ │ by another                                                 │ enough rounds, or nobody is silent
//!    │          │ └─▶ Pausing(round, next method)                              │
//!    │          └────────┘ a round trip is over                                │
//!    └────────────────────── nobody is silent ─────────────────────────────────┴──▶ Over
//! ```
//!
//! In a round each method asks those that are silent by then. How long answers take is not known before there is one, and
//! to wait for answers to one method before the next is tried would cost a second for each: who answers to nothing but the
//! last is asked as soon as the packets before are gone. Where answers do come, a round trip is waited for.
//!
//! Where a kernel looks for the neighbours that are asked ([`Resolution`]), it repeats its questions by itself: a round is
//! several attempts, of which only those are waited for that the loss demands, and the loss is measured in the first.
//!
//! A round is sent only to the silent, and, for a measure of loss, to some of those that have answered. What is kept
//! for an address are two bits; an answer is known by what it carries ([`crate::cookie`]). Answers count in any phase.

mod board;
mod path;
mod phase;
mod sample;
mod seam;
mod timed;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use board::{Board, State};
pub use path::Path;
use phase::Phase;
use sample::Sample;
pub use seam::{Input, Output};
use timed::Timed;

use crate::pacer::Pacer;
use crate::plan::Plan;
use crate::probe::{Answer, Kind};
use crate::resolution::Resolution;
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
    /// How many ways there are to ask; at least one.
    pub methods: u16,
}

/// Where a sweep is; what a progress bar shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The round, from 1.
    pub round: u8,
    /// How many rounds there will be, as far as is known.
    pub rounds: u8,
    /// Turns of addresses that are over in this round, by all methods together.
    pub walked: u64,
    /// Turns of a round.
    pub of: u64,
    /// Addresses that have answered.
    pub found: u32,
}

/// One poll of the addresses of one plan.
#[derive(Debug)]
pub struct Sweep {
    plan: Arc<Plan>,
    config: Config,
    /// Where a kernel looks for those that are asked: each round is several attempts then.
    kernel: Option<Resolution>,
    walk: Walk,
    board: Board,
    pacer: Pacer,
    /// One for each method.
    samples: Vec<Sample>,
    timed: Timed,
    path: Path,
    round: u8,
    /// When the round before this one was over.
    before: Option<Instant>,
    /// When the first address had its turn by the method of the phase.
    begun: Instant,
    phase: Phase,
    now: Instant,
    outputs: VecDeque<Output>,
}

impl Sweep {
    /// A sweep that begins now, with a pacer that may have served others before.
    pub fn new(now: Instant, plan: Arc<Plan>, config: Config, pacer: Pacer) -> Self {
        let len = plan.len();
        Self {
            walk: Walk::new(len, config.key),
            board: Board::new(len),
            samples: (0..config.methods.max(1)).map(|_| Sample::default()).collect(),
            timed: Timed::default(),
            path: Path::default(),
            round: 1,
            before: None,
            begun: now,
            phase: Phase::Sending { method: 0, position: 0, allowance: 0 },
            plan,
            config,
            kernel: None,
            pacer,
            now,
            outputs: VecDeque::new(),
        }
    }

    /// The same, where something is known already.
    #[must_use]
    pub fn along(self, path: Path) -> Self {
        Self { path, ..self }
    }

    /// The same, where a kernel looks for neighbours so that they can be asked, and tells whom it finds.
    #[must_use]
    pub fn through(self, kernel: Resolution) -> Self {
        Self { kernel: Some(kernel), ..self }
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.now = now;
        match input {
            Input::Answered(method, answer) => self.answered(method, answer),
            Input::Sent => self.pacer.settle(now),
            Input::Refused(target) => {
                if let Some(index) = self.plan.index(target) {
                    self.board.set(index, State::Refused);
                }
                self.end_if_all_is_known();
            }
            Input::Congested => self.pacer.slow_down(now),
        }
    }

    fn answered(&mut self, method: u16, answer: Answer) {
        // Whatever the network says, a poll does not leave the ranges it was given.
        let Some(index) = self.plan.index(answer.from) else { return };
        let Some(sample) = self.samples.get_mut(usize::from(method)) else { return };
        let rtt = self.timed.take(index, (method, answer.attempt), self.now);
        // What takes longer may be the answer to a question that the kernel repeated.
        let rtt = rtt.filter(|rtt| self.kernel.is_none_or(|kernel| *rtt < kernel.every));
        if let Some(rtt) = rtt {
            self.path.rtt.observe(rtt);
        }
        // That the kernel has found a neighbour does not say that it answers what it is asked beyond that.
        let is_found = self.kernel.is_some() && matches!(answer.kind, Kind::Arp | Kind::Neighbor);
        if !is_found {
            if sample.answered(index) {
                self.path.loss.answer();
            }
            sample.add(index);
        }
        if self.board.state(index) != State::Alive {
            self.board.set(index, State::Alive);
            self.outputs.push_back(Output::Found { answer, rtt });
        }
        self.end_if_all_is_known();
    }

    fn end_if_all_is_known(&mut self) {
        let is_idle = matches!(self.phase, Phase::Waiting { .. } | Phase::Pausing { .. });
        if self.board.silent() == 0 && is_idle {
            self.end();
        }
    }

    /// Goes on to whatever is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        match &mut self.phase {
            Phase::Sending { allowance, .. } => *allowance = self.pacer.allowance(now),
            Phase::Pausing { method, until } if *until <= now => {
                let method = *method;
                self.begin(method);
            }
            Phase::Waiting { since, until } if *until <= now => {
                let since = *since;
                self.next_round(since);
            }
            Phase::Pausing { .. } | Phase::Waiting { .. } | Phase::Over => {}
        }
    }

    /// Takes the next thing to do; `None` once there is nothing more to do now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front().or_else(|| self.probe())
    }

    /// The next probe, as long as the pace allows it.
    fn probe(&mut self) -> Option<Output> {
        while let Phase::Sending { method, position, allowance } = self.phase {
            let (is_over, by_kernel) = (position == self.plan.len(), self.kernel.is_some());
            if is_over && !by_kernel {
                return self.end_turn(method);
            }
            if allowance == 0 {
                return None;
            }
            let sample = &mut self.samples[usize::from(method)];
            if (self.round > 1 || by_kernel)
                && let Some((index, attempt)) = sample.due(position, self.plan.len())
            {
                self.path.loss.ask();
                self.phase = Phase::Sending { method, position, allowance: allowance - 1 };
                return Some(self.send(method, index, attempt));
            }
            if is_over {
                return self.end_turn(method);
            }
            let index = self.walk.at(position);
            let is_silent = self.board.state(index) == State::Silent;
            let allowance = allowance - u32::from(is_silent);
            self.phase = Phase::Sending { method, position: position + 1, allowance };
            if is_silent {
                return Some(self.send(method, index, self.round.into()));
            }
        }
        None
    }

    fn send(&mut self, method: u16, index: u32, attempt: u16) -> Output {
        self.pacer.spend(self.now, 1);
        self.timed.sent(index, (method, attempt), self.now);
        Output::Probe { method, target: self.plan.address(index), attempt }
    }

    /// Goes on to the next method, waits for what is on its way, or ends when nobody is silent any more.
    fn end_turn(&mut self, method: u16) -> Option<Output> {
        if self.board.silent() == 0 {
            self.end();
            return self.outputs.pop_front();
        }
        let (now, next, timeout) = (self.now, method + 1, self.path.rtt.timeout());
        self.phase = if usize::from(next) == self.samples.len() {
            // All rounds go the same walk. When another is certain, it need not wait for those who were asked just now,
            // for they are the last whose turn it is again.
            let waits_for = if self.round + 1 < self.rounds() { self.begun } else { now };
            Phase::Waiting { since: now, until: waits_for + timeout }
        } else {
            let pause = if self.path.rtt.is_known() { timeout.min(PAUSE) } else { Duration::ZERO };
            Phase::Pausing { method: next, until: now + pause }
        };
        None
    }

    /// Gives every address its turn by a method.
    fn begin(&mut self, method: u16) {
        self.begun = self.now;
        self.ask_from(method, 0);
    }

    fn ask_from(&mut self, method: u16, position: u32) {
        self.phase = Phase::Sending { method, position, allowance: self.pacer.allowance(self.now) };
    }

    /// Sends another round when the loss that is known now demands it; after the last, waits for the slowest.
    ///
    /// Patience counts from the end of the round before: a host that takes long answers what it was asked then.
    fn next_round(&mut self, since: Instant) {
        if self.lacks_a_sample() {
            self.ask_from(0, self.plan.len());
            return;
        }
        let is_last = self.round >= self.rounds();
        let until = if is_last {
            let patient = self.before.unwrap_or(since) + self.config.patience;
            patient.max(since + self.last_attempt() + self.path.rtt.longest())
        } else {
            // What the kernel still looks for it cannot be made to look for again.
            since + self.kernel.map_or(Duration::ZERO, |kernel| kernel.gives_up())
        };
        if until > self.now {
            self.phase = Phase::Waiting { since, until };
        } else if is_last {
            self.end();
        } else {
            self.round += 1;
            self.before = Some(since);
            self.samples.iter_mut().for_each(Sample::restart);
            self.begin(0);
        }
    }

    /// Whether the loss of a way where the first round may be the last is not known, and could be: by those who answered
    /// too late to be asked again among the others.
    fn lacks_a_sample(&self) -> bool {
        let owes = |sample: &Sample| sample.owes(self.plan.len());
        self.kernel.is_some() && self.path.loss.share().is_none() && self.samples.iter().any(owes)
    }

    /// How long after a round the last attempt that is wanted is gone: of those that the kernel makes, the rest is not
    /// waited for.
    fn last_attempt(&self) -> Duration {
        let Some(kernel) = self.kernel else { return Duration::ZERO };
        let wanted = self.path.loss.rounds(self.config.recall);
        let before = (self.round - 1).saturating_mul(kernel.times);
        let repeated = wanted.saturating_sub(before).clamp(1, kernel.times) - 1;
        kernel.step() * u32::from(repeated)
    }

    fn end(&mut self) {
        self.phase = Phase::Over;
        self.outputs.push_back(Output::Over);
    }

    /// When to call [`Sweep::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Sending { .. } => Some(self.pacer.wake()),
            Phase::Pausing { until, .. } | Phase::Waiting { until, .. } => Some(until),
            Phase::Over => None,
        }
    }

    /// Where it is.
    pub fn progress(&self) -> Progress {
        let len = u64::from(self.plan.len());
        let of = len * u64::try_from(self.samples.len()).expect("as many as there are methods");
        let walked = match self.phase {
            Phase::Sending { method, position, .. } => len * u64::from(method) + u64::from(position),
            Phase::Pausing { method, .. } => len * u64::from(method),
            Phase::Waiting { .. } | Phase::Over => of,
        };
        let rounds = self.rounds().max(self.round);
        Progress { round: self.round, rounds, walked, of, found: self.board.alive() }
    }

    /// How many rounds there will be, as far as is known.
    fn rounds(&self) -> u8 {
        let attempts = self.path.loss.rounds(self.config.recall);
        attempts.div_ceil(self.kernel.map_or(1, |kernel| kernel.times))
    }

    /// The share of packets that was lost, where it could be measured.
    pub fn loss(&self) -> Option<f64> {
        self.path.loss.share()
    }

    /// What is known about the way, for the next sweep that goes it.
    pub const fn path(&self) -> Path {
        self.path
    }

    /// Whether an address has answered.
    pub fn has_answered(&self, address: IpAddr) -> bool {
        self.plan.index(address).is_some_and(|index| self.board.state(index) == State::Alive)
    }

    /// Who is asked.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Gives the pacer to the next sweep: what this one sent still counts there.
    pub fn into_pacer(self) -> Pacer {
        self.pacer
    }
}

/// Longest pause between two methods: where round trips take longer, some are asked by both.
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
