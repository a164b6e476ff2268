//! A whole fleet comes back at once, from behind one address, after its server was restarted.

mod stage;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use klnet_agent::agent::{Agent, AgentError};
use klnet_agent::config::{Config, Ports};
use klnet_agent::platform;
use klnet_agent::state::{Device, Folder};
use klnet_agent::status::Status;
use klnet_tests::scale;
use klnet_wire::identity::Role;
use klnet_wire::identity::authority::request;
use klnet_wire::identity::enroll::{EnrollReply, EnrollRequest};
use klnet_wire::signing::SigningKey;
use stage::{PATIENCE, Stage, cpu, eventually, metric, post_from, source};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_back_within_five_seconds_after_its_server() -> Result<()> {
    let devices = scale(150, 1000);
    let mut stage = Stage::set().await?;
    stage.configure("reconnect_window", "2s")?;
    stage.configure("heartbeat_min", "30s")?;
    stage.configure("heartbeat_max", "30s")?;
    stage.stop_server()?;
    stage.start_server().await?;
    let fleet = Fleet::enrolled(&stage, devices).await?;
    eventually(PATIENCE, async || online(&stage).await == devices).await?;
    for kill in [false, true] {
        match kill {
            true => stage.kill_server()?,
            false => stage.stop_server()?,
        }
        let away = eventually(PATIENCE, async || fleet.is_turned_away()).await?;
        let started = Instant::now();
        stage.start_server().await?;
        let serving = started.elapsed();
        eventually(PATIENCE, async || online(&stage).await == devices).await?;
        let (back, used) = (started.elapsed(), cpu(stage.server_id())?);
        let refused = metric(&stage, "klserver_agents_refused_total").await?;
        println!(
            "counted: {devices} agents behind one address, server (kill: {kill}) away for {away:.1?}, serving after \
             {serving:.1?}: all back {back:.1?} after its start, {used:.2?} of CPU, {refused} turned away"
        );
        ensure!(back - serving < Duration::from_secs(5), "the last came back after {back:?}");
        ensure!(refused == 0, "{refused} connections of agents were turned away");
    }
    fleet.stop().await
}

/// Agents that run in this process.
struct Fleet {
    folders: Vec<Folder>,
    agents: JoinSet<Result<(), AgentError>>,
    shutdown: CancellationToken,
}

impl Fleet {
    async fn enrolled(stage: &Stage, devices: usize) -> Result<Self> {
        let token = Arc::<str>::from(stage.token(u32::try_from(devices)?).await?);
        let (mut agents, shutdown) = (JoinSet::new(), CancellationToken::new());
        let mut folders = Vec::with_capacity(devices);
        for number in 0..devices {
            let folder = enroll(stage, number, &token).await?;
            let ports = Ports { neighbours: 0, ..Ports::default() };
            let config = Config { state: folder.path().to_owned(), ports, ..Config::default() };
            agents.spawn(Agent::open(&config)?.run(shutdown.clone()));
            folders.push(folder);
        }
        Ok(Self { folders, agents, shutdown })
    }

    /// Whether every agent has found its server gone, now or before.
    fn is_turned_away(&self) -> bool {
        self.folders.iter().all(|folder| {
            let error = Status::read(folder).and_then(|status| status.last_error);
            error.is_some_and(|error| error.text.contains("refused"))
        })
    }

    async fn stop(mut self) -> Result<()> {
        self.shutdown.cancel();
        while let Some(ended) = self.agents.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// Enrols a device from an address of its own: the pace at which one source may enrol is not what this is about.
async fn enroll(stage: &Stage, number: usize, token: &str) -> Result<Folder> {
    let (key, name) = (SigningKey::generate_p256(), format!("pc-{number}"));
    let request = data_encoding::BASE64URL_NOPAD.encode(&request(&key)?);
    let (token, host_name, os) = (token.to_owned(), name.clone(), platform::os());
    let asked = serde_json::to_string(&EnrollRequest { token, request, host_name, os })?;
    let (status, reply) = post_from(stage, source(number), "/api/v1/enroll", &asked).await?;
    ensure!(status == 200, "{status}: {reply}");
    let reply: EnrollReply = serde_json::from_value(reply)?;
    let pin = stage.profile.trust.pin();
    let enrolled = reply.verify(&pin, key.public(), Role::Agent, SystemTime::now())?;
    let folder = Folder::new(stage.path(&name));
    std::fs::create_dir_all(folder.path())?;
    folder.save_keys(&enrolled.keys)?;
    folder.save_servers(&enrolled.servers)?;
    folder.save(&Device::new(stage.url(), Some(name), &enrolled, key)).context("its identity is kept")?;
    Ok(folder)
}

async fn online(stage: &Stage) -> usize {
    let sessions = metric(stage, "klserver_sessions").await.unwrap_or_default();
    usize::try_from(sessions).unwrap_or_default()
}
