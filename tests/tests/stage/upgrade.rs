//! A server whose program is replaced while it runs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use klnet_tests::lab::Process;
use klnet_tests::program;

use super::{PATIENCE, Stage, eventually, succeeded};

/// A stage whose server runs from a file of its own, which can be another program by the next start.
pub(crate) struct Upgradable {
    pub(crate) stage: Stage,
    /// The process that serves; the one the stage started, or one that took its place.
    process: u32,
    program: PathBuf,
}

impl Upgradable {
    pub(crate) async fn set() -> Result<Self> {
        Self::set_with(|_, _| Ok(())).await
    }

    /// The server's process, and so those that take its place, started as `adjust` says.
    pub(crate) async fn set_with(adjust: impl FnOnce(&Stage, &mut Command) -> Result<()>) -> Result<Self> {
        let mut stage = Stage::set().await?;
        stage.stop_server()?;
        let file = stage.path("klserver");
        install(&file, &program("klserver")?)?;
        let mut run = stage.run_server(&file);
        adjust(&stage, &mut run)?;
        // What a new program cannot do is told as an error.
        let server = Process::spawn("klserver", &mut run)?.tolerating_errors();
        let process = server.id();
        stage.serve(server).await?;
        Ok(Self { stage, process, program: file })
    }

    /// Puts a script where the program is.
    pub(crate) fn install_script(&self, script: &str) -> Result<()> {
        let fresh = self.program.with_extension("new");
        fs::write(&fresh, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
        Ok(fs::rename(fresh, &self.program)?)
    }

    /// Puts the program there that was built.
    pub(crate) fn install(&self) -> Result<()> {
        install(&self.program, &program("klserver")?)
    }

    /// The process that serves.
    pub(crate) const fn process(&self) -> u32 {
        self.process
    }

    /// Asks for an upgrade.
    pub(crate) fn ask(&self) -> Result<()> {
        self.signal("HUP").map(drop)
    }

    /// Asks for an upgrade and waits until another process serves alone; gives what the old one said at last.
    pub(crate) async fn upgrade(&mut self) -> Result<String> {
        let (said, old) = (self.said("handed over").len(), self.process);
        self.ask()?;
        let done = eventually(PATIENCE, async || self.said("handed over").len() > said && !lives(old));
        done.await.with_context(|| format!("it is not handed over: {}", self.stage.server_log()))?;
        self.process = self.served_by()?;
        ensure!(self.process != old, "another process serves");
        Ok(self.said("handed over").pop().unwrap_or_default())
    }

    /// Waits until the log has another line with these words, of which there were `before`.
    pub(crate) async fn says(&self, words: &str, before: usize) -> Result<String> {
        eventually(PATIENCE, async || self.said(words).len() > before)
            .await
            .with_context(|| format!("{words:?} is not in the log: {}", self.stage.server_log()))?;
        Ok(self.said(words).pop().unwrap_or_default())
    }

    /// Lines of the log with these words.
    pub(crate) fn said(&self, words: &str) -> Vec<String> {
        let log = self.stage.server_log();
        log.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    }

    /// The process that said last that it serves.
    pub(crate) fn served_by(&self) -> Result<u32> {
        let line = self.said("serving").pop().context("nobody serves")?;
        field(&line, "process").context("the line names the process")?.parse().context("a number")
    }

    /// From now on this is the process that serves.
    pub(crate) fn follow(&mut self) -> Result<()> {
        self.process = self.served_by()?;
        Ok(())
    }

    pub(crate) fn signal(&self, signal: &str) -> Result<String> {
        signal_to(self.process, signal)
    }
}

impl Drop for Upgradable {
    fn drop(&mut self) {
        // The stage kills what it has started itself.
        let _ = signal_to(self.process, "KILL");
    }
}

/// What a field of a log's line says.
pub(crate) fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

pub(crate) fn signal_to(process: u32, signal: &str) -> Result<String> {
    succeeded(Command::new("kill").args(["-s", signal, &process.to_string()]))
}

/// Whether a process is there and not just waited for by nobody.
pub(crate) fn lives(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

fn install(file: &Path, program: &Path) -> Result<()> {
    let fresh = file.with_extension("new");
    symlink(program, &fresh)?;
    Ok(fs::rename(fresh, file)?)
}
