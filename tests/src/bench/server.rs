//! A real `klserver`, alone on its machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use klnet_agent::enroll::{Invitation, Token, enroll};
use klnet_agent::state::Folder;
use klnet_tunnel::blob::Blob;
use klnet_tunnel::net::request::{GrantReply, GrantRequest, PATH};
use klnet_wire::identity::profile::Profile;
use klnet_wire::net::https::{ApiError, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::place::Place;
use crate::fleet::{PATIENCE, Said};
use crate::lab::{Host, Process};
use crate::program;

/// The server and its first operator.
pub(super) struct Server {
    pub(super) process: Process,
    pub(super) profile: Profile,
    address: Ipv4Addr,
    place: Place,
    pub(super) client: Client,
    folder: TempDir,
}

impl Server {
    /// Makes a server and starts it; `settings` are further lines of its configuration.
    pub(super) fn start(place: &Place, address: Ipv4Addr, settings: &str) -> Result<Self> {
        Self::start_with(place, address, settings, |_| Ok(()))
    }

    /// As [`Server::start`], with a state folder that was `prepared` before the start.
    pub(super) fn start_with(
        place: &Place,
        address: Ipv4Addr,
        settings: &str,
        prepare: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("klnet-bench-").tempdir()?;
        let state = folder.path().join("server");
        let config = format!(
            "state = {state:?}\nhosts = [\"{address}\"]\nbind = \"0.0.0.0\"\nhttps_port = {HTTPS}\n\
             agent_ports = \"{AGENTS}\"\ntunnel_ports = \"{TUNNELS}\"\nmetrics = \"127.0.0.1:{METRICS}\"\n{settings}\n"
        );
        std::fs::write(folder.path().join(CONFIG), config)?;
        let profile = folder.path().join(PROFILE);
        let mut init = Command::new(program("klserver")?);
        init.arg("init").arg("--config").arg(folder.path().join(CONFIG)).arg("--profile").arg(&profile);
        Said::by(&mut init)?.ok()?;
        prepare(&state)?;
        let process = run(place, folder.path())?;
        let profile = Profile::load(&profile)?;
        let client = Client::new(&profile)?;
        Ok(Self { process, profile, address, place: place.clone(), client, folder })
    }

    /// Ends it in order.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.process.terminate(PATIENCE).map(drop)
    }

    /// Starts it again, and waits until it serves.
    pub(super) fn start_again(&mut self) -> Result<()> {
        self.process = run(&self.place, self.folder.path())?;
        Ok(())
    }

    /// Enrols a device, from a machine that reaches the server.
    pub(super) fn enroll(&self, host: &Host, name: &str) -> Result<Folder> {
        let token = self.token(1)?;
        let folder = self.device_folder(name)?;
        host.inside(|| block_on(self.enroll_with(&folder, name, token)))??;
        Ok(folder)
    }

    /// Enrols a device with a token, from the machine of the calling thread.
    pub(super) async fn enroll_with(&self, folder: &Folder, name: &str, token: String) -> Result<()> {
        let (root, name) = (self.profile.trust.pin(), Some(name.to_owned()));
        let invitation = Invitation { server: self.url(), root, token: Token(token), name };
        enroll(folder, &invitation, false).await?;
        Ok(())
    }

    /// The state folder for a device of this name.
    pub(super) fn device_folder(&self, name: &str) -> Result<Folder> {
        let path = self.folder.path().join(format!("device-{name}"));
        std::fs::create_dir_all(&path)?;
        Ok(Folder::new(path))
    }

    /// Makes a token that so many devices may use.
    pub(super) fn token(&self, uses: usize) -> Result<String> {
        let made: Value = self.ask("/api/v1/tokens", &json!({ "uses": uses, "ttl": 600 }))?;
        Ok(made["secret"].as_str().context("a token has a secret")?.to_owned())
    }

    /// Mints a grant for a port of a device.
    pub(super) fn grant(&self, device: &str, port: u16) -> Result<Blob> {
        let request = GrantRequest { device: device.to_owned(), port, host: None, r#for: None, cnf: None };
        let reply: GrantReply = self.ask(PATH, &request)?;
        Ok(reply.blob.parse()?)
    }

    /// Base of its API.
    pub(super) fn url(&self) -> String {
        format!("https://{}:{HTTPS}", self.address)
    }

    /// Where agents dial.
    pub(super) fn agents(&self) -> SocketAddr {
        SocketAddr::from((self.address, AGENTS))
    }

    /// Where operators dial.
    pub(super) fn tunnels(&self) -> SocketAddr {
        SocketAddr::from((self.address, TUNNELS))
    }

    /// Where it tells its metrics, to its own machine.
    pub(super) fn metrics() -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, METRICS))
    }

    /// The file with the first operator's key.
    pub(super) fn profile_path(&self) -> std::path::PathBuf {
        self.folder.path().join(PROFILE)
    }

    /// Asks the API, from the server's own machine.
    fn ask<R: DeserializeOwned + Send>(&self, path: &str, body: &(impl Serialize + Sync)) -> Result<R> {
        let asked = self.place.host.inside(|| block_on(async { Ok(self.client.post(path, body).await?) }))?;
        asked.map_err(|error: anyhow::Error| match error.downcast::<ApiError>() {
            Ok(refused) => anyhow::anyhow!("{path}: {refused}"),
            Err(other) => other,
        })
    }
}

/// Runs one future on the calling thread.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn run(place: &Place, folder: &Path) -> Result<Process> {
    let mut command = Command::new(program("klserver")?);
    command.arg("run").arg("--config").arg(folder.join(CONFIG)).env("NO_COLOR", "1");
    let mut process = place.spawn("klserver", command)?;
    process.wait_for_line("serving", PATIENCE)?;
    Ok(process)
}

const CONFIG: &str = "server.toml";
const PROFILE: &str = "operator.profile";
const HTTPS: u16 = 8443;
const AGENTS: u16 = 23_100;
const TUNNELS: u16 = 29_200;
const METRICS: u16 = 9464;
