//! Our proxy, with one worker, and an upstream that knows every key.

use std::process::Command;

use anyhow::{Result, ensure};
use klnet_ksnproxy::frame::KEYS_LIMIT;
use klnet_ksnproxy::net::client::{Plain, Secure};
use klnet_ksnproxy::ticket::Ticket;
use klnet_wire::identity::Role;
use klnet_wire::identity::pem::identity_to_pem;
use klnet_wire::identity::secret_file::write_secret;
use klnet_wire::identity::tls::Identity;

use super::cloud::{Cloud, VERDICT};
use super::keys::key;
use super::rig::Rig;
use crate::bench::server::block_on;
use crate::fabric::Fabric;
use crate::fleet::PATIENCE;
use crate::lab::Process;
use crate::program;

/// A running proxy.
pub(super) struct Ours {
    pub(super) process: Process,
    pub(super) cloud: Cloud,
    pub(super) fabric: Fabric,
    device: Identity,
}

impl Ours {
    /// Starts it on the servers' core.
    pub(super) fn start(rig: &Rig) -> Result<Self> {
        Self::start_with(rig, "")
    }

    /// As [`Self::start`], with more lines of its configuration.
    pub(super) fn start_with(rig: &Rig, settings: &str) -> Result<Self> {
        let fabric = Fabric::new()?;
        let cloud = Cloud::start(rig, &fabric)?;
        let (identity, config) = (rig.path("proxy.pem"), rig.path("ksnproxy.toml"));
        write_secret(&identity, identity_to_pem(&fabric.issue(Role::Server, rig.address())?).as_bytes())?;
        let text = format!(
            "listen = \"{}\"\nudp_port = {UDP}\ntcp_port = {TCP}\nhttps_port = {HTTPS}\nidentity = {identity:?}\n\
             upstreams = [\"{}\"]\nallow_plain = true\nworkers = 1\nmetrics = \"\"\n\
             limits.keys_per_second = 0\n{settings}",
            rig.address(),
            cloud.address,
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new(program("ksnproxy")?);
        command.arg("serve").arg("--config").arg(config).env("NO_COLOR", "1");
        let mut process = rig.core().spawn("ksnproxy", command)?;
        process.wait_for_line("proxy is up", PATIENCE)?;
        let device = fabric.issue(Role::Agent, rig.client.address())?;
        Ok(Self { process, cloud, fabric, device })
    }

    /// As [`Self::start`], with so many keys in its cache.
    pub(super) fn start_warm(rig: &Rig, keys: u32) -> Result<Self> {
        let ours = Self::start(rig)?;
        ours.warm(rig, keys)?;
        Ok(ours)
    }

    /// Has it ask for so many keys.
    pub(super) fn warm(&self, rig: &Rig, keys: u32) -> Result<()> {
        let address = rig.address().to_string();
        rig.ask(|| {
            block_on(async {
                let mut plain = Plain::connect(&address, TCP).await?;
                let keys: Vec<_> = (0..keys).map(key).collect();
                for keys in keys.chunks(KEYS_LIMIT) {
                    let verdicts = plain.query(keys).await?;
                    ensure!(
                        verdicts.iter().all(|verdict| verdict.reputation == VERDICT.reputation),
                        "the proxy does not know what its upstream knows"
                    );
                }
                Ok(())
            })
        })
    }

    /// A ticket for a device; to be called on the machine of those who ask.
    pub(super) fn ticket(&self, rig: &Rig) -> Result<Ticket> {
        let (host, trust) = (rig.address().to_string(), self.fabric.trust.clone());
        block_on(async { Ok(Secure::connect(&host, TCP, &self.device, trust).await?.ticket().await?) })
    }
}

pub(super) const UDP: u16 = 15111;
pub(super) const TCP: u16 = 13111;
pub(super) const HTTPS: u16 = 17111;
