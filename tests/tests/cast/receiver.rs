//! A host that receives, and what it has received.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use klnet_tests::lab::{Host, Process};
use klnet_tests::program;
use serde_json::Value;

use super::{Lan, PATIENCE};

/// `klcast receive --once` on a host.
pub(crate) struct Receiver {
    pub(crate) host: Host,
    name: String,
    folder: PathBuf,
    key: PathBuf,
    process: Process,
}

impl Receiver {
    /// Starts it, and waits until it listens.
    pub(crate) fn start(lan: &Lan, host: Host, name: &str, folder: &Path) -> Result<Self> {
        Self::with_key(&lan.path("lan.receiver"), host, name, folder)
    }

    /// The same with any key.
    pub(crate) fn with_key(key: &Path, host: Host, name: &str, folder: &Path) -> Result<Self> {
        let process = receive(&host, name, folder, key)?;
        Ok(Self { host, name: name.to_owned(), folder: folder.to_owned(), key: key.to_owned(), process })
    }

    /// Starts it again, as after a crash.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.process = receive(&self.host, &self.name, &self.folder, &self.key)?;
        Ok(())
    }

    /// Kills it in the middle of whatever it does.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.process.kill().map(drop)
    }

    /// Waits until it tells of an event.
    pub(crate) fn wait_for(&mut self, event: &str) -> Result<Value> {
        let line = self.process.wait_for_line(&format!("\"event\":\"{event}\""), PATIENCE)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Waits until so many bytes are verified.
    pub(crate) fn wait_for_bytes(&mut self, bytes: u64) -> Result<()> {
        let has = |line: &str| {
            let line: Value = serde_json::from_str(line).ok()?;
            line["verified"].as_u64().filter(|verified| *verified >= bytes)
        };
        let look = || Ok(self.process.output()?.lines().any(|line| has(line).is_some()).then_some(()));
        klnet_tests::lab::wait_until(PATIENCE, look)?
            .with_context(|| format!("{bytes} bytes: {}", self.process.output().unwrap_or_default()))
    }

    /// Waits until it ends by itself, and makes sure that it has the file.
    pub(crate) fn ends_with(&mut self, sent: &Path) -> Result<Value> {
        let completed = self.wait_for("completed")?;
        ensure!(self.process.wait(PATIENCE)?.success(), "{}: {}", self.name, self.process.output()?);
        self.holds(sent)?;
        Ok(completed)
    }

    /// Makes sure that it has the file.
    pub(crate) fn holds(&self, sent: &Path) -> Result<()> {
        let name = sent.file_name().context("a file has a name")?;
        let got = fs::read(self.folder.join(name)).with_context(|| self.name.clone())?;
        ensure!(got == fs::read(sent)?, "{} has other bytes", self.name);
        Ok(())
    }

    /// Whether a file of this name is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }

    /// Where the first file of the object is while not all of it is there.
    pub(crate) fn part(&self) -> Result<PathBuf> {
        let objects = fs::read_dir(self.folder.join(".klcast"))?;
        let parts = objects.map(|object| Ok(object?.path().join("0"))).collect::<Result<Vec<_>>>()?;
        parts.into_iter().find(|part| part.exists()).context("nothing is on its way")
    }

    /// Bytes of memory that it has in use; `None` once it has ended.
    pub(crate) fn memory(&self) -> Result<Option<u64>> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmRSS:")) else { return Ok(None) };
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(Some(kilobytes << 10))
    }
}

fn receive(host: &Host, name: &str, folder: &Path, key: &Path) -> Result<Process> {
    let mut command = host.command(program("klcast")?);
    command.args(["receive", "--once", "--json", "--label", name, "--key"]).arg(key).arg(folder);
    let mut process = Process::spawn(name, &mut command)?;
    process.wait_for_line("listening", PATIENCE)?;
    Ok(process)
}
