//! The device's clock beside the server's: a certificate that fails by time may mean that a clock is wrong.
//!
//! It finds the words for people, and tells a server list that was signed in the future; an agent never enrols again
//! by itself.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use klnet_wire::identity::enroll::unix;
use klnet_wire::identity::{ChainError, Role};

use crate::state::Device;

pub mod measure;

/// What a server has told of its clock, kept on the monotonic clock, which does not jump.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerClock {
    told: Option<(Instant, u64)>,
}

/// The device's clock minus the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    /// In seconds: positive when the device is ahead.
    pub seconds: i64,
}

impl ServerClock {
    /// The server's clock showed `unix` seconds at `now`.
    pub const fn told(&mut self, now: Instant, unix: u64) {
        self.told = Some((now, unix));
    }

    /// At `now` this device's clock, `wall`, was found to be so far from the server's.
    pub fn measured(&mut self, now: Instant, wall: SystemTime, skew: Skew) {
        let device = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.told(now, device.saturating_add_signed(skew.seconds.saturating_neg()));
    }

    /// How far `wall`, this device's clock at `now`, is from the server's, if that was ever told.
    pub fn skew(&self, now: Instant, wall: SystemTime) -> Option<Skew> {
        Some(Skew::between(wall, self.server(now)?))
    }

    /// The server's clock at `now`, Unix seconds; `wall`, this device's own, while none was ever told.
    pub fn unix(&self, now: Instant, wall: SystemTime) -> u64 {
        let device = || wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.server(now).unwrap_or_else(device)
    }

    fn server(&self, now: Instant) -> Option<u64> {
        let (then, unix) = self.told?;
        Some(unix.saturating_add(now.saturating_duration_since(then).as_secs()))
    }
}

impl Skew {
    /// Compares a device's clock with a server's Unix seconds.
    pub fn between(wall: SystemTime, server: u64) -> Self {
        let device = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let seconds = i64::try_from(device.abs_diff(server)).unwrap_or(i64::MAX);
        Self { seconds: if device < server { -seconds } else { seconds } }
    }

    /// Whether an operator should look: far beyond what a network delay makes of it.
    pub const fn is_wrong(self) -> bool {
        self.seconds.unsigned_abs() > TOLERANCE.as_secs()
    }
}

impl std::fmt::Display for Skew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.seconds {
            0 => f.write_str("this device's clock agrees with the server's"),
            ahead @ 1.. => write!(f, "this device's clock is {} ahead of the server's", span(ahead)),
            behind => write!(f, "this device's clock is {} behind the server's", span(behind)),
        }
    }
}

/// Whether a refused chain may be a clock's fault.
pub const fn is_about_time(error: &ChainError) -> bool {
    matches!(error, ChainError::Expired(_) | ChainError::NotYetValid(_) | ChainError::StaleList(_))
}

/// Says what a certificate that fails by time means, with the skew when it is known.
pub fn explain(whose: &str, error: &ChainError, skew: Option<Skew>) -> String {
    match skew {
        Some(skew) if skew.is_wrong() => format!("clock wrong: {skew}, so {whose}: {error}"),
        Some(_) => format!("certificate out of date, not the clock: {whose}: {error}"),
        None => format!("clock wrong or certificate expired: {whose}: {error}"),
    }
}

/// Why the device's own certificate does not pass at `now`.
///
/// # Errors
/// The reason.
pub fn own_certificate(device: &Device, now: SystemTime) -> Result<(), ChainError> {
    device.trust.verify(&device.identity.chain, &[Role::Agent], unix(now)).map(|_| ())
}

fn span(seconds: i64) -> String {
    match seconds.unsigned_abs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// What is not worth a word. Certificates are valid from an hour before they are made.
const TOLERANCE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_after_welcome_is_noticed() {
        let (start, mut clock) = (Instant::now(), ServerClock::default());
        let wall = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(clock.skew(start, wall), None);
        clock.told(start, 1_700_000_000);
        let later = start + Duration::from_secs(60);
        assert_eq!(clock.skew(later, wall + Duration::from_secs(60)), Some(Skew { seconds: 0 }));
        let jumped = wall - Duration::from_secs(10 * 86_400);
        let skew = clock.skew(later, jumped).unwrap();
        assert_eq!(skew.to_string(), "this device's clock is 10 days behind the server's");
        assert!(skew.is_wrong());
    }

    #[test]
    fn the_words_tell_a_wrong_clock_from_an_old_certificate() {
        let error = ChainError::Expired(Duration::from_secs(864_000));
        let words = |skew| explain("the server's certificate", &error, skew);
        assert!(words(None).starts_with("clock wrong or certificate expired"));
        assert!(
            words(Some(Skew { seconds: 864_000 }))
                .starts_with("clock wrong: this device's clock is 10 days ahead")
        );
        assert!(words(Some(Skew { seconds: 3 })).starts_with("certificate out of date, not the clock"));
    }
}
