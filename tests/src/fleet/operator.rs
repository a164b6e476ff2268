//! An operator of a fleet, at a machine of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Said, Tunnel};
use crate::lab::{Host, Nat};
use crate::program;

/// Somebody at a machine with `klctl` and `klsctunnel`, behind a router.
#[derive(Clone, Debug)]
pub struct Operator {
    name: String,
    host: Host,
    nat: Nat,
    profile: PathBuf,
}

/// What a grant is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// A host the device can reach, instead of the device itself.
    pub host: Option<&'a str>,
    /// The operator who will use it, instead of the one who asks.
    pub operator: Option<&'a str>,
}

impl Operator {
    pub(super) fn new(name: &str, nat: Nat, profile: PathBuf) -> Result<Self> {
        Ok(Self { name: name.to_owned(), host: nat.host(name)?, nat, profile })
    }

    /// A command of the project on this operator's machine, with their profile; not started.
    ///
    /// # Errors
    /// When it does not build.
    pub fn command(&self, name: &str) -> Result<Command> {
        let mut command = self.host.command(program(name)?);
        command.env("KLNET_PROFILE", &self.profile);
        Ok(command)
    }

    /// Runs `klctl`.
    ///
    /// # Errors
    /// When it cannot run; how it ended is in what it said.
    pub fn klctl(&self, arguments: &[&str]) -> Result<Said> {
        Said::by(self.command("klctl")?.args(arguments))
    }

    /// Runs `klctl --json`, insists on success, and reads what it printed.
    ///
    /// # Errors
    /// What it said instead.
    pub fn ask(&self, arguments: &[&str]) -> Result<Value> {
        self.klctl(&[&["--json"], arguments].concat())?.json()
    }

    /// Runs `klsctunnel`.
    ///
    /// # Errors
    /// When it cannot run; how it ended is in what it said.
    pub fn klsctunnel(&self, arguments: &[&str]) -> Result<Said> {
        Said::by(self.command("klsctunnel")?.args(arguments))
    }

    /// Runs a line that a command has printed, such as `klctl login URL INVITATION`.
    ///
    /// # Errors
    /// When it cannot run; how it ended is in what it said.
    pub fn paste(&self, line: &str) -> Result<Said> {
        let mut words = line.split_whitespace();
        let name = words.next().context("an empty line is no command")?;
        Said::by(self.command(name)?.args(words))
    }

    /// Opens a tunnel: `klsctunnel TARGET`, ready once this returns.
    ///
    /// # Errors
    /// What it said instead of opening a port.
    pub fn tunnel(&self, target: &str) -> Result<Tunnel> {
        Tunnel::open(self, &[target])
    }

    /// Opens a SOCKS5 port: `klsctunnel --socks DEVICE`, ready once this returns.
    ///
    /// # Errors
    /// What it said instead of opening a port.
    pub fn socks(&self, device: &str) -> Result<Tunnel> {
        Tunnel::open(self, &["--socks", device])
    }

    /// The same as [`Operator::tunnel`], with no connection kept ready: once its connections are closed it holds nothing anywhere.
    ///
    /// # Errors
    /// What it said instead of opening a port.
    pub fn bare_tunnel(&self, target: &str) -> Result<Tunnel> {
        Tunnel::open(self, &["--ready", "0", target])
    }

    /// `klctl tunnel grant`: the blob.
    ///
    /// # Errors
    /// When it cannot run; a refusal is in what it said.
    pub fn grant(&self, device: &str, port: u16, wanted: Wanted<'_>) -> Result<Said> {
        let mut command = self.command("klctl")?;
        command.args(["tunnel", "grant", device, &port.to_string()]);
        if let Some(host) = wanted.host {
            command.args(["--host", host]);
        }
        if let Some(operator) = wanted.operator {
            command.args(["--for", operator]);
        }
        Said::by(&mut command)
    }

    /// `klctl token create`: the line to paste on a device.
    ///
    /// # Errors
    /// What it said instead.
    pub fn token(&self, options: &[&str]) -> Result<String> {
        Ok(self.klctl(&[&["token", "create"], options].concat())?.ok()?.to_owned())
    }

    /// `klctl operator add`: the line the new operator logs in with.
    ///
    /// # Errors
    /// What it said instead.
    pub fn invite(&self, name: &str, roles: &[&str]) -> Result<String> {
        let roles: Vec<&str> = roles.iter().flat_map(|role| ["--role", role]).collect();
        Ok(self.klctl(&[&["operator", "add", name], &roles[..]].concat())?.ok()?.to_owned())
    }

    /// `klctl devices`.
    ///
    /// # Errors
    /// What it said instead.
    pub fn devices(&self) -> Result<Vec<Value>> {
        self.list("devices")
    }

    /// `klctl tunnels`.
    ///
    /// # Errors
    /// What it said instead.
    pub fn tunnels(&self) -> Result<Vec<Value>> {
        self.list("tunnels")
    }

    /// The last entries of `klctl audit`, oldest first.
    ///
    /// # Errors
    /// What it said instead.
    pub fn audit(&self) -> Result<Vec<Value>> {
        self.klctl(&["--json", "audit", "--lines", "1000"])?.json_lines()
    }

    /// Their name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Their machine.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The router in front of it.
    #[must_use]
    pub fn nat(&self) -> &Nat {
        &self.nat
    }

    /// The file with their key.
    #[must_use]
    pub fn profile(&self) -> &Path {
        &self.profile
    }

    fn list(&self, noun: &str) -> Result<Vec<Value>> {
        let list = self.ask(&[noun])?;
        Ok(list.as_array().with_context(|| format!("{noun} are no list: {list}"))?.clone())
    }
}
