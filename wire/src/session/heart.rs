//! Heartbeats: what keeps a session alive, and what ends one whose peer is gone.

use std::time::{Duration, Instant};

use crate::message::Welcome;

/// What keeps an established session alive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heart {
    pub(super) heartbeat: Duration,
    /// When the next PING is due (agent).
    pub(super) next_ping: Instant,
    /// Since when a PONG is awaited.
    pub(super) awaiting: Option<Instant>,
    pub(super) last_heard: Instant,
}

impl Heart {
    pub(super) fn new(now: Instant, heartbeat: Duration, first_ping: Duration) -> Self {
        Self { heartbeat, next_ping: now + first_ping, awaiting: None, last_heard: now }
    }

    /// How long a peer may be silent: two and a half heartbeats.
    pub(super) fn silence(&self) -> Duration {
        self.heartbeat * 5 / 2
    }

    /// Whether a sign of life is worth asking for: none came lately, and none is awaited.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        self.awaiting.is_none() && now.saturating_duration_since(self.last_heard) >= QUIET
    }
}

impl Welcome {
    /// The heartbeat interval, held between [`HEARTBEAT_MIN`] and [`HEARTBEAT_MAX`] whatever the server says.
    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms.into()).clamp(HEARTBEAT_MIN, HEARTBEAT_MAX)
    }
}

/// `heartbeat` +-20 %, different for each agent and each beat, so that a fleet's heartbeats spread.
pub(super) fn jitter(heartbeat: Duration, number: u64) -> Duration {
    heartbeat.mul_f64(0.8 + 0.4 * (splitmix64(number) >> 11) as f64 / (1_u64 << 53) as f64)
}

/// SplitMix64 (Steele, Lea, Flood 2014): spreads consecutive numbers evenly.
fn splitmix64(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Shortest heartbeat that is obeyed; for laboratories.
pub const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
/// Longest heartbeat that is obeyed.
pub const HEARTBEAT_MAX: Duration = Duration::from_secs(3600);
/// Silence after which a message that someone waits for is sent with a PING: in a busy session nothing is added, and
/// with the PONG's 10 s a peer that is gone is noticed while people still wait.
pub const QUIET: Duration = Duration::from_secs(5);
