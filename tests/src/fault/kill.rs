//! `kill -9` in the middle of work, over and over.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::lab::Process;
use crate::sim::Rng;

/// Starts a program `rounds` times and kills each at a random moment within `window`, while `work` uses it.
///
/// `work` gets the round's number and loads the program until that fails; it keeps its own books of what was
/// acknowledged and compares them with what the next round finds. Moments come from `rng`, so a seed repeats them as
/// far as a real scheduler allows.
///
/// # Errors
/// The first error of `start` or `work`, with its round.
pub fn kill_rounds(
    rounds: u32,
    window: Duration,
    rng: &mut Rng,
    mut start: impl FnMut() -> Result<Process>,
    mut work: impl FnMut(u32) -> Result<()>,
) -> Result<()> {
    for round in 0..rounds {
        let doomed =
            start().with_context(|| format!("start of round {round}"))?.kill_after(rng.duration(window));
        work(round).with_context(|| format!("work of round {round}"))?;
        doomed.struck()?;
    }
    Ok(())
}
