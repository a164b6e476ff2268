//! The time for which receipts and history are kept, on the monotonic clock.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::store::Rev;

/// Remembers which revision was the newest at which time. Wall clocks jump, and after a restart the age of
/// a receipt is unknown, so every receipt lives one whole window of this process.
#[derive(Debug)]
pub(super) struct Window {
    length: Duration,
    marks: VecDeque<(Instant, Rev)>,
}

impl Window {
    /// Keeps everything for at least `length`.
    pub(super) const fn new(length: Duration) -> Self {
        Self { length, marks: VecDeque::new() }
    }

    /// Takes note that `head` is the newest revision now.
    pub(super) fn mark(&mut self, now: Instant, head: Rev) {
        let due = self.marks.back().is_none_or(|(last, _)| now.duration_since(*last) >= self.length / MARKS);
        if due {
            self.marks.push_back((now, head));
        }
    }

    /// Up to which revision every receipt is older than the window.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Rev> {
        let length = self.length;
        let old = |(then, _): &(Instant, Rev)| now.duration_since(*then) > length;
        // The newest expired mark stays: what it covers may take several transactions to delete.
        while self.marks.get(1).is_some_and(old) {
            self.marks.pop_front();
        }
        self.marks.front().filter(|mark| old(mark)).map(|(_, rev)| *rev)
    }
}

/// Marks in a window: receipts outlive it by at most a 60th.
const MARKS: u32 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::OP_ID_WINDOW;

    #[test]
    fn receipt_expires_only_after_the_whole_window() {
        let start = Instant::now();
        let mut window = Window::new(OP_ID_WINDOW);
        window.mark(start, Rev(7));
        window.mark(start + Duration::from_secs(1), Rev(8));
        assert_eq!(window.expired(start + OP_ID_WINDOW), None);
        assert_eq!(window.expired(start + OP_ID_WINDOW + Duration::from_secs(1)), Some(Rev(7)));
    }

    #[test]
    fn marks_stay_few_however_many_commits_there_are() {
        let start = Instant::now();
        let mut window = Window::new(OP_ID_WINDOW);
        for second in 0..4 * 3600 {
            let now = start + Duration::from_secs(second);
            window.mark(now, Rev(second));
            window.expired(now);
        }
        assert!(window.marks.len() <= 62, "{} marks", window.marks.len());
        assert_eq!(window.expired(start + 4 * OP_ID_WINDOW), Some(Rev(3 * 3600 - 60)));
    }
}
