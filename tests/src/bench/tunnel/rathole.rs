//! rathole, in the clear and over Noise.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::product::{Forwarded, Programs, listen};
use super::site::Site;
use crate::bench::place::Place;
use crate::fleet::PATIENCE;
use crate::lab::{Process, run};

/// How its two programs speak with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// Plain TCP.
    Plain,
    /// Encrypted, the server's key pinned (Noise NK).
    Noise,
}

struct Rathole {
    server: Process,
    client: Process,
    _folder: TempDir,
}

/// Starts its server on the relay's machine and its client on the device's.
pub(super) fn start(site: &Site, transport: Transport) -> Result<Forwarded> {
    let service = listen(&site.device)?;
    let folder = tempfile::Builder::new().prefix("klnet-rathole-").tempdir()?;
    let port = SocketAddr::from((site.relay_address, transport.port()));
    let control = SocketAddr::from((site.relay_address, transport.port() + 1));
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, service.local_addr()?.port()));
    let keys = transport.keys()?;
    let end = |name: &str, place: &Place, peer: String, service: String, keys: &str| {
        let path = folder.path().join(format!("{name}.toml"));
        let settings =
            format!("{peer}\ndefault_token = \"bench\"\n{keys}\n[{name}.services.bench]\n{service}\n");
        std::fs::write(&path, settings)?;
        let mut command = Command::new(program());
        command.arg(format!("--{name}")).arg(&path);
        place.spawn("rathole", command)
    };
    let server = end(
        "server",
        &Place::anywhere(&site.relay),
        format!("[server]\nbind_addr = \"{control}\""),
        format!("bind_addr = \"{port}\""),
        &keys[0],
    )?;
    site.relay.wait_for_listener(control.port(), PATIENCE)?;
    let client = end(
        "client",
        &Place::anywhere(&site.device),
        format!("[client]\nremote_addr = \"{control}\""),
        format!("local_addr = \"{target}\""),
        &keys[1],
    )?;
    site.relay.wait_for_listener(port.port(), PATIENCE)?;
    let programs = Box::new(Rathole { server, client, _folder: folder });
    Ok(Forwarded { name: transport.name(), port, service, programs })
}

impl Transport {
    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "rathole plain",
            Self::Noise => "rathole noise",
        }
    }

    /// One behind the other: both may run at once.
    const fn port(self) -> u16 {
        match self {
            Self::Plain => 8090,
            Self::Noise => 8100,
        }
    }

    /// What the configurations of server and client say about it.
    fn keys(self) -> Result<[String; 2]> {
        if self == Self::Plain {
            return Ok([String::new(), String::new()]);
        }
        let printed = run(Command::new(program()).arg("--genkey"))?;
        let key = |name: &str| {
            let after = printed.split_once(name).map(|(_, after)| after.trim());
            after.and_then(|after| after.lines().next()).context("rathole printed no key")
        };
        let section = |end: &str, line: String| {
            format!("[{end}.transport]\ntype = \"noise\"\n[{end}.transport.noise]\n{line}")
        };
        Ok([
            section("server", format!("local_private_key = \"{}\"", key("Private Key:")?)),
            section("client", format!("remote_public_key = \"{}\"", key("Public Key:")?)),
        ])
    }
}

/// Where `tests/bench` installs it.
fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/bin/rathole")
}

impl Programs for Rathole {
    fn ids(&self) -> Vec<u32> {
        vec![self.server.id(), self.client.id()]
    }
}
