//! What a command said, and how it ended.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::PATIENCE;
use crate::system;

/// A command that has ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    command: String,
}

impl Said {
    /// Runs a command to its end.
    ///
    /// # Errors
    /// When it cannot start, or takes longer than [`PATIENCE`].
    pub fn by(command: &mut Command) -> Result<Self> {
        Self::within(PATIENCE, command, b"")
    }

    /// Runs a command with `input` to its end.
    ///
    /// # Errors
    /// When it cannot start, or takes longer than `timeout`; it is killed then.
    pub fn within(timeout: Duration, command: &mut Command, input: &[u8]) -> Result<Self> {
        let shown = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {shown}"))?;
        let (pid, mut stdin) = (child.id(), child.stdin.take().context("stdin was piped")?);
        let input = input.to_vec();
        // It may end without having read everything, which its exit code tells.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let (done, ended) = mpsc::channel();
        let waiter = std::thread::spawn(move || drop(done.send(child.wait_with_output())));
        let output = ended.recv_timeout(timeout).or_else(|_| {
            // The waiter has not reaped it yet, so the number still means this process.
            system::signal(pid, libc::SIGKILL)?;
            // A child of its own may hold the pipes open for ever.
            let killed = ended.recv_timeout(AFTER_KILL).context("its output stays open");
            let said = killed.and_then(|said| Ok(said?)).map(|said| text(&said.stdout) + &text(&said.stderr));
            anyhow::bail!("{shown} did not end within {timeout:?}; it said:\n{said:?}")
        })??;
        let (_, _) = (writer.join(), waiter.join());
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Ok(Self { code: output.status.code().unwrap_or(-1), stdout, stderr, command: shown })
    }

    /// Insists on exit code 0 and gives the standard output, without the last line's end.
    ///
    /// # Errors
    /// What it said, when it failed.
    pub fn ok(&self) -> Result<&str> {
        self.ended_with(0)?;
        Ok(self.stdout.trim_end())
    }

    /// Insists on exit code 0 and reads the standard output as JSON.
    ///
    /// # Errors
    /// What it said, when it failed or said something else than JSON.
    pub fn json(&self) -> Result<Value> {
        let text = self.ok()?;
        serde_json::from_str(text).with_context(|| format!("{} printed no JSON: {text}", self.command))
    }

    /// Insists on exit code 0 and reads every line of the standard output as JSON.
    ///
    /// # Errors
    /// What it said, when it failed or said something else than JSON.
    pub fn json_lines(&self) -> Result<Vec<Value>> {
        let read = |line: &str| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"));
        self.ok()?.lines().map(read).collect()
    }

    /// Insists on an exit code and on words in the standard error.
    ///
    /// # Errors
    /// What it said instead.
    pub fn refused(&self, code: i32, words: &str) -> Result<()> {
        self.ended_with(code)?;
        let Self { command, stderr, .. } = self;
        ensure!(stderr.contains(words), "{command} did not say {words:?} but: {stderr}");
        Ok(())
    }

    fn ended_with(&self, code: i32) -> Result<()> {
        let Self { command, stdout, stderr, .. } = self;
        ensure!(self.code == code, "{command} ended with {}, not {code}:\n{stdout}\n{stderr}", self.code);
        Ok(())
    }
}

/// How long the output of a killed program may take.
const AFTER_KILL: Duration = Duration::from_secs(1);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
