//! How many questions may fly at once: as many as the server takes (RFC 5681, in datagrams).

use std::time::Instant;

/// Grows with every answer; is halved when one does not come, once for each flight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    size: f64,
    threshold: f64,
    most: f64,
    /// Losses of what was sent before this are old news.
    cut: Option<Instant>,
}

impl Window {
    /// At most `most` at once, and fewer to begin with.
    pub(super) fn new(most: usize) -> Self {
        // Counts of datagrams are below 2^52.
        #[allow(clippy::cast_precision_loss)]
        let most = most.max(1) as f64;
        Self { size: FIRST.min(most), threshold: most, most, cut: None }
    }

    /// How many may fly; at least 1.
    pub(super) fn size(&self) -> usize {
        // At least 1 and at most what it was made with.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let size = self.size as usize;
        size
    }

    /// An answer came.
    pub(super) fn answered(&mut self) {
        let step = if self.size < self.threshold { 1.0 } else { 1.0 / self.size };
        self.size = (self.size + step).min(self.most);
    }

    /// No answer came in time to what was sent at `sent`.
    pub(super) fn lost(&mut self, sent: Instant, now: Instant) {
        if self.cut.is_none_or(|cut| sent > cut) {
            self.threshold = (self.size / 2.0).max(FEWEST.min(self.most));
            self.size = self.threshold;
            self.cut = Some(now);
        }
    }
}

/// Small answers for as many fit in the buffer that Linux gives a socket (`rmem_default` has room for some 270).
const FIRST: f64 = 128.0;
/// A few at once keep even a slow server busy.
const FEWEST: f64 = 16.0;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_grows_with_answers_up_to_its_bound() {
        let mut window = Window::new(200);
        assert_eq!(window.size(), 128);
        (0..50).for_each(|_| window.answered());
        assert_eq!(window.size(), 178);
        (0..500).for_each(|_| window.answered());
        assert_eq!(window.size(), 200);
        assert_eq!(Window::new(4).size(), 4);
    }

    #[test]
    fn a_burst_of_losses_halves_it_once() {
        let (start, later) = (Instant::now(), Instant::now() + Duration::from_millis(200));
        let mut window = Window::new(1000);
        (0..100).for_each(|_| window.lost(start, later));
        assert_eq!(window.size(), 64);
        (0..10).for_each(|_| window.answered());
        assert_eq!(window.size(), 64, "slowly from now on");
        for round in 1..10 {
            let at = |seconds| later + Duration::from_secs(seconds);
            window.lost(at(round), at(round));
        }
        assert_eq!(window.size(), 16);
    }
}
