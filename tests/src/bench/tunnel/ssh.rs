//! OpenSSH: a port forwarded by `ssh -L`.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::Result;

use super::product::{Forwarded, Programs, listen};
use super::site::Site;
use crate::bench::place::Place;
use crate::fleet::PATIENCE;
use crate::fleet::service::Sshd;
use crate::lab::Process;

struct Ssh {
    client: Process,
    server: Sshd,
}

/// Starts sshd and ssh on one machine: there is no relay between them.
pub(super) fn start(site: &Site) -> Result<Forwarded> {
    let service = listen(&site.device)?;
    let server = Sshd::start(&site.device, SSHD_PORT)?;
    let port = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let mut command = Command::new("ssh");
    command.args(server.options()).args(["-N", "-oExitOnForwardFailure=yes", "-c", CIPHER]);
    command.arg("-L").arg(format!("{port}:127.0.0.1:{}", service.local_addr()?.port()));
    command.arg("-p").arg(SSHD_PORT.to_string()).arg("127.0.0.1");
    let client = Place::anywhere(&site.operator).spawn("ssh", command)?;
    site.operator.wait_for_listener(PORT, PATIENCE)?;
    Ok(Forwarded { name: "ssh -L", port, service, programs: Box::new(Ssh { client, server }) })
}

impl Programs for Ssh {
    fn ids(&self) -> Vec<u32> {
        // The process of the session is a child of the server's, which counts with it.
        vec![self.client.id(), self.server.pid()]
    }
}

/// The fastest it has on processors with AES instructions.
const CIPHER: &str = "aes128-gcm@openssh.com";
const SSHD_PORT: u16 = 8022;
const PORT: u16 = 8110;
