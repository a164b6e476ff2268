//! Running `ip`, `nft` and friends, with their own words in the error.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// When it cannot start or fails; the error carries the command line and its error output.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    succeeded(command, output)
}

/// `ip` with arguments split at spaces.
pub(super) fn ip(arguments: &str) -> Result<String> {
    run(system("ip").args(arguments.split_whitespace()))
}

/// Feeds a script to `nft -f -` as started by `command`.
pub(super) fn feed(mut command: Command, script: &str) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    child.stdin.take().context("stdin was piped")?.write_all(script.as_bytes())?;
    succeeded(&command, child.wait_with_output()?).with_context(|| format!("script was: {script}"))
}

/// A command found also where a user's PATH does not reach.
pub(super) fn system(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"));
    command
}

fn succeeded(command: &Command, output: Output) -> Result<String> {
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
