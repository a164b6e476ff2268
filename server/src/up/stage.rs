//! The stage of `klserver up`: what is set up once, and the processes that run on it.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use klnet_wire::identity::enroll::print_pin;
use klnet_wire::identity::profile::Profile;
use klnet_wire::net::https::{ApiError, Client};
use serde_json::Value;
use tokio::process::Command;

use crate::api::types::{AssignPoint, Device, Health, Ksn, Point, SetKsn};

use super::device::{Echo, Sshd};
use super::place::Place;
use super::process::{Process, output};
use super::reputation;

/// Everything that runs.
pub(super) struct Stage {
    pub(super) place: Place,
    pub(super) device: String,
    pub(super) device_id: String,
    pub(super) echo: Echo,
    pub(super) sshd_port: Option<u16>,
    /// As the first operator.
    pub(super) client: Client,
    pub(super) processes: Vec<Process>,
}

impl Stage {
    /// Sets everything up that is not there yet, starts it, and waits until the device is online.
    pub(super) async fn set(place: Place, device: &str) -> anyhow::Result<Self> {
        init(&place).await?;
        let mut processes = vec![start_server(&place)?];
        let profile = Profile::load(&place.profile())?;
        let client = Client::new(&profile)?;
        until("the server serves", &mut processes[0], || answers(&client)).await?;
        enroll(&place, &profile, device).await?;
        processes.push(start_agent(&place)?);
        let echo = Echo::start().await?;
        let sshd = Sshd::start(&place).await?;
        let sshd_port = sshd.as_ref().map(|sshd| sshd.port);
        let agent = &mut processes[1];
        until("the device is online", agent, || online(&client)).await?;
        processes.extend(sshd.map(|sshd| sshd.process));
        processes.push(reputation::start(&place).await?);
        let Device { id: device_id, name: device, .. } = online_device(&client).await?;
        give_roles(&client, &place, &device_id).await?;
        until("the KSN proxy has told how it stands", &mut processes[1], || proxy_told(&client)).await?;
        Ok(Self { place, device, device_id, echo, sshd_port, client, processes })
    }

    /// Waits until any process ends, and says which.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        let logs = self.place.logs();
        let mut waits: Vec<_> = self.processes.iter_mut().map(|process| Box::pin(process.ended())).collect();
        let ended = std::future::poll_fn(|context| {
            let ended = waits.iter_mut().find_map(|wait| match wait.as_mut().poll(context) {
                std::task::Poll::Ready(ended) => Some(ended),
                std::task::Poll::Pending => None,
            });
            ended.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
        });
        anyhow::anyhow!("{}; its log is in {}", ended.await, logs.display())
    }

    /// Ends everything, the last started first.
    pub(super) async fn strike(self) {
        for process in self.processes.into_iter().rev() {
            process.stop().await;
        }
    }

    /// One of the commands, as the first operator.
    pub(super) fn operator(&self, command: &str) -> Command {
        as_operator(&self.place, command)
    }
}

async fn init(place: &Place) -> anyhow::Result<()> {
    if place.profile().exists() {
        return Ok(());
    }
    let mut init = Command::new(place.command("klserver"));
    init.arg("init").arg("--config").arg(place.config()).arg("--profile").arg(place.profile());
    output(&mut init).await.map(drop)
}

fn start_server(place: &Place) -> anyhow::Result<Process> {
    let mut run = Command::new(place.command("klserver"));
    Process::start("klserver", &place.logs(), run.arg("run").arg("--config").arg(place.config()))
}

fn start_agent(place: &Place) -> anyhow::Result<Process> {
    let mut run = Command::new(place.command("klnagent"));
    Process::start(
        "klnagent",
        &place.logs(),
        run.arg("run").arg("--config").arg(place.agent_config()).arg("--state").arg(place.device()),
    )
}

/// Makes the device a distribution point, unless there is one, and a KSN proxy before the reputation server.
async fn give_roles(client: &Client, place: &Place, device: &str) -> anyhow::Result<()> {
    if client.get::<Vec<Point>>("/api/v1/points").await?.is_empty() {
        let to = AssignPoint { group: "/".to_owned(), rate_mbit: None };
        let _: Point = client.post(&format!("/api/v1/devices/{device}/point"), &to).await?;
    }
    let upstreams = vec![place.reputation_server()];
    let proxies = client.get::<Vec<Ksn>>("/api/v1/ksn-proxies").await?;
    if proxies.iter().all(|ksn| ksn.proxy.upstreams != upstreams) {
        let to = SetKsn { upstreams, ..SetKsn::default() };
        let _: Ksn = client.post(&format!("/api/v1/devices/{device}/ksn-proxy"), &to).await?;
    }
    Ok(())
}

/// What an administrator does for a new device: a token here, one line there.
async fn enroll(place: &Place, profile: &Profile, device: &str) -> anyhow::Result<()> {
    if place.device().join(ENROLLED).exists() {
        return Ok(());
    }
    let mut create = as_operator(place, "klctl");
    let created = output(create.args(["--json", "token", "create", "--uses", "1", "--ttl", "10m"])).await?;
    let created: Value = serde_json::from_str(&created).context("klctl token create")?;
    let secret = created["secret"].as_str().context("klctl token create gave no secret")?;
    let mut enroll = Command::new(place.command("klnagent"));
    enroll.arg("enroll").arg("--server").arg(place.url()).arg("--root").arg(print_pin(&profile.trust.pin()));
    // By the environment: the list of processes is for everyone to read.
    enroll.arg("--state").arg(place.device()).arg("--name").arg(device).env("KLNET_TOKEN", secret);
    output(&mut enroll).await.map(drop)
}

fn as_operator(place: &Place, command: &str) -> Command {
    let mut operator = Command::new(place.command(command));
    operator.arg("--profile").arg(place.profile()).kill_on_drop(true);
    operator
}

async fn answers(client: &Client) -> bool {
    client.get::<Health>("/api/v1/health").await.is_ok()
}

async fn online(client: &Client) -> bool {
    online_device(client).await.is_ok()
}

async fn proxy_told(client: &Client) -> bool {
    let proxies = client.get::<Vec<Ksn>>("/api/v1/ksn-proxies").await.unwrap_or_default();
    proxies.iter().any(|ksn| ksn.state.is_some())
}

async fn online_device(client: &Client) -> anyhow::Result<Device> {
    devices(client).await?.into_iter().find(|device| device.online).context("the device went away")
}

/// Every device, as the API shows it.
pub(super) async fn devices(client: &Client) -> Result<Vec<Device>, ApiError> {
    client.get("/api/v1/devices").await
}

/// Waits for `holds`, as long as the process that brings it about lives.
async fn until<F: Future<Output = bool>>(
    what: &str,
    process: &mut Process,
    mut holds: impl FnMut() -> F,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_TIMEOUT;
    while Instant::now() < deadline {
        tokio::select! {
            held = holds() => if held { return Ok(()) },
            ended = process.ended() => bail!("{ended} before {what}; see its log"),
        }
        tokio::time::sleep(RETRY_EACH).await;
    }
    bail!("waited {READY_TIMEOUT:?} in vain until {what}")
}

/// What an enrolled device's folder holds.
const ENROLLED: &str = "agent.json";
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_EACH: Duration = Duration::from_millis(50);
