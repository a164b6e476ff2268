//! A server and its devices as real processes on the loopback, and what a test asks of them.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

mod clock;
mod device;
mod hostile;
mod https;
mod measure;
mod names;
mod neighbour;
mod redeem;
mod target;
mod upgrade;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use klnet_server::fabric::Fabric;
use klnet_tests::lab::Process;
use klnet_tests::{free_ports, program};
use klnet_tunnel::blob::Blob;
use klnet_tunnel::net::request::{GrantReply, GrantRequest};
use klnet_wire::identity::profile::Profile;
use klnet_wire::net::https::{ApiError, Client};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) use clock::{accelerate, has_shifted_clocks};
pub(crate) use device::Device;
pub(crate) use hostile::{HostileServer, HostileSession};
pub(crate) use https::{post_from, source};
pub(crate) use measure::{cpu, descriptors, held, memory, memory_peak, metric, percentile};
pub(crate) use names::{Names, Resolver};
pub(crate) use neighbour::{Felt, Neighbour};
pub(crate) use redeem::{Redeemed, redeem};
pub(crate) use target::{Target, echoes};
pub(crate) use upgrade::{Upgradable, field, lives, signal_to};

/// Everything of one test: a fabric of its own, on ports of its own.
pub(crate) struct Stage {
    pub(crate) ports: Ports,
    pub(crate) profile: Profile,
    pub(crate) client: Client,
    server: Option<Process>,
    folder: TempDir,
    state: PathBuf,
}

/// Where the server listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) https: u16,
    pub(crate) agents: u16,
    pub(crate) tunnels: u16,
    pub(crate) metrics: u16,
}

impl Stage {
    /// A new server that serves.
    pub(crate) async fn set() -> Result<Self> {
        Self::set_with(None, |_| Ok(())).await
    }

    /// A new server, its state in `state`, its process started as `adjust` says.
    pub(crate) async fn set_with(
        state: Option<&Path>,
        adjust: impl FnOnce(&mut Command) -> Result<()>,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let state = state.map_or_else(|| folder.path().join("server"), Path::to_owned);
        let ports = Ports::free();
        std::fs::write(folder.path().join(CONFIG), ports.config(&state))?;
        let profile = folder.path().join(PROFILE);
        let mut init = Command::new(program("klserver")?);
        init.arg("init").arg("--config").arg(folder.path().join(CONFIG)).arg("--profile").arg(&profile);
        succeeded(&mut init)?;
        let profile = Profile::load(&profile)?;
        let client = Client::new(&profile)?;
        let mut stage = Self { ports, profile, client, server: None, folder, state };
        stage.start_server_with(adjust).await?;
        Ok(stage)
    }

    pub(crate) async fn start_server(&mut self) -> Result<()> {
        self.start_server_with(|_| Ok(())).await
    }

    pub(crate) async fn start_server_with(
        &mut self,
        adjust: impl FnOnce(&mut Command) -> Result<()>,
    ) -> Result<()> {
        let mut run = self.run_server(&program("klserver")?);
        adjust(&mut run)?;
        self.serve(Process::spawn("klserver", &mut run)?).await
    }

    /// The command that runs the server, by a program of its own.
    pub(crate) fn run_server(&self, program: &Path) -> Command {
        let mut run = Command::new(program);
        run.arg("run").arg("--config").arg(self.folder.path().join(CONFIG)).env("NO_COLOR", "1");
        run
    }

    /// Waits until the server serves.
    pub(crate) async fn serve(&mut self, server: Process) -> Result<()> {
        self.server = Some(server);
        let serves = eventually(PATIENCE, async || self.client.get::<Value>("/api/v1/health").await.is_ok());
        serves.await.map(drop).with_context(|| format!("the server does not serve: {}", self.server_log()))
    }

    /// Gives a key of the server's configuration another value, for its next start.
    pub(crate) fn configure(&self, key: &str, value: &str) -> Result<()> {
        let text = std::fs::read_to_string(self.path(CONFIG))?;
        let others = text.lines().filter(|line| !line.starts_with(&format!("{key} =")));
        let lines: Vec<_> =
            std::iter::once(format!("{key} = {value:?}")).chain(others.map(str::to_owned)).collect();
        Ok(std::fs::write(self.path(CONFIG), lines.join("\n"))?)
    }

    /// `kill -9`.
    pub(crate) fn kill_server(&mut self) -> Result<()> {
        let mut server = self.server.take().context("the server runs")?;
        server.kill()?;
        sound(&server.output()?)
    }

    /// `kill -9` once `delay` is over, in the middle of `work`, which ends by that.
    pub(crate) async fn kill_server_during(
        &mut self,
        delay: Duration,
        work: impl Future<Output = ()>,
    ) -> Result<()> {
        let doomed = self.server.take().context("the server runs")?.kill_after(delay);
        work.await;
        sound(&doomed.struck()?.output()?)
    }

    /// SIGTERM, and the end.
    pub(crate) fn stop_server(&mut self) -> Result<()> {
        let mut server = self.server.take().context("the server runs")?;
        server.terminate(PATIENCE)?;
        sound(&server.output()?)
    }

    pub(crate) fn server(&mut self) -> &mut Process {
        self.server.as_mut().expect("the server runs")
    }

    pub(crate) fn server_id(&self) -> u32 {
        self.server.as_ref().expect("the server runs").id()
    }

    pub(crate) fn server_log(&self) -> String {
        self.server.as_ref().and_then(|server| server.output().ok()).unwrap_or_default()
    }

    /// What the server signs and proves itself with; a hostile server has all of it, or parts.
    pub(crate) fn fabric(&self) -> Result<Fabric> {
        Ok(Fabric::load(&self.state)?)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn profile_path(&self) -> PathBuf {
        self.path(PROFILE)
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.https)
    }

    /// Makes an enrolment token and gives its secret.
    pub(crate) async fn token(&self, uses: u32) -> Result<String> {
        let made: Value = self.client.post("/api/v1/tokens", &json!({ "uses": uses, "ttl": 600 })).await?;
        Ok(made["secret"].as_str().context("a token has a secret")?.to_owned())
    }

    /// Enrols a device and waits until it is online.
    pub(crate) async fn device(&self, name: &str) -> Result<Device> {
        self.device_with(name, |_| Ok(())).await
    }

    /// Like [`Stage::device`], the agent's process started as `adjust` says.
    pub(crate) async fn device_with(
        &self,
        name: &str,
        adjust: impl FnOnce(&mut Command) -> Result<()>,
    ) -> Result<Device> {
        let mut device = self.enrolled(name).await?;
        device.start_with(adjust)?;
        self.online(&device).await?;
        Ok(device)
    }

    /// Enrols a device whose agent does not run yet.
    pub(crate) async fn enrolled(&self, name: &str) -> Result<Device> {
        self.enrolled_with(name, &self.token(1).await?)
    }

    pub(crate) fn enrolled_with(&self, name: &str, token: &str) -> Result<Device> {
        self.enrolled_as(name, token, |_| Ok(()))
    }

    /// Like [`Stage::enrolled_with`], the command adjusted.
    pub(crate) fn enrolled_as(
        &self,
        name: &str,
        token: &str,
        adjust: impl FnOnce(&mut Command) -> Result<()>,
    ) -> Result<Device> {
        Device::enroll(self, name, token, adjust)
    }

    pub(crate) async fn online(&self, device: &Device) -> Result<()> {
        let online = eventually(PATIENCE, async || self.is_online(&device.name).await);
        online.await.map(drop).with_context(|| format!("{} is not online: {}", device.name, device.log()))
    }

    /// Waits until the server shows that the device's session is over.
    pub(crate) async fn offline(&self, device: &Device) -> Result<()> {
        let offline = eventually(PATIENCE, async || !self.is_online(&device.name).await);
        offline.await.map(drop).with_context(|| format!("{} is still online", device.name))
    }

    pub(crate) async fn is_online(&self, name: &str) -> bool {
        let devices: Value = self.client.get("/api/v1/devices").await.unwrap_or_default();
        let devices = devices.as_array().cloned().unwrap_or_default();
        devices.iter().any(|device| device["name"] == name && device["online"] == true)
    }

    /// A grant for a port of the device.
    pub(crate) async fn grant(&self, device: &Device, port: u16) -> Result<Blob> {
        Ok(self.ask_grant(device, None, port).await?)
    }

    pub(crate) async fn ask_grant(
        &self,
        device: &Device,
        host: Option<&str>,
        port: u16,
    ) -> Result<Blob, ApiError> {
        let host = host.map(str::to_owned);
        let request = GrantRequest { device: device.name.clone(), port, host, r#for: None, cnf: None };
        let reply: GrantReply = self.client.post("/api/v1/grants", &request).await?;
        reply
            .blob
            .parse()
            .map_err(|error: klnet_tunnel::blob::BlobError| ApiError::Malformed(error.to_string()))
    }

    /// Every entry of the audit log that has this action, newest first.
    pub(crate) async fn audit(&self, action: &str) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        let mut before = String::new();
        loop {
            let page: Vec<Value> = self.client.get(&format!("/api/v1/audit?limit=1000{before}")).await?;
            let Some(last) = page.last() else { return Ok(found) };
            before = format!("&before={}", last["number"]);
            found.extend(page.into_iter().filter(|entry| entry["action"] == action));
        }
    }

    /// Revokes every grant, and waits until server and agents hold no more descriptors than `before` says.
    pub(crate) async fn leaves_nothing(&self, before: &[(u32, usize)]) -> Result<()> {
        let tunnels: Vec<Value> = self.client.get("/api/v1/tunnels").await?;
        for grant in tunnels.iter().filter_map(|tunnel| tunnel["grant"].as_str()) {
            // It may end by itself meanwhile.
            let revoked =
                self.client.post::<_, Value>(&format!("/api/v1/tunnels/{grant}/revoke"), &json!({})).await;
            ensure!(!matches!(revoked, Err(ApiError::Refused { status: 500.., .. })), "{revoked:?}");
        }
        for (process, start) in before {
            let back = eventually(SETTLING, async || held(*process).is_ok_and(|now| now <= *start));
            back.await
                .with_context(|| format!("of {start} descriptors there are now {:?}", held(*process)))?;
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !std::thread::panicking()
            && let Err(error) = sound(&self.server_log())
        {
            panic!("{error}");
        }
    }
}

impl Ports {
    fn free() -> Self {
        let [https, agents, tunnels, metrics] = free_ports();
        Self { https, agents, tunnels, metrics }
    }

    fn config(self, state: &Path) -> String {
        let Self { https, agents, tunnels, metrics } = self;
        format!(
            "state = {state:?}\nhosts = [\"127.0.0.1\"]\nbind = \"127.0.0.1\"\nhttps_port = {https}\n\
             agent_ports = \"{agents}\"\ntunnel_ports = \"{tunnels}\"\nmetrics = \"127.0.0.1:{metrics}\"\n\
             heartbeat_min = \"1s\"\nheartbeat_max = \"1s\"\nreconnect_window = \"200ms\"\n"
        )
    }
}

/// Looks until `holds`, for what comes about in another process.
pub(crate) async fn eventually(timeout: Duration, mut holds: impl AsyncFnMut() -> bool) -> Result<Duration> {
    let (start, mut pace) = (Instant::now(), tokio::time::interval(LOOK_EACH));
    while !holds().await {
        ensure!(start.elapsed() < timeout, "still not so after {timeout:?}");
        pace.tick().await;
    }
    Ok(start.elapsed())
}

/// Runs a command to its end and gives what it printed.
pub(crate) fn succeeded(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Fails for a log that tells of a panic.
fn sound(log: &str) -> Result<()> {
    match log.lines().find(|line| line.contains("panicked at")) {
        Some(line) => bail!("a process panicked: {line}\n{log}"),
        None => Ok(()),
    }
}

const CONFIG: &str = "server.toml";
const PROFILE: &str = "operator.profile";
/// Generous: a continuous run shares two cores with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A dial-back that nobody needs is closed after 30 s; a revoked one at once.
const SETTLING: Duration = Duration::from_secs(45);
const LOOK_EACH: Duration = Duration::from_millis(20);
