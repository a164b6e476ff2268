//! Unix seconds, as status, lists and messages hold them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix seconds by this clock; before 1970 is 0.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
