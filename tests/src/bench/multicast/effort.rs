//! How much of everything is measured.

use crate::bench::Options;

/// Sizes and counts of the measurements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Bytes to four receivers.
    pub(super) bulk: usize,
    /// Bytes to eight, where only symbols count.
    pub(super) wire: usize,
    /// Bytes of the runs that find a peer's best setting; 0 takes its first one.
    pub(super) sweep: usize,
    /// Bytes past a receiver that is worse than the others.
    pub(super) straggler: usize,
    /// Small files one after the other.
    pub(super) policies: usize,
    /// Bytes to a thousand simulated receivers.
    pub(super) crowd: u64,
    /// Receivers of the simulation.
    pub(super) receivers: usize,
}

impl Effort {
    pub(super) const fn of(options: &Options) -> Self {
        match (options.smoke, options.quick) {
            (true, _) => Self::SMOKE,
            (false, true) => Self::QUICK,
            (false, false) => Self::USUAL,
        }
    }

    const USUAL: Self = Self {
        bulk: 512 << 20,
        wire: 64 << 20,
        sweep: 48 << 20,
        straggler: 64 << 20,
        policies: 100,
        crowd: 1 << 30,
        receivers: 1000,
    };

    const QUICK: Self = Self {
        bulk: 128 << 20,
        wire: 32 << 20,
        sweep: 24 << 20,
        straggler: 24 << 20,
        policies: 60,
        crowd: 256 << 20,
        ..Self::USUAL
    };

    /// Only whether everything works.
    const SMOKE: Self = Self {
        bulk: 3 << 20,
        wire: 2 << 20,
        sweep: 0,
        straggler: 1 << 20,
        policies: 2,
        crowd: 8 << 20,
        receivers: 40,
    };
}
