//! A managed device of a fleet.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{PATIENCE, Said};
use crate::lab::{Host, Nat, Process};
use crate::program;

/// A machine with `klnagent`, behind a router.
#[derive(Debug)]
pub struct Device {
    name: String,
    host: Host,
    nat: Nat,
    state: PathBuf,
    /// `agent.toml`, once there is one.
    config: Option<PathBuf>,
    /// `None` while the agent is down.
    agent: Option<Process>,
}

impl Device {
    pub(super) fn new(name: &str, host: Host, nat: Nat, folder: &Path) -> Result<Self> {
        let state = folder.join(format!("device-{name}"));
        std::fs::create_dir_all(&state)?;
        Ok(Self { name: name.to_owned(), host, nat, state, config: None, agent: None })
    }

    /// Runs the line that `klctl token create` printed; the state folder is this device's.
    ///
    /// # Errors
    /// When the command cannot run; how it ended is in what it said.
    pub fn enroll(&self, line: &str) -> Result<Said> {
        let mut words = line.split_whitespace();
        let name = words.next().context("an empty line enrols nobody")?;
        let mut enroll = self.host.command(program(name)?);
        Said::by(enroll.args(words).arg("--name").arg(&self.name).arg("--state").arg(&self.state))
    }

    /// Gives the agent a configuration, for its next start.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn configure(&mut self, settings: &str) -> Result<()> {
        let path = self.state.with_extension("toml");
        std::fs::write(&path, settings)?;
        self.config = Some(path);
        Ok(())
    }

    /// Starts the agent, which is down.
    ///
    /// # Errors
    /// When the program cannot start.
    pub fn start(&mut self) -> Result<()> {
        let mut command = self.command()?;
        self.start_as(&mut command)
    }

    /// As [`Device::start`], with a command made from [`Device::command`], say with a wrong clock.
    ///
    /// # Errors
    /// When the program cannot start.
    pub fn start_as(&mut self, command: &mut Command) -> Result<()> {
        self.agent = Some(Process::spawn("klnagent", command)?);
        Ok(())
    }

    /// The command that runs this agent, not started.
    ///
    /// # Errors
    /// When it does not build.
    pub fn command(&self) -> Result<Command> {
        let mut command = self.host.command(program("klnagent")?);
        command.arg("run").arg("--state").arg(&self.state);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        Ok(command)
    }

    /// Ends the agent in order.
    ///
    /// # Errors
    /// When it does not end, or is down.
    pub fn stop(&mut self) -> Result<()> {
        let mut agent = self.agent.take().context("the agent is down already")?;
        agent.terminate(PATIENCE).map(drop)
    }

    /// Kills the agent (`kill -9`).
    ///
    /// # Errors
    /// When the kernel refuses, or it is down.
    pub fn kill(&mut self) -> Result<()> {
        self.agent.take().context("the agent is down already")?.kill().map(drop)
    }

    /// The agent's process.
    ///
    /// # Errors
    /// When it is down.
    pub fn agent(&mut self) -> Result<&mut Process> {
        self.agent.as_mut().context("the agent is down")
    }

    /// The id of the agent's process.
    ///
    /// # Errors
    /// When it is down.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.agent.as_ref().context("the agent is down")?.id())
    }

    /// What the agent has logged since its last start.
    ///
    /// # Errors
    /// When it is down.
    pub fn log(&self) -> Result<String> {
        self.agent.as_ref().context("the agent is down")?.output()
    }

    /// `klnagchk --json` on this device; exit code 1 when something is wrong.
    ///
    /// # Errors
    /// When the command cannot run.
    pub fn check(&self) -> Result<Said> {
        Said::by(self.host.command(program("klnagchk")?).arg("--state").arg(&self.state))
    }

    /// `klnagent status --json` on this device.
    ///
    /// # Errors
    /// When no agent has run yet.
    pub fn status(&self) -> Result<Value> {
        let mut status = self.host.command(program("klnagent")?);
        let said = Said::by(status.args(["status", "--json", "--state"]).arg(&self.state))?;
        serde_json::from_str(&said.stdout).with_context(|| said.stderr.clone())
    }

    /// Adds a machine to this device's own network.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn neighbour(&self, name: &str) -> Result<Host> {
        self.nat.host(name)
    }

    /// The name the server knows it by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The machine.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The router in front of it.
    #[must_use]
    pub fn nat(&self) -> &Nat {
        &self.nat
    }

    /// The folder of the agent's identity.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }
}
