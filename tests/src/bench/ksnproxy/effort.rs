//! How much of everything is measured.

use std::time::Duration;

use crate::bench::Options;

/// Sizes and times of the measurements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// How long a generator runs before it counts.
    pub(super) warm_up: Duration,
    /// How long it counts.
    pub(super) measured: Duration,
    /// Keys that are asked about.
    pub(super) keys: u32,
    /// Keys of the Zipf distribution, a tenth of which fit into the cache, and draws of it.
    pub(super) zipf: (u32, u32),
    /// Entries whose memory is counted.
    pub(super) entries: u32,
    /// TLS handshakes: no more than a client has ports for in all rounds.
    pub(super) handshakes: u32,
    /// Lines of a list that is imported.
    pub(super) lines: u32,
    /// Records of a snapshot, and how many of them are looked up.
    pub(super) records: (u32, u32),
    /// Packets that are no good queries, or are.
    pub(super) packets: u32,
}

impl Effort {
    pub(super) const fn of(options: &Options) -> Self {
        match (options.smoke, options.full) {
            (true, _) => Self::SMOKE,
            (false, true) => Self { records: (20_000_000, 2_000_000), entries: 10_000_000, ..Self::USUAL },
            (false, false) => Self::USUAL,
        }
    }

    const USUAL: Self = Self {
        warm_up: Duration::from_millis(300),
        measured: Duration::from_millis(1500),
        keys: 20_000,
        zipf: (5_000_000, 10_000_000),
        entries: 2_000_000,
        handshakes: 2_000,
        lines: 1_000_000,
        records: (5_000_000, 1_000_000),
        packets: 10_000_000,
    };

    /// Only whether everything works.
    const SMOKE: Self = Self {
        warm_up: Duration::from_millis(20),
        measured: Duration::from_millis(100),
        keys: 1_000,
        zipf: (10_000, 50_000),
        entries: 50_000,
        handshakes: 50,
        lines: 2_000,
        records: (20_000, 10_000),
        packets: 20_000,
    };
}
