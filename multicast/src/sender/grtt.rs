//! The group's round trip: when packets went out, and when somebody says that they came.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Measures the round trip (GRTT, RFC 5401, 3.3).
#[derive(Debug)]
pub(super) struct Grtt {
    /// Packet numbers and when they went out, oldest first.
    sent: VecDeque<(u64, Instant)>,
    estimate: Duration,
    /// The shortest round trip there ever was: what a queue adds to.
    floor: Option<Duration>,
    /// The shortest since it was last asked for.
    shortest: Option<Duration>,
    /// How many there were since then.
    samples: u32,
}

impl Grtt {
    pub(super) const fn new() -> Self {
        Self { sent: VecDeque::new(), estimate: GRTT_FIRST, floor: None, shortest: None, samples: 0 }
    }

    /// Notes that packets up to `number` went out.
    pub(super) fn sent(&mut self, now: Instant, number: u64) {
        if self.sent.len() == MEMORY {
            self.sent.pop_front();
        }
        self.sent.push_back((number, now));
    }

    /// Takes in that somebody has had packet `seen` for `held`.
    pub(super) fn heard(&mut self, now: Instant, seen: u64, held: Duration) {
        let index = self.sent.partition_point(|(number, _)| *number < seen);
        let Some((_, sent)) = self.sent.get(index) else { return };
        let sample = now.saturating_duration_since(*sent).saturating_sub(held);
        self.floor = Some(self.floor.map_or(sample, |floor| floor.min(sample)));
        self.shortest = Some(self.shortest.map_or(sample, |shortest| shortest.min(sample)));
        self.samples += 1;
        self.estimate = sample.max(self.estimate.mul_f64(0.75)).clamp(GRTT_LEAST, GRTT_MOST);
    }

    /// The group's round trip.
    pub(super) const fn estimate(&self) -> Duration {
        self.estimate
    }

    /// How much longer than ever the shortest round trip was since this was last asked: a queue that stands, as one
    /// receiver that was busy is not (Nichols and Jacobson, 2012).
    pub(super) fn queue(&mut self) -> Option<Duration> {
        let (shortest, samples) = (self.shortest.take()?, std::mem::take(&mut self.samples));
        (samples >= SAMPLES).then_some(shortest.saturating_sub(self.floor?))
    }
}

/// Before anybody has answered.
const GRTT_FIRST: Duration = Duration::from_millis(10);
/// Timers of a system are not finer than this.
pub const GRTT_LEAST: Duration = Duration::from_millis(2);
/// More would slow repair down, not make it better.
pub const GRTT_MOST: Duration = Duration::from_millis(50);
/// Packets whose time is known: at 10 Gbit/s a tenth of a second.
const MEMORY: usize = 2048;
/// Fewer round trips say nothing of a queue.
const SAMPLES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_is_the_time_without_what_the_receiver_waited() {
        let (mut grtt, start) = (Grtt::new(), Instant::now());
        let ms = Duration::from_millis;
        grtt.sent(start, 44);
        grtt.heard(start + ms(30), 40, ms(10));
        assert_eq!(grtt.estimate(), ms(20));
        assert_eq!(grtt.queue(), None, "one is not enough");
        for when in [90, 190, 290] {
            grtt.heard(start + ms(when), 44, ms(10));
        }
        assert_eq!(grtt.estimate(), GRTT_MOST);
        assert_eq!((grtt.queue(), grtt.queue()), (Some(ms(60)), None));
    }

    #[test]
    fn a_packet_that_was_never_sent_measures_nothing() {
        let (mut grtt, start) = (Grtt::new(), Instant::now());
        grtt.sent(start, 44);
        grtt.heard(start + Duration::from_secs(9), u64::MAX, Duration::MAX);
        assert_eq!(grtt.estimate(), GRTT_FIRST);
    }
}
