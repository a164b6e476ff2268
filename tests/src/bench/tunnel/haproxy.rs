//! haproxy as a relay of TCP, at its best: it splices every byte, through pipes of 256 KiB.

use std::fmt::Write;
use std::net::SocketAddr;

use anyhow::Result;
use tempfile::NamedTempFile;

use super::product::{Forwarded, Programs, listen};
use super::site::Site;
use crate::fleet::PATIENCE;
use crate::lab::Process;

struct Haproxy {
    process: Process,
    _config: NamedTempFile,
}

/// Starts it on the relay's core.
pub(super) fn start(site: &Site) -> Result<Forwarded> {
    let service = listen(&site.device)?;
    let target = SocketAddr::from((site.device_address, service.local_addr()?.port()));
    let port = SocketAddr::from((site.relay_address, PORT));
    let config = NamedTempFile::with_prefix("klnet-haproxy-")?;
    std::fs::write(config.path(), settings(port, target))?;
    let mut command = std::process::Command::new("/usr/sbin/haproxy");
    command.arg("-db").arg("-f").arg(config.path());
    let process = site.relay_core().spawn("haproxy", command)?;
    site.relay.wait_for_listener(PORT, PATIENCE)?;
    Ok(Forwarded { name: "haproxy", port, service, programs: Box::new(Haproxy { process, _config: config }) })
}

/// `splice-auto` would decide by heuristics not to splice such streams; a thread for each core it may use; as many
/// connections as 20,000 descriptors allow, which its default of a pipe for every fourth would not.
fn settings(port: SocketAddr, target: SocketAddr) -> String {
    let mut text = String::from(
        "global\n  nbthread 1\n  maxconn 9500\n  maxpipes 256\n  tune.pipesize 262144\n\
         defaults\n  mode tcp\n  option splice-request\n  option splice-response\n\
         timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n",
    );
    let _ = writeln!(text, "listen relay\n  bind {port}\n  server device {target}");
    text
}

impl Programs for Haproxy {
    fn ids(&self) -> Vec<u32> {
        vec![self.process.id()]
    }
}

const PORT: u16 = 8080;
