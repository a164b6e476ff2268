//! What the proxy core is run with.

use std::time::Duration;

/// Limits of the proxy core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How many upstreams there are; the first that works is asked.
    pub upstreams: usize,
    /// Most keys of one request upstream, at most 255.
    pub batch: usize,
    /// How long a key waits for others while a request is under way.
    pub delay: Duration,
    /// Most requests under way at one upstream.
    pub window: usize,
    /// When a request that was not answered has failed.
    pub timeout: Duration,
    /// When whoever asked is told that nobody could be asked.
    pub patience: Duration,
    /// Most keys that are asked for at once.
    pub keys: usize,
    /// Most who wait for them.
    pub waiters: usize,
    /// After so many failures in a row an upstream is left alone,
    pub failures: u32,
    /// for so long at first,
    pub pause: Duration,
    /// and for so long at most: twice as long after each failure.
    pub pause_limit: Duration,
}

impl Default for Config {
    /// One upstream on another continent answers within 300 ms; somebody who opens a file waits no longer than 2 s.
    fn default() -> Self {
        Self {
            upstreams: 1,
            batch: 255,
            delay: Duration::from_millis(2),
            window: 8,
            timeout: Duration::from_millis(900),
            patience: Duration::from_secs(2),
            keys: 1 << 16,
            waiters: 1 << 17,
            failures: 3,
            pause: Duration::from_millis(500),
            pause_limit: Duration::from_secs(10),
        }
    }
}
