//! How much of everything is measured.

use std::time::Duration;

use crate::bench::Options;

/// Sizes and times of the measurements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// How long bulk flows before it counts.
    pub(super) warm_up: Duration,
    /// How long it counts.
    pub(super) measured: Duration,
    /// Connections of a latency sample.
    pub(super) connections: usize,
    /// Tunnels that do nothing.
    pub(super) idle: usize,
    /// Agents that come back.
    pub(super) agents: usize,
}

impl Effort {
    pub(super) const fn of(options: &Options) -> Self {
        match (options.smoke, options.full) {
            (true, _) => Self::SMOKE,
            (false, true) => Self { idle: 9_000, ..Self::USUAL },
            (false, false) => Self::USUAL,
        }
    }

    const USUAL: Self = Self {
        warm_up: Duration::from_millis(500),
        measured: Duration::from_secs(2),
        connections: 320,
        idle: 3_000,
        agents: 1_000,
    };

    /// Only whether everything works.
    const SMOKE: Self = Self {
        warm_up: Duration::from_millis(50),
        measured: Duration::from_millis(200),
        connections: 16,
        idle: 40,
        agents: 20,
    };
}
