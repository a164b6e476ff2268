//! The Administration Server of a fleet.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{PATIENCE, Said};
use crate::lab::{Host, Process};
use crate::program;

/// `klserver` on a host with a public address, on its usual ports.
#[derive(Debug)]
pub struct Server {
    host: Host,
    config: PathBuf,
    state: PathBuf,
    /// `None` while it is down.
    process: Option<Process>,
}

impl Server {
    /// Makes the server and starts it; the first operator's profile goes to `profile`.
    pub(super) fn init(host: Host, folder: &Path, settings: &str, profile: &Path) -> Result<Self> {
        let (config, state) = (folder.join("server.toml"), folder.join("server"));
        let address = host.address();
        std::fs::write(
            &config,
            format!("state = {state:?}\nhosts = [\"{address}\"]\n{}{settings}\n", defaults(settings)),
        )?;
        let mut init = host.command(program("klserver")?);
        Said::by(init.arg("init").arg("--config").arg(&config).arg("--profile").arg(profile))?.ok()?;
        let mut server = Self { host, config, state, process: None };
        server.start()?;
        Ok(server)
    }

    /// Starts the server, which is down, and waits until it serves.
    ///
    /// # Errors
    /// What it said instead.
    pub fn start(&mut self) -> Result<()> {
        let mut command = self.command()?;
        self.start_as(&mut command)
    }

    /// As [`Server::start`], with a command made from [`Server::command`], say under a limit of descriptors.
    ///
    /// # Errors
    /// What it said instead.
    pub fn start_as(&mut self, command: &mut Command) -> Result<()> {
        let process = self.process.insert(Process::spawn("klserver", command)?);
        process.wait_for_line("serving", PATIENCE).map(drop)
    }

    /// The command that runs this server, not started.
    ///
    /// # Errors
    /// When it does not build.
    pub fn command(&self) -> Result<Command> {
        let mut command = self.host.command(program("klserver")?);
        command.arg("run").arg("--config").arg(&self.config);
        Ok(command)
    }

    /// Ends the server in order.
    ///
    /// # Errors
    /// When it does not end, or is down.
    pub fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the server is down already")?;
        let status = process.terminate(PATIENCE)?;
        anyhow::ensure!(status.success(), "the server ended with {status}:\n{}", process.output()?);
        Ok(())
    }

    /// Kills the server (`kill -9`).
    ///
    /// # Errors
    /// When the kernel refuses, or it is down.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the server is down already")?.kill().map(drop)
    }

    /// The running process.
    ///
    /// # Errors
    /// When it is down.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the server is down")
    }

    /// The id of the running process.
    ///
    /// # Errors
    /// When it is down.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("the server is down")?.id())
    }

    /// What it has logged since its last start.
    ///
    /// # Errors
    /// When it is down.
    pub fn log(&self) -> Result<String> {
        self.process.as_ref().context("the server is down")?.output()
    }

    /// Where it runs.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The folder of its keys and store.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }
}

/// What a test would otherwise wait for; settings of the test's own come instead of these.
fn defaults(settings: &str) -> String {
    let quick = [("heartbeat_min", "1s"), ("reconnect_window", "500ms")];
    let absent = quick.into_iter().filter(|(key, _)| !settings.contains(key));
    absent.map(|(key, value)| format!("{key} = \"{value}\"\n")).collect()
}
