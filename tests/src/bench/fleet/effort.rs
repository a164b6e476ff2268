//! How much of everything is measured.

use crate::bench::Options;

/// Sizes of the measurements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Devices that enrol.
    pub(super) enrolments: usize,
    /// Sessions that have nothing to say.
    pub(super) idle: usize,
    /// Devices that are connected while some are revoked.
    pub(super) connected: usize,
    /// How many of them are.
    pub(super) revocations: usize,
}

impl Effort {
    pub(super) const fn of(options: &Options) -> Self {
        match (options.smoke, options.full) {
            (true, _) => Self { enrolments: 20, idle: 40, connected: 20, revocations: 5 },
            (false, true) => Self { idle: 18_000, ..Self::USUAL },
            (false, false) => Self::USUAL,
        }
    }

    const USUAL: Self = Self { enrolments: 2_000, idle: 6_000, connected: 1_000, revocations: 200 };
}
