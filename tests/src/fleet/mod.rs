//! A whole installation in a lab: a server, devices and operators, each behind a router of its own.
//!
//! ```text
//!   operator ── NAT ──┐                ┌── NAT ── device ── neighbour
//!                     ├── internet ────┤
//!   admin ───── NAT ──┤                └── NAT ── device
//!                  server
//! ```
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use klnet_tests::fleet::{Fleet, service::Echo};
//! use klnet_tests::lab::Lab;
//!
//! let Some(lab) = Lab::or_skip("reach") else { return Ok(()) };
//! let fleet = Fleet::new(&lab)?;
//! let device = fleet.device("web-7")?;
//! let anna = fleet.operator("anna", &["tunnel"])?;
//! let echo = Echo::start(device.host())?;
//! let tunnel = anna.tunnel(&format!("web-7:{}", echo.port()))?;
//! let stream = tunnel.connect()?;
//! # Ok(())
//! # }
//! ```
//!
//! Everything goes the way a person goes: `klserver init` and `run`, `klctl token create`, the printed line on the
//! device, `klctl operator add`, the printed line on the operator's machine. Every command is a process on the host
//! it belongs to; state is in temporary folders.

mod device;
mod operator;
mod said;
mod server;
pub mod service;
mod settle;
mod tunnel;

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;
use tempfile::TempDir;

pub use device::Device;
pub use operator::{Operator, Wanted};
pub use said::Said;
pub use server::Server;
pub use settle::{Held, descriptors, files};
pub use tunnel::Tunnel;

use crate::lab::{Lab, Switch, wait_until};

/// A server, its first administrator, and the network that devices and operators are added to.
#[derive(Debug)]
pub struct Fleet {
    server: Server,
    admin: Operator,
    internet: Switch,
    lab: Lab,
    folder: TempDir,
}

impl Fleet {
    /// Makes and starts a server that sends heartbeats every second; the first operator is `admin`.
    ///
    /// # Errors
    /// What the failing command said.
    pub fn new(lab: &Lab) -> Result<Self> {
        Self::configured(lab, "")
    }

    /// As [`Fleet::new`], with further lines of `server.toml`.
    ///
    /// # Errors
    /// What the failing command said.
    pub fn configured(lab: &Lab, settings: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("klnet-fleet-").tempdir()?;
        let internet = lab.switch("internet")?;
        let host = internet.host("server")?;
        let desk = lab.nat("admin-nat", &internet)?;
        let profile = folder.path().join("admin.profile");
        let server = Server::init(host, folder.path(), settings, &profile)?;
        let admin = Operator::new("admin", desk, profile)?;
        Ok(Self { server, admin, internet, lab: lab.clone(), folder })
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The server, to be ended and started again.
    pub fn server_mut(&mut self) -> &mut Server {
        &mut self.server
    }

    /// The first operator: an administrator, on a machine behind a router.
    #[must_use]
    pub fn admin(&self) -> &Operator {
        &self.admin
    }

    /// Adds a device behind a router of its own, enrols it with a new token, starts its agent and waits until the
    /// server shows it online.
    ///
    /// # Errors
    /// What the failing command said.
    pub fn device(&self, name: &str) -> Result<Device> {
        let mut device = self.bare_device(name)?;
        device.enroll(&self.admin.token(&[])?)?.ok()?;
        device.start()?;
        self.wait_online(&device, true, PATIENCE)?;
        Ok(device)
    }

    /// As [`Fleet::device`], in the network of a device that is there.
    ///
    /// # Errors
    /// What the failing command said.
    pub fn beside(&self, other: &Device, name: &str) -> Result<Device> {
        let mut device = Device::new(name, other.neighbour(name)?, other.nat().clone(), self.folder.path())?;
        device.enroll(&self.admin.token(&[])?)?.ok()?;
        device.start()?;
        self.wait_online(&device, true, PATIENCE)?;
        Ok(device)
    }

    /// Adds a machine behind a router of its own that knows nothing of the server yet.
    ///
    /// # Errors
    /// When the kernel refuses a part of it.
    pub fn bare_device(&self, name: &str) -> Result<Device> {
        let nat = self.lab.nat(&format!("{name}-nat"), &self.internet)?;
        let host = nat.host(name)?;
        Device::new(name, host, nat, self.folder.path())
    }

    /// Adds an operator with these roles, who logs in on a machine behind a router of its own.
    ///
    /// # Errors
    /// What the failing command said.
    pub fn operator(&self, name: &str, roles: &[&str]) -> Result<Operator> {
        let login = self.admin.invite(name, roles)?;
        let operator = self.stranger(name)?;
        operator.paste(&login)?.ok()?;
        Ok(operator)
    }

    /// Adds a machine behind a router of its own, of somebody who has not logged in.
    ///
    /// # Errors
    /// When the kernel refuses a part of it.
    pub fn stranger(&self, name: &str) -> Result<Operator> {
        let nat = self.lab.nat(&format!("{name}-nat"), &self.internet)?;
        Operator::new(name, nat, self.folder.path().join(format!("{name}.profile")))
    }

    /// Waits until the server has written an entry into the audit log, and gives it.
    ///
    /// # Errors
    /// When there is none within [`PATIENCE`]; with the log.
    pub fn wait_audited(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let found = wait_until(PATIENCE, || Ok(self.admin.audit()?.into_iter().rev().find(&wanted)))?;
        found.map_or_else(|| bail!("no {what} in the audit log: {:#?}", self.admin.audit()?), Ok)
    }

    /// Waits until the server shows a device as online, or as offline.
    ///
    /// # Errors
    /// When it does not within `timeout`; with the device's log.
    pub fn wait_online(&self, device: &Device, online: bool, timeout: Duration) -> Result<()> {
        let seen = wait_until(timeout, || {
            let shown = self.admin.devices()?;
            let mut named: Vec<_> =
                shown.into_iter().filter(|shown| shown["name"] == device.name()).collect();
            // An earlier enrolment of the same machine stays in the list, revoked.
            named.sort_by_key(|shown| !shown["revoked"].is_null());
            let device = named.into_iter().next();
            Ok(device.filter(|shown| shown["online"] == online).map(drop))
        })?;
        seen.ok_or_else(|| {
            let log = device.log().unwrap_or_default();
            anyhow::anyhow!("{} is not shown as online: {online} after {timeout:?}\n{log}", device.name())
        })
    }
}

/// How long a command that is expected to succeed may take; two busy cores are slow.
pub const PATIENCE: Duration = Duration::from_secs(30);
