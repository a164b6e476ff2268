//! A LAN of hosts on which `klcast` runs.

pub(crate) mod hostile;
mod networks;
mod receiver;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use klnet_tests::lab::{Host, Lab, Process, Switch};
use klnet_tests::program;
use klnet_tests::sim::Rng;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) use receiver::Receiver;

/// A switch with a sender, the group's key files, and something to send.
pub(crate) struct Lan {
    _lab: Lab,
    pub(crate) switch: Switch,
    pub(crate) sender: Host,
    folder: TempDir,
}

/// A sender at work.
pub(crate) struct Sending(pub(crate) Process);

/// What a sender said at its end.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) code: Option<i32>,
    lines: Vec<Value>,
}

impl Lan {
    /// `None` where there can be no hosts.
    pub(crate) fn or_skip(name: &str) -> Result<Option<Self>> {
        Self::of_group(name, GROUP)
    }

    /// The same for another group.
    pub(crate) fn of_group(name: &str, group: &str) -> Result<Option<Self>> {
        let Some(lab) = Lab::or_skip(name) else { return Ok(None) };
        let switch = lab.switch("lan")?;
        let sender = switch.host("sender")?;
        let folder = tempfile::Builder::new().prefix(&format!("klcast-{name}-")).tempdir()?;
        let lan = Self { _lab: lab, switch, sender, folder };
        lan.key("lan", group)?;
        Ok(Some(lan))
    }

    /// Makes the key files of a group.
    pub(crate) fn key(&self, name: &str, group: &str) -> Result<()> {
        let mut command = std::process::Command::new(program("klcast")?);
        command.args(["key", "new", "--group", group]).arg(self.path(name));
        let mut key = Process::spawn("key", &mut command)?;
        ensure!(key.wait(PATIENCE)?.success(), "{}", key.output()?);
        Ok(())
    }

    /// A path beside the key files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of random bytes.
    pub(crate) fn file(&self, name: &str, length: usize) -> Result<PathBuf> {
        let (path, mut bytes) = (self.path(name), vec![0; length]);
        Rng::new(length as u64).fill(&mut bytes);
        fs::write(&path, bytes)?;
        Ok(path)
    }

    /// A new host that receives one object into a folder of its own.
    pub(crate) fn receiver(&self, name: &str) -> Result<Receiver> {
        Receiver::start(self, self.switch.host(name)?, name, &self.path(name))
    }

    /// Begins to send.
    pub(crate) fn send(&self, options: &[&str], paths: &[&Path]) -> Result<Sending> {
        self.send_from(&self.sender, "lan.sender", options, paths)
    }

    /// Begins to send from any host, with any key.
    pub(crate) fn send_from(
        &self,
        host: &Host,
        key: &str,
        options: &[&str],
        paths: &[&Path],
    ) -> Result<Sending> {
        let mut command = host.command(program("klcast")?);
        command.args(["send", "--json", "--key"]).arg(self.path(key)).args(options).args(paths);
        Ok(Sending(Process::spawn("send", &mut command)?))
    }
}

impl Sending {
    /// Waits for the end of the session.
    pub(crate) fn end(mut self) -> Result<Sent> {
        let code = self.0.wait(PATIENCE * 10)?.code();
        let output = self.0.output()?;
        let lines = output.lines().map(serde_json::from_str).collect::<Result<_, _>>();
        Ok(Sent { code, lines: lines.with_context(|| format!("not JSON: {output}"))? })
    }
}

impl Sent {
    /// Symbols on the wire for each of the object.
    pub(crate) fn ratio(&self) -> Result<f64> {
        let symbols = self.result("symbols")?.as_u64().context("a number")?;
        Ok(symbols as f64 / self.sources()? as f64)
    }

    /// Symbols of the object.
    pub(crate) fn sources(&self) -> Result<u64> {
        self.result("sources")?.as_u64().context("a number")
    }

    /// How a receiver ended.
    pub(crate) fn state(&self, label: &str) -> Option<&str> {
        let row = self.lines.iter().find(|line| line["event"] == "receiver" && line["label"] == label)?;
        row["state"].as_str()
    }

    fn result(&self, name: &str) -> Result<&Value> {
        let last = self.lines.last().filter(|line| line["event"] == "result");
        last.and_then(|line| line.get(name)).with_context(|| format!("no {name} in {:?}", self.lines))
    }
}

/// One of those for groups of senders.
pub(crate) const GROUP: &str = "239.194.5.1:15001";
/// Nothing here takes as long on a machine that does other things, too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
