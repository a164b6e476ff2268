//! Whether a member of the group forges symbols, and when the tags of a block went out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What is known of forged symbols.
#[derive(Debug, Default)]
pub(super) struct Distrust {
    /// Blocks whose tags went out, and when; not empty once anybody had a block that did not fit.
    tagged: BTreeMap<u32, Instant>,
    last: Option<Instant>,
}

impl Distrust {
    /// Takes in that a block was not what was signed; says whether its tags are to go out now. A receiver says it again
    /// until it has them, and a hostile one is not obeyed more often than that.
    pub(super) fn hear(&mut self, now: Instant, block: u32) -> bool {
        let is_past = |when: Option<&Instant>, pause| {
            when.is_none_or(|when| now.saturating_duration_since(*when) >= pause)
        };
        let is_due = is_past(self.tagged.get(&block), AGAIN) && is_past(self.last.as_ref(), PAUSE);
        if is_due {
            self.note(now, block);
        }
        is_due
    }

    /// Notes that the tags of a block go out.
    pub(super) fn note(&mut self, now: Instant, block: u32) {
        self.tagged.insert(block, now);
        self.last = Some(now);
    }

    /// Whether anybody forges: from then on the tags of a block go ahead of it.
    pub(super) fn is_roused(&self) -> bool {
        self.last.is_some()
    }
}

/// Between two lists of one block.
const AGAIN: Duration = Duration::from_millis(50);
/// Between any two lists that receivers ask for: 34 packets of a block of 4 MiB are 34 Mbit/s then.
const PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_repeated_but_not_as_often_as_somebody_likes() {
        let (mut distrust, start) = (Distrust::default(), Instant::now());
        assert!(!distrust.is_roused());
        let mut lists = 0;
        for millisecond in 0..1000 {
            let now = start + Duration::from_millis(millisecond);
            lists += (0..8).filter(|block| distrust.hear(now, *block)).count();
        }
        assert!((90..=100).contains(&lists), "{lists} in a second");
        assert!(distrust.is_roused());
    }
}
