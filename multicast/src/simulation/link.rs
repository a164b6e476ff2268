//! How well a receiver hears.

use std::time::{Duration, Instant};

use crate::dice::Dice;

/// A receiver's line to the sender.
#[derive(Debug, Clone, Default)]
pub struct Link {
    /// What is lost.
    pub loss: Pattern,
    /// Bits a second that get through; what is above is lost.
    pub limit: Option<u64>,
    /// How fast the receiver takes packets from its system; without one it takes each at once.
    pub intake: Option<Intake>,
    /// Bytes a second that the receiver restores and writes; without one it takes no time.
    pub disk: Option<u64>,
    /// When it is plugged in.
    pub joins: Duration,
    /// When it hears nothing.
    pub deaf: Option<(Duration, Duration)>,
    /// When its switch forgets that it is in the group, until it joins again; what it says goes on its way.
    pub forgotten: Option<Duration>,
}

/// A receiver that has not all of a processor.
#[derive(Debug, Clone, Copy)]
pub struct Intake {
    /// Bits a second that it takes.
    pub rate: u64,
    /// Bytes that wait in its socket's buffer; what is above is dropped, and counted.
    pub buffer: u64,
    /// Whether its system says how much waits there.
    pub tells: bool,
}

/// What is lost on a line.
#[derive(Debug, Clone, Copy)]
pub enum Pattern {
    /// Each packet by itself with this probability.
    Independent(f64),
    /// Runs of this many packets, so that in all this share is lost (Gilbert, 1960).
    Bursts {
        /// Share of packets lost.
        share: f64,
        /// Mean length of a run.
        length: f64,
    },
}

impl Default for Pattern {
    fn default() -> Self {
        Self::Independent(0.0)
    }
}

/// A line in use.
#[derive(Debug)]
pub(super) struct Lane {
    link: Link,
    start: Instant,
    dice: Dice,
    /// Packets until the fate changes.
    left: u64,
    /// Whether those are lost.
    losing: bool,
    credit: f64,
    credited: Instant,
    disk_free: Instant,
    /// When all that waits in the buffer is taken.
    taken_at: Instant,
    overruns: u32,
    /// When it was last in the group again.
    joined: Option<Instant>,
}

impl Lane {
    pub(super) fn new(start: Instant, link: Link, seed: u64) -> Self {
        let mut lane = Self {
            link,
            start,
            dice: Dice::new(seed),
            left: 0,
            losing: true,
            credit: QUEUE,
            credited: start,
            disk_free: start,
            taken_at: start,
            overruns: 0,
            joined: None,
        };
        lane.turn();
        lane
    }

    /// When a block of so many bytes that is there now is restored and written, one after the other.
    pub(super) fn written(&mut self, now: Instant, bytes: u32) -> Instant {
        let Some(disk) = self.link.disk else { return now };
        let time = f64::from(bytes) / crate::loss::whole_f64(disk);
        self.disk_free = self.disk_free.max(now) + Duration::from_secs_f64(time);
        self.disk_free
    }

    /// Whether anything can come or go now.
    pub(super) fn is_linked(&self, now: Instant) -> bool {
        let at = now.saturating_duration_since(self.start);
        at >= self.link.joins && self.link.deaf.is_none_or(|(from, to)| at < from || at >= to)
    }

    /// Whether what is sent to the group comes here now.
    pub(super) fn hears(&self, now: Instant) -> bool {
        let forgets = |after: &Duration| now >= self.start + *after;
        let is_member = !self.link.forgotten.as_ref().is_some_and(forgets)
            || self.joined.is_some_and(|joined| now >= joined + JOINING);
        self.is_linked(now) && is_member
    }

    /// The receiver joins the group again.
    pub(super) fn rejoin(&mut self, now: Instant) {
        self.joined.get_or_insert(now);
    }

    /// Puts packets of `bytes` into the socket's buffer: how many of `count` there is room for, and when the receiver takes
    /// the last of them; `None` where it takes all at once.
    pub(super) fn buffer(&mut self, now: Instant, count: u16, bytes: u64) -> Option<(u16, Instant)> {
        let Intake { rate, buffer, .. } = self.link.intake?;
        let (rate, bytes) = (crate::loss::whole_f64(rate) / 8.0, crate::loss::whole_f64(bytes));
        let waits = self.taken_at.saturating_duration_since(now).as_secs_f64() * rate;
        let room = crate::loss::whole(((crate::loss::whole_f64(buffer) - waits) / bytes).max(0.0));
        let taken = u16::try_from(room).unwrap_or(u16::MAX).min(count);
        self.overruns += u32::from(count - taken);
        let time = Duration::from_secs_f64(f64::from(taken) * bytes / rate);
        self.taken_at = self.taken_at.max(now) + time;
        Some((taken, self.taken_at))
    }

    /// What the receiver's socket dropped so far, and the share of its buffer that is taken.
    pub(super) fn socket(&self, now: Instant) -> (u32, f64) {
        let Some(Intake { rate, buffer, tells }) = self.link.intake else { return (0, 0.0) };
        if !tells {
            return (self.overruns, 0.0);
        }
        let waits = self.taken_at.saturating_duration_since(now).as_secs_f64();
        (self.overruns, waits * crate::loss::whole_f64(rate) / 8.0 / crate::loss::whole_f64(buffer))
    }

    /// Lets `count` packets of `bytes` come; calls `take` with index and length of each run that does.
    pub(super) fn carry(&mut self, now: Instant, count: u16, bytes: u64, mut take: impl FnMut(u16, u16)) {
        let count = count.min(self.room(now, count, bytes));
        let mut at = 0;
        while at < count {
            if self.left == 0 {
                self.turn();
            }
            let run = u16::try_from(self.left).unwrap_or(u16::MAX).min(count - at);
            self.left -= u64::from(run);
            if !self.losing {
                take(at, run);
            }
            at += run;
        }
    }

    /// How many packets the line's rate lets through now.
    fn room(&mut self, now: Instant, count: u16, bytes: u64) -> u16 {
        let Some(limit) = self.link.limit else { return count };
        let passed = now.saturating_duration_since(self.credited).as_secs_f64();
        let limit = crate::loss::whole_f64(limit) / 8.0;
        self.credit = (self.credit + passed * limit).min(QUEUE);
        self.credited = now;
        let bytes = crate::loss::whole_f64(bytes);
        let room = u16::try_from(crate::loss::whole(self.credit / bytes)).unwrap_or(u16::MAX).min(count);
        self.credit -= f64::from(room) * bytes;
        room
    }

    /// Changes between losing and not, and draws for how long.
    fn turn(&mut self) {
        self.losing = !self.losing;
        let (share, length) = match self.link.loss {
            // One packet by itself follows another with the same probability.
            Pattern::Independent(share) => (share, 1.0 / (1.0 - share.min(0.999))),
            Pattern::Bursts { share, length } => (share, length),
        };
        if share <= 0.0 {
            (self.losing, self.left) = (false, u64::MAX);
            return;
        }
        let mean = if self.losing { length } else { length * (1.0 - share) / share };
        self.left = self.geometric(1.0 / mean.max(1.0));
    }

    /// How many trials of this probability until one succeeds.
    fn geometric(&mut self, probability: f64) -> u64 {
        if probability >= 1.0 {
            return 1;
        }
        let trials = (1.0 - self.dice.share()).ln() / (1.0 - probability).ln();
        u64::from(crate::loss::whole(trials)) + 1
    }
}

/// Until a switch has learned of a member.
const JOINING: Duration = Duration::from_millis(20);
/// Bytes that wait in front of a slow line.
const QUEUE: f64 = 65_536.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_what_was_asked_for() {
        for loss in [
            Pattern::Independent(0.05),
            Pattern::Independent(0.3),
            Pattern::Bursts { share: 0.05, length: 44.0 },
        ] {
            let start = Instant::now();
            let mut lane = Lane::new(start, Link { loss, ..Link::default() }, 3);
            let mut came = 0_u32;
            for _ in 0..20_000 {
                lane.carry(start, 44, 1440, |_, run| came += u32::from(run));
            }
            let share = 1.0 - f64::from(came) / 880_000.0;
            let asked = match loss {
                Pattern::Independent(share) | Pattern::Bursts { share, .. } => share,
            };
            assert!((share - asked).abs() < 0.005, "{loss:?}: {share}");
        }
    }

    #[test]
    fn a_slow_line_loses_what_is_above_its_rate() {
        let start = Instant::now();
        let mut lane = Lane::new(start, Link { limit: Some(10_000_000), ..Link::default() }, 1);
        let mut came = 0_u64;
        for millisecond in 0..1000 {
            let now = start + Duration::from_millis(millisecond);
            lane.carry(now, 44, 1440, |_, run| came += u64::from(run) * 1440);
        }
        assert!(came.abs_diff(1_250_000) < 70_000, "{came}");
    }
}
