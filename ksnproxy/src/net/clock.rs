//! The only look at the clocks.

use std::time::{Instant, SystemTime};

use crate::clock::Moment;

/// Both clocks.
pub(super) fn moment() -> Moment {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Moment { instant: Instant::now(), unix: u32::try_from(since.as_secs()).unwrap_or(u32::MAX) }
}
