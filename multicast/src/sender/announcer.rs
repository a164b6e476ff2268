//! When the session is announced, whom that tells to wait, and whether the session goes on.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::announcement::{DEMOTED_LIMIT, Phase};
use crate::id::ReceiverId;

/// The announcements of a session.
#[derive(Debug)]
pub(super) struct Announcer {
    sequence: u32,
    at: Instant,
    demoted: VecDeque<ReceiverId>,
    ending: Ending,
}

/// Whether the session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Open,
    /// The end is being announced, so many times still.
    Announcing(u8),
    Over,
}

impl Announcer {
    /// The first announcement is due at once.
    pub(super) const fn new(now: Instant) -> Self {
        Self { sequence: 0, at: now, demoted: VecDeque::new(), ending: Ending::Open }
    }

    /// Notes that an announcement goes out now; gives its sequence and phase.
    pub(super) fn announce(&mut self, now: Instant) -> (u32, Phase) {
        let sequence = self.sequence;
        self.at = now + self.pause();
        self.sequence += 1;
        match self.ending {
            Ending::Open => (sequence, Phase::Open),
            Ending::Announcing(left) if left > 1 => {
                self.ending = Ending::Announcing(left - 1);
                (sequence, Phase::Ended)
            }
            Ending::Announcing(_) | Ending::Over => {
                self.ending = Ending::Over;
                (sequence, Phase::Ended)
            }
        }
    }

    /// Tells a receiver, from now on, that it has to wait for the tail.
    pub(super) fn demote(&mut self, now: Instant, receiver: ReceiverId) {
        if self.demoted.len() == DEMOTED_LIMIT {
            self.demoted.pop_front();
        }
        self.demoted.push_back(receiver);
        self.at = now;
    }

    /// Begins to announce the end.
    pub(super) fn stop(&mut self, now: Instant) {
        if self.is_open() {
            (self.ending, self.at) = (Ending::Announcing(ENDINGS), now);
        }
    }

    /// Ends the session without another word.
    pub(super) const fn give_up(&mut self) {
        self.ending = Ending::Over;
    }

    /// When the next announcement is due; `None` once the session is over.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.ending != Ending::Over).then_some(self.at)
    }

    /// Who has to wait.
    pub(super) fn demoted(&self) -> Vec<ReceiverId> {
        self.demoted.iter().copied().collect()
    }

    /// Whether the session goes on.
    pub(super) fn is_open(&self) -> bool {
        self.ending == Ending::Open
    }

    /// Whether the end was announced.
    pub(super) fn is_over(&self) -> bool {
        self.ending == Ending::Over
    }

    /// How long until the next announcement.
    fn pause(&self) -> Duration {
        match (self.ending, FIRST.get(self.sequence as usize)) {
            (Ending::Announcing(_) | Ending::Over, _) => Duration::from_millis(5),
            (Ending::Open, Some(pause)) => *pause,
            (Ending::Open, None) if self.sequence < SOON => Duration::from_millis(100),
            (Ending::Open, None) => Duration::from_secs(1),
        }
    }
}

/// After the first announcements, with which a small object goes: so soon that who loses three of them still has it within
/// 20 ms, and so far apart in the end that no burst of loss takes them all.
const FIRST: [Duration; 7] = {
    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }
    [ms(3), ms(4), ms(5), ms(6), ms(12), ms(20), ms(30)]
};
/// Announcements of the first second.
const SOON: u32 = 17;
/// Times that the end is announced.
const ENDINGS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_come_fast_at_first_and_every_second_later() {
        let start = Instant::now();
        let mut announcer = Announcer::new(start);
        let mut times = Vec::new();
        while times.len() < 20 {
            let due = announcer.due().unwrap();
            times.push(due.duration_since(start).as_millis());
            assert_eq!(announcer.announce(due), (u32::try_from(times.len()).unwrap() - 1, Phase::Open));
        }
        assert_eq!(times[..9], [0, 3, 7, 12, 18, 30, 50, 80, 180]);
        assert_eq!(times[16..19], [980, 1080, 2080]);
    }

    #[test]
    fn an_end_is_announced_three_times_and_then_it_is_over() {
        let now = Instant::now();
        let mut announcer = Announcer::new(now);
        announcer.stop(now);
        let mut ends = 0;
        while let Some(due) = announcer.due() {
            assert_eq!(announcer.announce(due).1, Phase::Ended);
            ends += 1;
        }
        assert!(ends == 3 && announcer.is_over());
    }

    #[test]
    fn the_last_to_be_demoted_are_named() {
        let now = Instant::now();
        let mut announcer = Announcer::new(now);
        for n in 0..20 {
            announcer.demote(now, ReceiverId::new([n; 16]));
        }
        assert_eq!(announcer.demoted().len(), DEMOTED_LIMIT);
        assert_eq!(announcer.demoted().last(), Some(&ReceiverId::new([19; 16])));
    }
}
