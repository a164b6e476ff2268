//! How much of everything is measured.

use std::time::Duration;

use crate::bench::Options;

/// Sizes and times of the measurements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// How long writers write before it counts.
    pub(super) warm_up: Duration,
    /// How long it counts.
    pub(super) measured: Duration,
    /// Devices of the server that comes back.
    pub(super) devices: u32,
}

impl Effort {
    pub(super) const fn of(options: &Options) -> Self {
        if options.smoke { Self::SMOKE } else { Self::USUAL }
    }

    const USUAL: Self =
        Self { warm_up: Duration::from_secs(1), measured: Duration::from_secs(4), devices: 1_000_000 };

    /// Only whether everything works.
    const SMOKE: Self =
        Self { warm_up: Duration::from_secs(1), measured: Duration::from_secs(1), devices: 1_000 };
}
