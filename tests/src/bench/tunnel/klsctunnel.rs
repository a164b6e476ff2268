//! Our whole product: klsctunnel, klserver's relay, klnagent; encrypted from end to end.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::product::{Forwarded, Programs, listen};
use super::site::Site;
use crate::bench::place::Place;
use crate::bench::server::Server;
use crate::fleet::PATIENCE;
use crate::lab::Process;
use crate::program;

/// Whether klsctunnel has streams ready before somebody connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// As many as it keeps by default.
    Warm,
    /// None: each connection shakes hands in line.
    Cold,
}

struct Tunnel {
    client: Process,
    agent: Process,
    server: Server,
}

/// Starts the server, an enrolled agent, and a tunnel to a port of the device.
pub(super) fn start(site: &Site, readiness: Readiness) -> Result<Forwarded> {
    let service = listen(&site.device)?;
    let server = Server::start(&Place::anywhere(&site.relay), site.relay_address, "")?;
    let folder = server.enroll(&site.device, DEVICE)?;
    let mut command = Command::new(program("klnagent")?);
    command.arg("run").arg("--state").arg(folder.path()).env("NO_COLOR", "1");
    let mut agent = Place::anywhere(&site.device).spawn("klnagent", command)?;
    agent.wait_for_line("connected", PATIENCE)?;
    let target = format!("{DEVICE}:{}", service.local_addr()?.port());
    let (client, port) = open(site, &server, &target, readiness)?;
    let port = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Ok(Forwarded { name: "klsctunnel", port, service, programs: Box::new(Tunnel { client, agent, server }) })
}

/// Starts klsctunnel and gives its port.
fn open(site: &Site, server: &Server, target: &str, readiness: Readiness) -> Result<(Process, u16)> {
    let mut command = Command::new(program("klsctunnel")?);
    command.env("KLNET_PROFILE", server.profile_path()).args(["--json", target]);
    if readiness == Readiness::Cold && knows_ready()? {
        command.args(["--ready", "0"]);
    }
    let mut client = Place::anywhere(&site.operator).spawn("klsctunnel", command)?;
    let line = client.wait_for_line("\"listening\"", PATIENCE)?;
    let event: Value = serde_json::from_str(&line)?;
    let address = event["local"][0].as_str().with_context(|| format!("no address in {line}"))?;
    Ok((client, address.parse::<SocketAddr>()?.port()))
}

/// Whether this klsctunnel can keep streams ready, and so can be told not to.
fn knows_ready() -> Result<bool> {
    let help = Command::new(program("klsctunnel")?).arg("--help").output()?;
    Ok(String::from_utf8_lossy(&help.stdout).contains("--ready"))
}

impl Programs for Tunnel {
    fn ids(&self) -> Vec<u32> {
        vec![self.client.id(), self.agent.id(), self.server.process.id()]
    }
}

const DEVICE: &str = "web-7";
