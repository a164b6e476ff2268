//! Processes whose clocks run fast, by libfaketime.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use klnet_tests::fault::CLOCK_LIBRARIES;
use klnet_tests::{Unavailable, skip};

/// Every clock of the process, also the one of its timers, runs `speed` times as fast.
pub(crate) fn accelerate(command: &mut Command, speed: u64) -> Result<()> {
    let library = library().context("libfaketime is not installed")?;
    command.env("LD_PRELOAD", library).env("FAKETIME", format!("+0 x{speed}"));
    Ok(())
}

/// Whether clocks can be shifted here; prints the skip line when not.
pub(crate) fn has_shifted_clocks() -> bool {
    if library().is_none() {
        skip(&Unavailable::Missing("libfaketime".into()));
    }
    library().is_some()
}

fn library() -> Option<&'static str> {
    CLOCK_LIBRARIES.into_iter().find(|path| Path::new(path).exists())
}
