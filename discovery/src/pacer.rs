//! Sends no faster than promised: evenly, and never more than a burst in any span of the pace's length.
//!
//! Two rules hold at once. Packets are due one interval after the other, so that they come evenly; and each counts for
//! the length of the span, so that no delay of the machine makes a crowd of what became late. A packet counts from when
//! it was *surely* gone: whoever sends tells when that was ([`Pacer::settle`]).

mod span;

use std::time::{Duration, Instant};

use span::Span;

use crate::profile::Pace;

/// When how many packets may go.
#[derive(Debug, Clone)]
pub struct Pacer {
    span: Span,
    /// How many may go in a longer time, whatever the pace.
    bound: Option<Span>,
    /// As how many packets each counts.
    weight: u32,
    /// When the next packet is due.
    due: Instant,
    /// Sixteenths of the pace: halved by trouble, won back one by one.
    share: u32,
    /// When the share was changed, and when there was trouble for the last time.
    changed: Instant,
    troubled: Instant,
}

impl Pacer {
    /// A pacer that has sent nothing yet.
    pub fn new(now: Instant, pace: Pace) -> Self {
        let (span, bound) = (Span::new(pace), None);
        Self { span, bound, weight: 1, due: now, share: WHOLE, changed: now, troubled: now }
    }

    /// The same, where each packet from now on brings others with it: it counts as `weight`, at most the burst.
    #[must_use]
    pub fn counting_each_as(self, weight: u32) -> Self {
        Self { weight: weight.clamp(1, self.span.pace().burst), ..self }
    }

    /// The same at another pace: what went before still counts.
    #[must_use]
    pub fn with_pace(self, pace: Pace) -> Self {
        Self { span: self.span.with_pace(pace), ..self }
    }

    /// The same, where no more than that many may go in that time; they need not come evenly.
    #[must_use]
    pub fn within(self, bound: Option<Pace>) -> Self {
        Self { bound: bound.map(Span::new), ..self }
    }

    /// How many packets may go now.
    pub fn allowance(&mut self, now: Instant) -> u32 {
        self.recover(now);
        self.span.forget(now);
        // What became late is sent in a short row, not in a crowd.
        self.due = self.due.max(now.checked_sub(LATE).unwrap_or(now));
        let Some(late) = now.checked_duration_since(self.due) else { return 0 };
        let due = late.as_nanos() / self.interval().as_nanos().max(1) + 1;
        let free = self.span.free() / self.weight;
        let bound = self.bound.as_mut().map_or(u32::MAX, |bound| {
            bound.forget(now);
            bound.free()
        });
        u32::try_from(due).unwrap_or(u32::MAX).min(free).min(bound)
    }

    /// Counts packets that are about to go.
    pub fn spend(&mut self, now: Instant, count: u32) {
        self.due += self.interval() * count;
        self.span.spend(now, count * self.weight);
        if let Some(bound) = &mut self.bound {
            bound.spend(now, count);
        }
    }

    /// Says that everything spent was gone by `now`.
    pub fn settle(&mut self, now: Instant) {
        self.span.settle(now);
        if let Some(bound) = &mut self.bound {
            bound.settle(now);
        }
    }

    /// Halves the rate: the network or the kernel could not take it.
    pub fn slow_down(&mut self, now: Instant) {
        self.troubled = now;
        if self.share == WHOLE || now.saturating_duration_since(self.changed) >= STEP {
            self.share = (self.share / 2).max(1);
            self.changed = now;
        }
    }

    /// When [`Pacer::allowance`] is next more than nothing.
    pub fn wake(&self) -> Instant {
        let bound = self.bound.as_ref().and_then(|bound| bound.room_for(1));
        let room = self.span.room_for(self.weight).max(bound);
        room.map_or(self.due, |room| room.max(self.due))
    }

    /// How long packets are apart.
    fn interval(&self) -> Duration {
        let Pace { burst, per } = self.span.pace();
        per * (WHOLE * self.weight) / (burst * self.share)
    }

    fn recover(&mut self, now: Instant) {
        let calm = now.saturating_duration_since(self.changed.max(self.troubled));
        if self.share < WHOLE && calm >= STEP {
            self.share += 1;
            self.changed = now;
        }
    }
}

/// The whole rate.
const WHOLE: u32 = 16;
/// How often the rate changes: long enough that a change can be felt before the next.
const STEP: Duration = Duration::from_millis(100);
/// How much of what became late may be made up for: sleeping processes wake up to this much after their time.
const LATE: Duration = Duration::from_millis(3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    #[test]
    fn no_10_ms_see_more_than_20_packets_politely() {
        let sent = a_run(Profile::Polite, Duration::from_secs(3), jittery());
        assert!(most_within(&sent, Duration::from_millis(10)) <= 20);
        assert!(sent.len() > 3 * 1_400, "{} packets in 3 s", sent.len());
    }

    #[test]
    fn no_250_ms_see_more_than_64_packets_gently() {
        let sent = a_run(Profile::Gentle, Duration::from_secs(3), jittery());
        assert!(most_within(&sent, Duration::from_millis(250)) <= 64);
        assert!(sent.len() > 600, "{} packets in 3 s", sent.len());
    }

    #[test]
    fn every_profile_keeps_its_pace_whatever_the_machine_does() {
        for profile in [Profile::Gentle, Profile::Polite, Profile::Lan, Profile::Max] {
            let sent = a_run(profile, Duration::from_secs(1), jittery());
            let Pace { burst, per } = profile.pace();
            assert!(most_within(&sent, per) <= burst as usize, "{profile:?}");
        }
    }

    #[test]
    fn packets_that_bring_others_with_them_leave_room_for_those() {
        for (weight, most) in [(2, 9), (8, 2), (100, 1)] {
            let start = Instant::now();
            let pacer = Pacer::new(start, Profile::Polite.pace()).counting_each_as(weight);
            let sent = run_of(pacer, start, Duration::from_secs(1), jittery());
            assert_eq!(most_within(&sent, Duration::from_millis(10)), most, "{weight} each");
        }
    }

    #[test]
    fn what_may_go_in_a_longer_time_goes_at_once_and_then_nothing_until_its_end() {
        let (start, bound) = (Instant::now(), Pace { burst: 50, per: Duration::from_secs(3) });
        let pacer = Pacer::new(start, Profile::Lan.pace()).within(Some(bound));
        let sent = run_of(pacer, start, Duration::from_secs(4), jittery());
        assert_eq!(sent.len(), 100);
        assert_eq!(most_within(&sent, bound.per), 50);
        assert!(sent[49] < start + Duration::from_millis(50), "{:?}", sent[49] - start);
    }

    #[test]
    fn what_is_gone_counts_from_then_however_often_that_is_said() {
        let (start, bound) = (Instant::now(), Pace { burst: 1, per: Duration::from_secs(3) });
        let mut pacer = Pacer::new(start, Profile::Lan.pace()).within(Some(bound));
        pacer.spend(start, 1);
        pacer.settle(start);
        pacer.settle(start + Duration::from_secs(2));
        assert_eq!(pacer.allowance(start + bound.per), 1);
    }

    #[test]
    fn packets_are_spread_evenly() {
        let sent =
            a_run(Profile::Polite, Duration::from_secs(1), std::iter::repeat(Duration::from_micros(100)));
        assert!(most_within(&sent, Duration::from_millis(1)) <= 3);
    }

    #[test]
    fn trouble_halves_the_rate_and_peace_wins_it_back() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start, Profile::Lan.pace());
        pacer.slow_down(start);
        pacer.slow_down(start);
        assert_eq!(pacer.interval(), Duration::from_micros(100), "one trouble counts once");
        for step in 1..=8 {
            pacer.allowance(start + STEP * step);
        }
        assert_eq!(pacer.interval(), Duration::from_micros(50));
    }

    /// When packets were sent by a process that wakes up late by turns of `delays`.
    fn a_run(profile: Profile, long: Duration, delays: impl Iterator<Item = Duration>) -> Vec<Instant> {
        let start = Instant::now();
        run_of(Pacer::new(start, profile.pace()), start, long, delays)
    }

    fn run_of(
        mut pacer: Pacer,
        start: Instant,
        long: Duration,
        delays: impl Iterator<Item = Duration>,
    ) -> Vec<Instant> {
        let (mut now, mut sent) = (start, Vec::new());
        for delay in delays {
            now = now.max(pacer.wake()) + delay;
            if now > start + long {
                break;
            }
            let count = pacer.allowance(now);
            if count > 0 {
                pacer.spend(now, count);
                sent.extend((0..count).map(|_| now));
                pacer.settle(now);
            }
        }
        sent
    }

    /// Mostly fast, often a tick late, now and then off the processor for long.
    fn jittery() -> impl Iterator<Item = Duration> {
        let mut state = 1_u64;
        std::iter::repeat_with(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match state >> 60 {
                0..10 => Duration::from_micros(20),
                10..15 => Duration::from_micros(1_100),
                _ => Duration::from_millis(7),
            }
        })
    }

    fn most_within(sent: &[Instant], span: Duration) -> usize {
        let mut begin = 0;
        let counts = sent.iter().enumerate().map(|(end, at)| {
            while sent[begin] + span <= *at {
                begin += 1;
            }
            end + 1 - begin
        });
        counts.max().unwrap_or_default()
    }
}
