//! How fast packets really went out while there were some to send.
//!
//! The rate is only what is allowed. A sender that waits for its receivers, or for the processor, must not take that for a
//! limit of the network.

use std::time::{Duration, Instant};

/// Measures what goes out.
#[derive(Debug, Default)]
pub(super) struct Busy {
    /// Since when there is something to send.
    since: Option<Instant>,
    time: Duration,
    bytes: u64,
}

impl Busy {
    /// Notes whether there is something to send from now on.
    pub(super) fn look(&mut self, now: Instant, is_busy: bool) {
        if let Some(since) = self.since {
            self.time += now.saturating_duration_since(since);
        }
        self.since = is_busy.then_some(now);
    }

    /// Notes that so many bytes went out.
    pub(super) const fn sent(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Bits a second since this was last asked; `None` when there was too little to send to tell.
    pub(super) fn achieved(&mut self) -> Option<f64> {
        let (time, bytes) = (std::mem::take(&mut self.time), std::mem::take(&mut self.bytes));
        (time >= ENOUGH).then(|| crate::loss::whole_f64(bytes) * 8.0 / time.as_secs_f64())
    }
}

/// Half of the shortest time between two changes of the rate.
const ENOUGH: Duration = Duration::from_millis(25);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_time_with_something_to_send_counts() {
        let (mut busy, start) = (Busy::default(), Instant::now());
        let ms = Duration::from_millis;
        busy.look(start, true);
        busy.sent(125_000);
        busy.look(start + ms(100), false);
        busy.look(start + ms(900), true);
        assert_eq!(busy.achieved(), Some(10e6));
        busy.look(start + ms(910), false);
        assert_eq!(busy.achieved(), None, "too short to tell");
    }
}
