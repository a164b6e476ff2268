//! A child process whose output goes to a file, and which never outlives its test.

use std::fs::File;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use super::wait::wait_until;
use crate::system;

/// A running program; killed on drop.
///
/// Output goes to a file, not a pipe: nobody has to read it, so the program never blocks on a full pipe, and all of it
/// is there after a `kill -9`.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: NamedTempFile,
    tolerates_errors: bool,
}

impl Process {
    /// Starts `command` with no input and its whole output captured.
    ///
    /// # Errors
    /// When the program cannot start.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        let output =
            NamedTempFile::with_prefix(format!("klnet-{name}-")).context("cannot make the output file")?;
        // Opened for appending twice, so that the two streams keep each other's lines.
        let append = || File::options().append(true).open(output.path());
        command.stdin(Stdio::null()).stdout(append()?).stderr(append()?);
        let child = command.spawn().with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, output, tolerates_errors: false })
    }

    /// Lets this program log at level ERROR; without this, such a line fails the test when the process is dropped.
    #[must_use]
    pub fn tolerating_errors(mut self) -> Self {
        self.tolerates_errors = true;
        self
    }

    /// Waits until a line of output contains `text` and returns that line.
    ///
    /// # Errors
    /// When the program ends or `timeout` passes first; with the output so far.
    pub fn wait_for_line(&mut self, text: &str, timeout: Duration) -> Result<String> {
        let name = self.name.clone();
        let mut ended = false;
        let line = wait_until(timeout, || {
            let gone = std::mem::replace(&mut ended, self.child.try_wait()?.is_some());
            let line = self.output()?.lines().find(|line| line.contains(text)).map(str::to_owned);
            // One more look after the end: the line may be the last thing it wrote.
            if line.is_none() && gone {
                bail!("{name} ended before it printed {text:?}");
            }
            Ok(line)
        });
        line.and_then(|line| {
            line.with_context(|| format!("{name} did not print {text:?} within {timeout:?}"))
        })
        .with_context(|| format!("output of {name}:\n{}", self.output().unwrap_or_default()))
    }

    /// Waits for the program to end by itself.
    ///
    /// # Errors
    /// When it still runs after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let status = wait_until(timeout, || Ok(self.child.try_wait()?))?;
        status.with_context(|| format!("{} still runs after {timeout:?}", self.name))
    }

    /// Kills the program (`kill -9`) and waits until it is gone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    /// Asks the program to end (`SIGTERM`) and waits for it.
    ///
    /// # Errors
    /// When it still runs after `timeout`.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(libc::SIGTERM)?;
        self.wait(timeout)
    }

    /// Asks the program to start anew (`SIGHUP`).
    ///
    /// # Errors
    /// When it has ended.
    pub fn hang_up(&mut self) -> Result<()> {
        self.signal(libc::SIGHUP)
    }

    /// Freezes the program: its sockets stay open and nothing is read or answered.
    ///
    /// # Errors
    /// When it has ended.
    pub fn freeze(&mut self) -> Result<()> {
        self.signal(libc::SIGSTOP)
    }

    /// Lets a frozen program go on.
    ///
    /// # Errors
    /// When it has ended.
    pub fn thaw(&mut self) -> Result<()> {
        self.signal(libc::SIGCONT)
    }

    /// Kills the program once `delay` is over, in the middle of whatever it does then.
    #[must_use]
    pub fn kill_after(self, delay: Duration) -> Doom {
        let pid = self.child.id();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(delay);
            // The child is not waited for before this thread is joined, so the number still means the same process.
            system::signal(pid, libc::SIGKILL)
        });
        Doom { process: self, thread }
    }

    /// Everything it has printed so far.
    ///
    /// # Errors
    /// When the file is gone.
    pub fn output(&self) -> Result<String> {
        let bytes = std::fs::read(self.output.path()).context("the output file is gone")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The id of the program itself, never of a wrapper.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it runs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    fn signal(&mut self, signal: i32) -> Result<()> {
        // A child that has been waited for has no number any more; someone else may have it by now.
        if !self.is_running()? {
            bail!("{} has already ended", self.name);
        }
        Ok(system::signal(self.child.id(), signal)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
        if self.tolerates_errors || std::thread::panicking() {
            return;
        }
        let output = self.output().unwrap_or_default();
        if let Some(line) = output.lines().find(|line| line.contains(" ERROR ")) {
            panic!("{} logged an error: {line}", self.name);
        }
    }
}

/// A process that is going to be killed.
#[derive(Debug)]
pub struct Doom {
    process: Process,
    thread: std::thread::JoinHandle<std::io::Result<()>>,
}

impl Doom {
    /// Waits until the kill has happened.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn struck(mut self) -> Result<Process> {
        // The signal finds a zombie when the program ended first; that is for the caller to see, not a fault here.
        let _ = self.thread.join();
        self.process.child.wait()?;
        Ok(self.process)
    }
}
