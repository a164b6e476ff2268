//! Processes of `klserver up`: started from the linked commands, ended with it.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// A process that runs until it is told to stop.
pub(super) struct Process {
    /// What it is, for people.
    pub(super) name: &'static str,
    child: Child,
}

impl Process {
    /// Starts it, with its output in `LOGS/NAME.log`.
    pub(super) fn start(name: &'static str, logs: &Path, command: &mut Command) -> anyhow::Result<Self> {
        std::fs::create_dir_all(logs)?;
        let log = File::options().create(true).append(true).open(logs.join(name).with_extension("log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for us: we end the others in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Waits for its end, and says what it was.
    pub(super) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => format!("{} ended: {status}", self.name),
            Err(error) => format!("{} ended: {error}", self.name),
        }
    }

    /// Asks it to stop, and makes it when it does not.
    pub(super) async fn stop(mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// Runs a command to its end and gives what it printed.
///
/// # Errors
/// When it fails, with what it said.
pub(super) async fn output(command: &mut Command) -> anyhow::Result<String> {
    let shown = format!("{:?}", command.as_std().get_program());
    let output = command.stdin(Stdio::null()).output();
    let output = timeout(RUN_TIMEOUT, output).await.with_context(|| format!("{shown} takes too long"))??;
    if !output.status.success() {
        bail!("{shown} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const RUN_TIMEOUT: Duration = Duration::from_secs(30);
