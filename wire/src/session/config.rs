//! What a session is told at its start, and what both ends agree on.

use std::time::Duration;

/// Deadlines of a session.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// How long the peer's first frame may take.
    pub hello_timeout: Duration,
    /// How long the answer to a PING may take.
    pub pong_timeout: Duration,
    /// Different for each agent, so that heartbeats spread.
    pub jitter_seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { hello_timeout: HELLO_TIMEOUT, pong_timeout: PONG_TIMEOUT, jitter_seed: 0 }
    }
}

/// Highest minor version both ends speak, given the peer's lowest and highest.
#[allow(clippy::unnecessary_min_or_max)] // true only until there is a second minor version
pub fn negotiate(peer_min: u32, peer_max: u32) -> Option<u32> {
    let (low, high) = (peer_min.max(MINOR_MIN), peer_max.min(MINOR_MAX));
    (low <= high && peer_min <= peer_max).then_some(high)
}

/// Lowest minor version this program speaks.
pub const MINOR_MIN: u32 = 0;
/// Highest minor version this program speaks.
pub const MINOR_MAX: u32 = 0;
/// Feature bits this program has; bit 0 is tunnels.
pub const FEATURES: u64 = 1;

/// A peer that has nothing to say for so long after TLS is not one of ours.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// An answer that takes longer than this is taken for lost: several times the round trip of a bad line.
const PONG_TIMEOUT: Duration = Duration::from_secs(10);
