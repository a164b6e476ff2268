//! `kill -9` of server, agent and klsctunnel at random moments under load: nothing acknowledged is lost, and all of
//! them recover by themselves.

mod stage;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use klnet_tests::lab::Process;
use klnet_tests::sim::Rng;
use klnet_tests::{program, scale};
use klnet_wire::identity::authority::request;
use klnet_wire::net::https::Client;
use klnet_wire::signing::SigningKey;
use serde_json::{Value, json};
use stage::{
    PATIENCE, Redeemed, Stage, Target, accelerate, echoes, eventually, has_shifted_clocks, held, redeem,
};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_it_has_acknowledged() -> Result<()> {
    if !has_shifted_clocks() {
        return Ok(());
    }
    let mut stage = Stage::set().await?;
    // A server that dies in every session is dialled ever less often, up to 60 s apart: of the agent's own time.
    let device = stage.device_with("web-7", |command| accelerate(command, 20)).await?;
    let target = Target::start().await?;
    let (rounds, mut rng) = (scale(10, 100), Rng::new(3));
    let books = Arc::new(Books::default());
    let mut recovered = Vec::new();
    for _ in 0..rounds {
        let mut load = JoinSet::new();
        for _ in 0..3 {
            load.spawn(work(stage.client.clone(), Arc::clone(&books)));
        }
        let moment = rng.duration(Duration::from_millis(400));
        stage.kill_server_during(moment, async { drop(load.join_all().await) }).await?;
        let start = std::time::Instant::now();
        stage.start_server().await?;
        stage.online(&device).await?;
        recovered.push(start.elapsed());
        books.hold(&stage).await?;
    }
    let blob = stage.grant(&device, target.port).await?;
    assert!(redeem(&blob, &stage.profile.identity.key, 0).await.is_ready(), "a tunnel after {rounds} kills");
    let slowest = recovered.iter().max().copied().unwrap_or_default();
    println!(
        "counted: server killed {rounds} times: {} 0 lost; serving and the agent back after {slowest:.1?} at most",
        books.counts()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_comes_back_and_serves() -> Result<()> {
    let stage = Stage::set().await?;
    let (mut device, target) = (stage.device("web-7").await?, Target::start().await?);
    let (rounds, mut rng) = (scale(10, 100), Rng::new(4));
    let server = stage.server_id();
    let start = held(server)?;
    for round in 0..rounds {
        let blob = stage.grant(&device, target.port).await?;
        let Redeemed::Ready(mut stream) = redeem(&blob, &stage.profile.identity.key, 0).await else {
            panic!("round {round}: no tunnel")
        };
        let load = async { while echoes(&mut stream, &[1; 4096]).await.is_ok() {} };
        device.kill_during(rng.duration(Duration::from_millis(200)), load).await?;
        device.start()?;
        stage.online(&device).await?;
    }
    stage.leaves_nothing(&[(server, start)]).await?;
    // The relay's own records say what the killed agent could not; the last of them waits for it in vain for a moment.
    let recorded = eventually(PATIENCE, async || {
        let closed = stage.audit("tunnel.closed").await.unwrap_or_default();
        closed.iter().filter(|entry| entry["actor"] == "relay").count() >= rounds
    });
    let _ = recorded.await;
    let closed = stage.audit("tunnel.closed").await?;
    let relay = closed.iter().filter(|entry| entry["actor"] == "relay").count();
    assert_eq!(relay, rounds, "every connection has the relay's record");
    let unconfirmed = closed.iter().filter(|entry| told(entry).starts_with("unconfirmed")).count();
    println!(
        "counted: agent killed {rounds} times: back each time, {relay} records by the relay, {unconfirmed} shown as unconfirmed"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_klsctunnel_leaves_nothing_at_server_and_agent() -> Result<()> {
    let stage = Stage::set().await?;
    let (device, target) = (stage.device("web-7").await?, Target::start().await?);
    let (rounds, mut rng) = (scale(10, 100), Rng::new(5));
    let ends = [stage.server_id(), device.agent_id()];
    let before = [(ends[0], held(ends[0])?), (ends[1], held(ends[1])?)];
    for _ in 0..rounds {
        let (tunnel, port) = klsctunnel(&stage, &format!("web-7:{}", target.port))?;
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        echoes(&mut stream, b"before").await?;
        let doomed = tunnel.kill_after(rng.duration(Duration::from_millis(100)));
        while echoes(&mut stream, &[1; 4096]).await.is_ok() {}
        doomed.struck()?;
    }
    stage.leaves_nothing(&before).await?;
    let confirmed = eventually(PATIENCE, async || {
        let closed = stage.audit("tunnel.closed").await.unwrap_or_default();
        closed.len() >= 2 * rounds && closed.iter().all(|entry| told(entry) == "yes")
    });
    let took = match confirmed.await {
        Ok(took) => took,
        Err(error) => {
            let closed = stage.audit("tunnel.closed").await?;
            let lone: Vec<_> = closed.iter().filter(|entry| told(entry) != "yes").collect();
            return Err(
                error.context(format!("{} records of {rounds} ends, unconfirmed: {lone:#?}", closed.len()))
            );
        }
    };
    println!(
        "counted: klsctunnel killed {rounds} times: two records of each connection, in use or ready, all confirmed (after \
         {took:.1?}), 0 descriptors left"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_under_live_tunnels_leaves_no_gap_in_the_audit_log() -> Result<()> {
    let mut stage = Stage::set().await?;
    let (survivor, mut doomed) = (stage.device("web-7").await?, stage.device("web-8").await?);
    let target = Target::start().await?;
    let (mut open, mut grants) = (Vec::new(), BTreeSet::new());
    for device in [&survivor, &doomed, &survivor, &doomed, &survivor] {
        let blob = stage.grant(device, target.port).await?;
        let Redeemed::Ready(mut stream) = redeem(&blob, &stage.profile.identity.key, 0).await else {
            panic!("no tunnel")
        };
        echoes(&mut stream, b"before").await?;
        open.push(stream);
        grants.insert(blob.grant.id.to_string());
    }
    stage.kill_server()?;
    doomed.kill()?;
    stage.start_server().await?;
    // What nobody can tell of is visible at once, what the device tells once it is back.
    let noted = eventually(PATIENCE, async || noted(&stage).await.is_ok_and(|noted| noted == grants));
    noted.await.context("every grant that was open is noted")?;
    let told = eventually(PATIENCE, async || {
        let closed = stage.audit("tunnel.closed").await.unwrap_or_default();
        closed.len() == 3 && closed.iter().all(|entry| told(entry).contains("the server was killed"))
    });
    if let Err(error) = told.await {
        return Err(error.context(format!("{:#?}", stage.audit("tunnel.closed").await?)));
    }
    // The control: an orderly end leaves nothing to note.
    stage.stop_server()?;
    stage.start_server().await?;
    stage.online(&survivor).await?;
    assert_eq!(stage.audit("tunnel.unconfirmed").await?.len(), grants.len());
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_asked_to_stop_leaves_no_tunnel_unconfirmed() -> Result<()> {
    let mut stage = Stage::set().await?;
    let (device, target) = (stage.device("web-7").await?, Target::start().await?);
    let tunnels = 5;
    let mut open = Vec::new();
    for _ in 0..tunnels {
        let blob = stage.grant(&device, target.port).await?;
        let Redeemed::Ready(mut stream) = redeem(&blob, &stage.profile.identity.key, 0).await else {
            panic!("no tunnel")
        };
        echoes(&mut stream, b"before").await?;
        open.push(stream);
    }
    stage.stop_server()?;
    stage.start_server().await?;
    let closed = stage.audit("tunnel.closed").await?;
    let relay: Vec<_> = closed.iter().filter(|entry| entry["actor"] == "relay").collect();
    assert_eq!(relay.len(), tunnels, "stored before the server was gone: {closed:#?}");
    assert!(relay.iter().all(|entry| entry["detail"]["reason"] == "shutdown"), "{relay:#?}");
    let confirmed = eventually(PATIENCE, async || {
        let closed = stage.audit("tunnel.closed").await.unwrap_or_default();
        closed.len() == 2 * tunnels && closed.iter().all(|entry| told(entry) == "yes")
    });
    confirmed.await.map(drop)
}

/// The grants on which the books were closed.
async fn noted(stage: &Stage) -> Result<BTreeSet<String>> {
    let noted = stage.audit("tunnel.unconfirmed").await?;
    Ok(noted.iter().map(|entry| text(&entry["detail"]["grant"])).collect())
}

/// What the server has acknowledged.
#[derive(Default)]
struct Books {
    tokens: Mutex<BTreeSet<String>>,
    removed: Mutex<BTreeSet<String>>,
    devices: Mutex<BTreeSet<String>>,
}

/// Makes tokens, removes some and enrols devices with others, until the server is gone.
async fn work(client: Client, books: Arc<Books>) {
    let mut number = 0_u32;
    while let Ok(made) = client.post::<_, Value>("/api/v1/tokens", &json!({ "uses": 1, "ttl": 3600 })).await {
        number += 1;
        let (id, secret) = (text(&made["token"]["id"]), text(&made["secret"]));
        let done = match number % 3 {
            0 => client.delete::<Value>(&format!("/api/v1/tokens/{id}")).await.is_ok(),
            1 => enroll(&client, &secret, &books).await,
            _ => {
                lock(&books.tokens).insert(id);
                continue;
            }
        };
        if !done {
            return; // asked and not answered: either is right
        }
        if number.is_multiple_of(3) {
            lock(&books.removed).insert(id);
        }
    }
}

async fn enroll(client: &Client, secret: &str, books: &Books) -> bool {
    let request = request(&SigningKey::generate_p256()).expect("a request can be made");
    let name = format!("device-{}", &secret[..12]);
    let request = data_encoding::BASE64URL_NOPAD.encode(&request);
    let ask = json!({ "token": secret, "request": request, "host_name": name, "os": "linux" });
    let enrolled = client.post::<_, Value>("/api/v1/enroll", &ask).await.is_ok();
    if enrolled {
        lock(&books.devices).insert(name);
    }
    enrolled
}

impl Books {
    /// Compares with what a server that was killed and started again knows.
    async fn hold(&self, stage: &Stage) -> Result<()> {
        let tokens: Vec<Value> = stage.client.get("/api/v1/tokens").await?;
        let tokens: BTreeSet<_> = tokens.iter().map(|token| text(&token["id"])).collect();
        let devices: Vec<Value> = stage.client.get("/api/v1/devices").await?;
        let devices: BTreeSet<_> = devices.iter().map(|device| text(&device["name"])).collect();
        let enrolled = stage.audit("device.enroll").await?;
        let audited: BTreeSet<_> = enrolled.iter().map(|entry| text(&entry["subject"])).collect();
        let lost = |known: &Mutex<BTreeSet<String>>, found: &BTreeSet<String>| {
            lock(known).difference(found).cloned().collect::<Vec<_>>()
        };
        assert_eq!(lost(&self.tokens, &tokens), [""; 0], "tokens lost");
        assert_eq!(lost(&self.devices, &devices), [""; 0], "devices lost");
        assert_eq!(lost(&self.devices, &audited), [""; 0], "audit entries lost");
        let back: Vec<_> = lock(&self.removed).intersection(&tokens).cloned().collect();
        assert_eq!(back, [""; 0], "removed tokens came back");
        Ok(())
    }

    fn counts(&self) -> String {
        let (tokens, removed) = (lock(&self.tokens).len(), lock(&self.removed).len());
        format!(
            "{tokens} tokens, {removed} removals, {} devices and their audit entries,",
            lock(&self.devices).len()
        )
    }
}

fn klsctunnel(stage: &Stage, target: &str) -> Result<(Process, u16)> {
    let mut open = Command::new(program("klsctunnel")?);
    open.args(["--json", target]).arg("--profile").arg(stage.profile_path());
    let mut tunnel = Process::spawn("klsctunnel", &mut open)?;
    let line = tunnel.wait_for_line("\"listening\"", PATIENCE)?;
    let event: Value = serde_json::from_str(&line)?;
    let address = event["local"][0].as_str().context("it listens somewhere")?;
    Ok((tunnel, address.parse::<std::net::SocketAddr>()?.port()))
}

fn told(entry: &Value) -> String {
    text(&entry["detail"]["confirmed"])
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no holder panics")
}
