//! One warning for each outage, however many attempts fail in it.

use std::time::{Duration, Instant};

/// Whether there is a connection, as far as the log has been told.
#[derive(Debug, Default)]
pub(super) struct Outage {
    since: Option<Instant>,
}

impl Outage {
    /// There is no connection; true when the outage begins now.
    pub(super) fn begins(&mut self, now: Instant) -> bool {
        let begins = self.since.is_none();
        self.since.get_or_insert(now);
        begins
    }

    /// There is a connection; tells how long there was none.
    pub(super) fn ends(&mut self, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.since.take()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_at_each_end() {
        let (start, mut outage) = (Instant::now(), Outage::default());
        assert_eq!(outage.ends(start), None);
        assert!(outage.begins(start));
        assert!(!outage.begins(start + Duration::from_secs(1)));
        assert_eq!(outage.ends(start + Duration::from_secs(5)), Some(Duration::from_secs(5)));
        assert!(outage.begins(start + Duration::from_secs(6)));
    }
}
