//! What is known about the grant in use.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::net::initiator::Initiator;

/// The times of a grant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// The session must have begun by then, Unix seconds.
    pub(super) start_by: u64,
    /// How long the session may last.
    pub(super) session: Duration,
    /// When it began, if it has.
    pub(super) begun: Option<SystemTime>,
}

impl Terms {
    /// Those of the grant that `initiator` redeems.
    pub(super) fn of(initiator: &Initiator) -> Self {
        let (start_by, session) = (initiator.expires(), initiator.grant().session);
        Self { start_by, session, begun: initiator.begun() }
    }

    /// What ends next, and when, for people.
    pub(super) fn expiry(self, now: SystemTime) -> String {
        let left = |until: SystemTime| until.duration_since(now).unwrap_or_default();
        match self.begun {
            Some(begun) => format!("ends in {}", spelled(left(begun + self.session))),
            None => match left(UNIX_EPOCH + Duration::from_secs(self.start_by.min(u32::MAX.into()))) {
                Duration::ZERO => "start time over".to_owned(),
                left => format!("start within {}", spelled(left)),
            },
        }
    }
}

/// Hours and minutes, minutes, or seconds: as exact as a person needs it.
pub(super) fn spelled(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_is_the_start_first_and_the_session_once_it_has_begun() {
        let at = |second| UNIX_EPOCH + Duration::from_secs(second);
        let fresh = Terms { start_by: 1060, session: Duration::from_secs(8 * 3600), begun: None };
        assert_eq!(fresh.expiry(at(1000)), "start within 1 min");
        assert_eq!(fresh.expiry(at(1061)), "start time over");
        let begun = Terms { begun: Some(at(1000)), ..fresh };
        assert_eq!(begun.expiry(at(1000 + 60)), "ends in 7 h 59 min");
        assert_eq!(begun.expiry(at(90_000)), "ends in 0 s");
    }
}
