//! A wrong wall clock, by libfaketime.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Makes `command` see a wall clock that is off by `offset`, as libfaketime writes it: `+10d`, `-3600`.
///
/// Only the wall clock: the monotonic clock, and with it every timer, stays right. Works for dynamically linked
/// programs.
///
/// # Errors
/// When libfaketime is not installed.
pub fn shift_clock<'a>(command: &'a mut Command, offset: &str) -> Result<&'a mut Command> {
    let library = CLOCK_LIBRARIES
        .iter()
        .find(|path| Path::new(path).exists())
        .context("libfaketime is not installed")?;
    Ok(command.env("LD_PRELOAD", library).env("FAKETIME", offset).env("FAKETIME_DONT_FAKE_MONOTONIC", "1"))
}

/// Where Debian and Fedora keep the library; the variant for programs with threads.
pub const CLOCK_LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
];
