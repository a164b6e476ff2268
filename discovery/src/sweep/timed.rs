//! When some of the latest probes went: enough of them to know how long answers take.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// The method and the attempt of a probe.
type Probe = (u16, u16);

/// A bounded number of probes, the oldest forgotten first.
#[derive(Debug, Default)]
pub(super) struct Timed {
    sent: HashMap<u32, (Probe, Instant)>,
    order: VecDeque<(u32, Instant)>,
}

impl Timed {
    /// Notes a probe while there is room: of a fast sweep a part of each span, of a slow one everything.
    pub(super) fn sent(&mut self, index: u32, probe: Probe, now: Instant) {
        while let Some((_, at)) = self.order.front()
            && *at + MEMORY < now
        {
            self.forget_oldest();
        }
        if self.order.len() < LIMIT {
            self.sent.insert(index, (probe, now));
            self.order.push_back((index, now));
        }
    }

    /// The round trip of an answer to a method; one that does not tell its attempt may only be to a first one (Karn's rule).
    pub(super) fn take(
        &mut self,
        index: u32,
        (method, attempt): (u16, Option<u16>),
        now: Instant,
    ) -> Option<Duration> {
        let (sent, at) = *self.sent.get(&index)?;
        if (method, attempt.unwrap_or(1)) != sent {
            return None;
        }
        self.sent.remove(&index);
        Some(now.saturating_duration_since(at))
    }

    fn forget_oldest(&mut self) {
        if let Some((index, noted)) = self.order.pop_front()
            && self.sent.get(&index).is_some_and(|(_, at)| *at == noted)
        {
            self.sent.remove(&index);
        }
    }
}

/// Two seconds of a polite sweep.
const LIMIT: usize = 4096;
/// An answer that comes later than this says more about its host than about the network.
const MEMORY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_belongs_to_one_probe() {
        let (start, mut timed) = (Instant::now(), Timed::default());
        let later = start + Duration::from_millis(7);
        timed.sent(1, (0, 1), start);
        timed.sent(2, (0, 2), start);
        assert_eq!(timed.take(1, (0, Some(2)), later), None);
        assert_eq!(timed.take(1, (1, Some(1)), later), None, "it answers to another method");
        assert_eq!(timed.take(1, (0, None), later), Some(Duration::from_millis(7)));
        assert_eq!(timed.take(1, (0, None), later), None);
        assert_eq!(timed.take(2, (0, None), later), None, "this may be a late answer to the first attempt");
    }

    #[test]
    fn the_notes_are_bounded_and_there_is_room_again() {
        let (start, mut timed) = (Instant::now(), Timed::default());
        (0..10_000).for_each(|index| timed.sent(index, (0, 1), start));
        assert_eq!((timed.order.len(), timed.sent.len()), (LIMIT, LIMIT));
        let later = start + MEMORY + Duration::from_millis(1);
        timed.sent(7, (0, 2), later);
        assert_eq!((timed.order.len(), timed.take(7, (0, Some(2)), later)), (1, Some(Duration::ZERO)));
    }
}
