//! How a session is to go.

use std::time::Duration;

/// What a sender is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Ends once so many receivers are complete; otherwise [`Config::linger`] after the last request.
    pub expect: Option<u32>,
    /// How long to wait for another request.
    pub linger: Duration,
    /// How long expected receivers may be silent, all of them.
    pub patience: Duration,
    /// Bits a second at most.
    pub cap: u64,
    /// Whether the object is in the announcements.
    pub inline: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            expect: None,
            // As long as it takes a person to start a receiver.
            linger: Duration::from_secs(5),
            // A partition of a minute is waited for.
            patience: Duration::from_secs(90),
            // The fastest network that is usual in a LAN.
            cap: 10_000_000_000,
            inline: false,
        }
    }
}
