//! What went within a span of time.

use std::collections::VecDeque;
use std::time::Instant;

use crate::profile::Pace;

/// Packets of the latest span, and how many it takes.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pace: Pace,
    /// What went, and when it counts from; in order.
    sent: VecDeque<(Instant, u32)>,
    /// The sum of `sent`.
    counted: u32,
    /// The last of it may not have gone yet.
    is_going: bool,
}

impl Span {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, sent: VecDeque::new(), counted: 0, is_going: false }
    }

    /// Another pace: what went before still counts.
    pub(super) fn with_pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    pub(super) fn spend(&mut self, now: Instant, count: u32) {
        self.counted += count;
        self.is_going = true;
        match self.sent.back_mut() {
            // To count a packet from later than it went only makes the next one wait.
            Some((at, sum)) if now.saturating_duration_since(*at) < self.pace.per / GRAIN => {
                *at = now.max(*at);
                *sum += count;
            }
            _ => self.sent.push_back((now, count)),
        }
    }

    /// Says that everything was gone by `now`.
    pub(super) fn settle(&mut self, now: Instant) {
        if std::mem::take(&mut self.is_going)
            && let Some((at, _)) = self.sent.back_mut()
        {
            *at = now.max(*at);
        }
    }

    /// Forgets what went before the span that ends now.
    pub(super) fn forget(&mut self, now: Instant) {
        while let Some((at, count)) = self.sent.front()
            && *at + self.pace.per <= now
        {
            self.counted -= count;
            self.sent.pop_front();
        }
    }

    pub(super) const fn pace(&self) -> Pace {
        self.pace
    }

    /// How many there is room for now.
    pub(super) const fn free(&self) -> u32 {
        self.pace.burst.saturating_sub(self.counted)
    }

    /// When there is room for so many, at most the burst; `None` when there is now.
    pub(super) fn room_for(&self, count: u32) -> Option<Instant> {
        let room = self.pace.burst.saturating_sub(count);
        if self.counted <= room {
            return None;
        }
        let freed = self.sent.iter().scan(self.counted, |left, (at, count)| {
            *left -= count;
            Some((*left, *at + self.pace.per))
        });
        freed.filter(|(left, _)| *left <= room).map(|(_, at)| at).next()
    }
}

/// Packets this close in time (a part of the span) are counted as one.
const GRAIN: u32 = 64;
