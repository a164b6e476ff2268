//! Time, as records and messages hold it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Unix seconds; before 1970 is 0.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The time of Unix seconds; `None` for 0, which records use for never.
pub fn time(seconds: u64) -> Option<SystemTime> {
    (seconds != 0).then(|| UNIX_EPOCH + Duration::from_secs(seconds))
}

/// A duration as messages have it; what is longer than 49 days is that.
pub fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
