//! How fast to send: up until somebody cannot follow, never down for mere loss.
//!
//! Loss that stays the same whatever the rate is the medium's, and parity makes up for it. What says "too fast" is a
//! receiver's socket that overran, a queue that stands, or loss that grew with the rate, or is beyond repair and falls with it
//! (`medium::Medium`). A receiver whose disk cannot follow is no matter of the rate: the sender waits for it
//! (`audience::Audience::is_full`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::medium::{Medium, Verdict};

/// The sender's rate.
#[derive(Debug)]
pub(super) struct Rate {
    bits: f64,
    cap: f64,
    /// The rate that was too fast when it was last cut; until then it doubles.
    limit: Option<f64>,
    stepped: Option<Instant>,
    /// Steps until the last cut shows in what is heard.
    resting: u8,
    /// Steps in a row with a queue.
    queued: u8,
    /// Rates of the last steps, and the loss at each.
    steps: VecDeque<(f64, f64)>,
    medium: Medium,
}

/// What was heard since the last step.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Signals {
    /// Whether more than a few receivers' sockets dropped packets.
    pub(super) overrun: bool,
    /// What a queue adds to the round trip, if that was measured.
    pub(super) queue: Option<Duration>,
    /// Loss of the middle receiver.
    pub(super) loss: Option<f64>,
    /// Bits a second that really went out, if there was enough to send.
    pub(super) achieved: Option<f64>,
}

impl Rate {
    /// Starts at 50 Mbit/s, or below at `cap` bits a second.
    pub(super) fn new(cap: u64) -> Self {
        let cap = f64::from(u32::try_from(cap / 1000).unwrap_or(u32::MAX)) * 1000.0;
        let cap = cap.max(FLOOR);
        let bits = START.min(cap);
        let (steps, medium) = (VecDeque::new(), Medium::Usual);
        Self { bits, cap, limit: None, stepped: None, resting: 0, queued: 0, steps, medium }
    }

    /// Whether it is time to step.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let step = if self.limit.is_none() { FIRST_STEP } else { STEP };
        self.stepped.is_none_or(|stepped| now.saturating_duration_since(stepped) >= step)
    }

    /// Changes the rate by what was heard since the last step.
    pub(super) fn step(&mut self, now: Instant, signals: Signals) {
        let first = self.stepped.replace(now).is_none();
        let grows = self.loss_grows(signals.loss);
        if let Some(queue) = signals.queue {
            self.queued = if queue > QUEUE { self.queued.saturating_add(1) } else { 0 };
        }
        let too_fast = signals.overrun || self.queued >= STANDING || grows;
        if self.resting > 0 {
            self.resting -= 1;
            return;
        }
        let verdict = signals.loss.map_or(Verdict::Fine, |loss| self.medium.judge(self.bits, loss));
        match verdict {
            Verdict::Back(bits) => {
                self.bits = bits;
                self.forget();
            }
            Verdict::Try => self.cut(signals.achieved, FIRST_CUT),
            // What falls already is still being averaged.
            Verdict::Slower if !self.loss_falls() => self.cut(signals.achieved, CUT),
            // While doubling, what was heard is of a rate that was passed already.
            _ if too_fast => self.cut(signals.achieved, if self.limit.is_none() { FIRST_CUT } else { CUT }),
            Verdict::Wait | Verdict::Slower => {}
            Verdict::Fine => {
                if !first && signals.achieved.is_some_and(|achieved| achieved > self.bits / 2.0) {
                    self.bits = self.next().min(self.cap);
                }
            }
        }
    }

    /// Forgets the loss at other rates: it was others'.
    pub(super) fn forget(&mut self) {
        self.steps.clear();
    }

    /// How long so many bytes take.
    pub(super) fn time_of(&self, bytes: u64) -> Duration {
        Duration::from_secs_f64(crate::loss::whole_f64(bytes) * 8.0 / self.bits)
    }

    /// Packets of `bytes` that go out at once: those of a millisecond.
    pub(super) fn burst(&self, bytes: u64) -> u16 {
        let packets = self.bits / 8.0 / 1000.0 / crate::loss::whole_f64(bytes);
        u16::try_from(crate::loss::whole(packets)).unwrap_or(BURST).clamp(1, BURST)
    }

    /// Bits a second.
    pub(super) const fn bits(&self) -> f64 {
        self.bits
    }

    /// The rate after this one: quickly back near the one that was too fast, slowly past it, and fast once that was long ago
    /// (Ha, Rhee and Xu, 2008).
    fn next(&self) -> f64 {
        match self.limit {
            None => self.bits * 2.0,
            Some(limit) if self.bits > limit * PASSED => self.bits * GROWTH,
            Some(limit) => (self.bits + (limit - self.bits) / 4.0).max(self.bits * PROBE),
        }
    }

    fn cut(&mut self, achieved: Option<f64>, cut: f64) {
        let out = achieved.map_or(self.bits, |achieved| achieved.min(self.bits));
        self.bits = (out * cut).max(self.bits * CUT_MOST).max(FLOOR);
        (self.limit, self.resting, self.queued) = (Some(out), REST, 0);
    }

    /// Notes the loss at this rate; says whether it grew with the rate.
    fn loss_grows(&mut self, loss: Option<f64>) -> bool {
        let Some(loss) = loss else { return false };
        let slower = self.steps.iter().filter(|(rate, _)| *rate <= self.bits * SLOWER).map(|(_, loss)| *loss);
        let (count, sum) = slower.fold((0.0, 0.0), |(count, sum), loss| (count + 1.0, sum + loss));
        if self.steps.len() == STEPS {
            self.steps.pop_front();
        }
        self.steps.push_back((self.bits, loss));
        !self.loss_falls() && count > 0.0 && loss - sum / count > LOSS_GROWTH
    }

    /// Whether the loss is less than it was a step ago.
    fn loss_falls(&self) -> bool {
        let mut newest = self.steps.iter().rev().map(|(_, loss)| *loss);
        newest.next().zip(newest.next()).is_some_and(|(now, before)| now < before)
    }
}

/// Every switch and receiver of today takes this.
const START: f64 = 50e6;
/// Slower is never useful.
const FLOOR: f64 = 1e6;
/// How often the rate may change: several round trips.
const STEP: Duration = Duration::from_millis(100);
/// How often it doubles until it was too fast once: receivers have reported meanwhile.
const FIRST_STEP: Duration = Duration::from_millis(50);
const CUT: f64 = 0.85;
const FIRST_CUT: f64 = 0.5;
/// What went out may have been little for want of a processor: no step takes more than this.
const CUT_MOST: f64 = 0.25;
const GROWTH: f64 = 1.1;
/// What a receiver's buffer takes for many steps.
const PROBE: f64 = 1.01;
/// Beyond the rate that was too fast by this, it is so no more.
const PASSED: f64 = 1.1;
/// Steps before what receivers say is of the new rate.
const REST: u8 = 2;
/// Longer than a busy machine makes its programs wait, shorter than the buffers that spoil a network.
const QUEUE: Duration = Duration::from_millis(50);
/// Steps with a queue that are one which stands; a machine that was busy for one of them is none.
const STANDING: u8 = 2;
/// Three deviations of one sample at 5 %.
const LOSS_GROWTH: f64 = 0.02;
/// The share of the rate below which a step was slower.
const SLOWER: f64 = 0.8;
const STEPS: usize = 16;
/// 44 packets of 1,440 bytes are one GSO send of 63,360.
pub(super) const BURST: u16 = 44;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_network_is_full_within_a_second() {
        let mut rate = Rate::new(10_000_000_000);
        run(&mut rate, 10, |_| Signals::default());
        assert!(rate.bits() > 9e9);
    }

    #[test]
    fn constant_loss_changes_nothing() {
        let mut rate = Rate::new(1_000_000_000);
        run(&mut rate, 20, |_| Signals { loss: Some(0.2), ..Signals::default() });
        assert!(rate.bits() >= 1e9);
    }

    #[test]
    fn loss_that_grows_with_the_rate_slows_down() {
        let mut rate = Rate::new(10_000_000_000);
        // A link of 300 Mbit/s: what is above is lost.
        let loss = |bits: f64| (1.0 - 3e8 / bits).max(0.0);
        run(&mut rate, 100, |bits| Signals { loss: Some(loss(bits)), ..Signals::default() });
        assert!((1e8..6e8).contains(&rate.bits()), "{}", rate.bits());
    }

    #[test]
    fn constant_loss_beyond_repair_is_tried_once() {
        let (mut rate, mut step) = (Rate::new(200_000_000), 0_u32);
        run(&mut rate, 60, |_| {
            step += 1;
            Signals { loss: Some(0.35 + f64::from(step % 5) / 1000.0), ..Signals::default() }
        });
        assert!(rate.bits() >= 199e6, "{}", rate.bits());
    }

    #[test]
    fn a_rate_that_is_not_reached_does_not_grow() {
        let (mut rate, start) = (Rate::new(10_000_000_000), Instant::now());
        for step in 0..20 {
            let achieved = Some(rate.bits().min(3e8));
            rate.step(start + STEP * step, Signals { achieved, ..Signals::default() });
        }
        assert!(rate.bits() < 1e9, "{}", rate.bits());
        rate.step(start + STEP * 20, Signals { achieved: Some(3e8), overrun: true, ..Signals::default() });
        assert!(rate.bits() <= 2e8, "a cut is one of what went out");
    }

    #[test]
    fn a_sender_that_was_kept_from_sending_does_not_starve_itself() {
        let (mut rate, start) = (Rate::new(100_000_000), Instant::now());
        let starved = Signals { overrun: true, achieved: Some(1e3), ..Signals::default() };
        run(&mut rate, 3, |_| Signals::default());
        rate.step(start + STEP * 3, starved);
        assert!(rate.bits() >= 25e6, "{}", rate.bits());
        rate.step(start + STEP * 4, starved);
        assert!(rate.bits() >= 25e6, "what is heard is still of the rate before");
    }

    #[test]
    fn overruns_and_queues_slow_down() {
        for signals in [
            Signals { overrun: true, ..Signals::default() },
            Signals { queue: Some(Duration::from_millis(60)), ..Signals::default() },
        ] {
            let clean = Signals { queue: Some(Duration::ZERO), ..Signals::default() };
            let mut rate = Rate::new(10_000_000_000);
            run(&mut rate, 100, |bits| if bits > 2e8 { signals } else { clean });
            assert!((1e8..3e8).contains(&rate.bits()), "{}", rate.bits());
        }
    }

    #[test]
    fn who_forgets_which_rate_was_too_fast_passes_it_again_and_again() {
        let overruns = |remembers: bool| {
            let (mut rate, start) = (Rate::new(10_000_000_000), Instant::now());
            let overruns = |step: &u32| {
                let (bits, overrun) = (rate.bits(), rate.bits() > 3e8);
                rate.step(
                    start + STEP * *step,
                    Signals { overrun, achieved: Some(bits), ..Signals::default() },
                );
                rate.limit = rate.limit.filter(|_| remembers);
                overrun
            };
            (0..300).filter(overruns).count()
        };
        let (remembering, forgetting) = (overruns(true), overruns(false));
        assert!(remembering <= 30 && forgetting >= 60, "{remembering} of 300 steps, {forgetting}");
    }

    #[test]
    fn one_late_answer_is_no_queue() {
        let mut rate = Rate::new(1_000_000_000);
        let late = [Some(Duration::from_millis(90)), Some(Duration::ZERO), None];
        let mut step = 0;
        run(&mut rate, 30, |_| {
            step += 1;
            Signals { queue: late[step % 3], ..Signals::default() }
        });
        assert!(rate.bits() >= 1e9);
    }

    #[test]
    fn a_cap_is_kept() {
        let mut rate = Rate::new(20_000_000);
        run(&mut rate, 50, |_| Signals::default());
        assert!(rate.bits() <= 20e6);
        assert_eq!(rate.time_of(2_500_000), Duration::from_secs(1));
        assert_eq!(Rate::new(0).burst(1440), 1);
    }

    fn run(rate: &mut Rate, steps: u32, mut signals: impl FnMut(f64) -> Signals) {
        let start = Instant::now();
        for step in 0..steps {
            let heard = Signals { achieved: Some(rate.bits()), ..signals(rate.bits()) };
            rate.step(start + STEP * step, heard);
        }
    }
}
