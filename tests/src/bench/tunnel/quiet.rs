//! Whether anybody else used the machine while something was measured.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::bench::Options;
use crate::lab::cpu_time;

/// Repeats what others disturbed, and counts what stayed disturbed.
#[derive(Debug)]
pub(super) struct Quiet {
    /// How often a disturbed measurement is repeated.
    repeats: usize,
    runs: Cell<usize>,
    disturbed: Cell<usize>,
}

impl Quiet {
    /// Repeats a few times; not at all where figures say nothing anyway.
    pub(super) fn new(options: &Options) -> Self {
        let repeats = if options.smoke { 0 } else { REPEATS };
        Self { repeats, runs: Cell::default(), disturbed: Cell::default() }
    }

    /// Runs a measurement, again when others took more than [`FOREIGN`] of the machine meanwhile, a few times at most.
    /// The least disturbed one counts.
    pub(super) fn run<T>(&self, mut measurement: impl FnMut() -> Result<T>) -> Result<T> {
        let mut best = observed(&mut measurement)?;
        for _ in 0..self.repeats {
            if best.1 <= FOREIGN {
                break;
            }
            let again = observed(&mut measurement)?;
            if again.1 < best.1 {
                best = again;
            }
        }
        self.runs.set(self.runs.get() + 1);
        self.disturbed.set(self.disturbed.get() + usize::from(best.1 > FOREIGN));
        Ok(best.0)
    }

    /// How quiet it was; `None` where it made no difference.
    pub(super) fn note(&self) -> Option<String> {
        (self.runs.get() > 0).then(|| format!(
            "Other programs took more than {:.0} % of the machine in {} of {} runs, although each was repeated up to \
             {} times.",
            FOREIGN * 100.0,
            self.disturbed.get(),
            self.runs.get(),
            self.repeats
        ))
    }
}

/// A measurement and which part of the machine others took meanwhile.
fn observed<T>(measurement: &mut impl FnMut() -> Result<T>) -> Result<(T, f64)> {
    let (begun, busy, own) = (Instant::now(), busy_time()?, own_time()?);
    let measured = measurement()?;
    let own = own_time()?.saturating_sub(own);
    let foreign = busy_time()?.saturating_sub(busy).saturating_sub(own);
    let cores = std::thread::available_parallelism()?.get();
    let cores = f64::from(u32::try_from(cores)?);
    Ok((measured, foreign.as_secs_f64() / begun.elapsed().as_secs_f64() / cores))
}

/// This process and everything it has started.
fn own_time() -> Result<Duration> {
    cpu_time(std::process::id())
}

/// What all programs of the machine have used, and what its host has kept from it (proc_stat(5)): user, nice, system,
/// steal. Time in interrupts belongs to no program.
fn busy_time() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let fields = stat.lines().next().context("no first line")?.split_whitespace().skip(1);
    let fields: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>()?;
    let ticks = [0, 1, 2, 7].iter().filter_map(|column| fields.get(*column)).sum::<u64>();
    Ok(Duration::from_millis(ticks * 10))
}

/// Above this part of the machine a run is repeated.
const FOREIGN: f64 = 0.05;
const REPEATS: usize = 2;
