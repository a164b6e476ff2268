//! At every limit: out of descriptors, a full disk, an agent that does not read, a control connection that is lost, a
//! revocation. What is new is refused with a reason, what lives goes on, and all of it recovers by itself.

mod stage;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::BytesMut;
use klnet_tests::fault::{SmallDisk, limit_descriptors};
use klnet_tests::lab::{Host, Lab};
use klnet_tests::{scale, skip};
use klnet_wire::identity::tls::{ALPN_AGENT, client_config};
use klnet_wire::message::{Hello, Message};
use klnet_wire::net::https::ApiError;
use klnet_wire::outbox::OUTBOX_LIMIT;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use stage::{
    PATIENCE, Redeemed, Stage, Target, accelerate, cpu, descriptors, echoes, eventually, has_shifted_clocks,
    held, memory, redeem,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_out_of_descriptors_serves_again_once_there_are_some() -> Result<()> {
    let stage = Stage::set_with(None, |command| {
        limit_descriptors(command, DESCRIPTORS);
        Ok(())
    })
    .await?;
    let (device, target) = (stage.device("web-7").await?, Target::start().await?);
    let blob = stage.grant(&device, target.port).await?;
    let Redeemed::Ready(mut stream) = redeem(&blob, &stage.profile.identity.key, 0).await else {
        panic!("a tunnel opens")
    };
    let server = stage.server_id();
    let before = held(server)?;
    let (start, lines) = (Instant::now(), stage.server_log().lines().count());
    let used = cpu(server)?;
    let mut served = Vec::new();
    let mut full = Duration::ZERO;
    for _ in 0..scale(3, 20) {
        let begun = Instant::now();
        let mut held = Vec::new();
        while held.len() < 2 * usize::try_from(DESCRIPTORS)? {
            held.push(TcpStream::connect(("127.0.0.1", stage.ports.agents)).await?);
        }
        eventually(PATIENCE, async || {
            descriptors(server).is_ok_and(|now| u64::try_from(now).is_ok_and(|now| now + 1 >= DESCRIPTORS))
        })
        .await?;
        // The control: while it is full nobody new is served, and who is inside goes on. It may be full for a moment with
        // connections of the last round, which have ended and are only accepted now.
        let health =
            async || timeout(Duration::from_millis(500), stage.client.get::<Value>("/api/v1/health")).await;
        let full_now = eventually(PATIENCE, async || !matches!(health().await, Ok(Ok(_))));
        full_now.await.context("it is not full at all")?;
        echoes(&mut stream, b"while it is full").await?;
        full += begun.elapsed();
        drop(held);
        let again = eventually(PATIENCE, async || stage.client.get::<Value>("/api/v1/health").await.is_ok());
        served.push(again.await?);
    }
    let slowest = served.iter().max().copied().unwrap_or_default();
    assert!(slowest <= Duration::from_secs(3), "served again only after {slowest:?}");
    let (took, used) = (start.elapsed(), cpu(server)?.saturating_sub(used));
    let lines = stage.server_log().lines().count() - lines;
    assert!(used < took / 2, "{used:?} of CPU in {took:?}: it spins");
    assert!(lines <= 4 * served.len() + 4, "{lines} lines logged: {}", stage.server_log());
    drop(stream);
    stage.leaves_nothing(&[(server, before)]).await?;
    println!(
        "counted: out of descriptors {} times ({full:.1?}): served again after {slowest:.2?} at most, {used:.1?} of CPU \
         in {took:.1?}, {lines} log lines, the live tunnel went on",
        served.len()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_new_work_and_recovers_by_itself() -> Result<()> {
    if let Err(reason) = Lab::available() {
        skip(&reason); // mounting needs the same rights
        return Ok(());
    }
    let disk = SmallDisk::mount(DISK_KILOBYTES)?;
    let stage = Stage::set_with(Some(&disk.path().join("server")), |_| Ok(())).await?;
    let (device, target) = (stage.device("web-7").await?, Target::start().await?);
    let blob = stage.grant(&device, target.port).await?;
    let Redeemed::Ready(mut stream) = redeem(&blob, &stage.profile.identity.key, 0).await else {
        panic!("a tunnel opens")
    };
    let tokens = tokens(&stage).await?;
    disk.fill()?;
    let mut acknowledged = 0;
    let mut refusals = Vec::new();
    // What fits into pages that are there already may still be taken, and then it is kept.
    while refusals.len() < 20 {
        ensure!(acknowledged < 10_000, "the disk does not fill");
        match stage.token(1).await.map_err(|error| error.downcast::<ApiError>()) {
            Ok(_) => acknowledged += 1,
            Err(Ok(ApiError::Refused { status, message })) => refusals.push((status, message)),
            Err(other) => anyhow::bail!("no clear refusal: {other:?}"),
        }
    }
    for (status, message) in &refusals {
        ensure!(*status == 503 && message.contains("full"), "{status}: {message}");
    }
    let grant = stage.ask_grant(&device, None, target.port).await;
    ensure!(
        matches!(&grant, Err(ApiError::Refused { status: 503, .. })),
        "a grant without its audit entry: {grant:?}"
    );
    for _ in 0..100 {
        echoes(&mut stream, &[9; 1024]).await?;
    }
    ensure!(stage.is_online("web-7").await, "the device stays online");
    disk.free()?;
    let recovered = eventually(Duration::from_secs(30), async || stage.token(1).await.is_ok()).await?;
    acknowledged += 1;
    let now = self::tokens(&stage).await?;
    assert!(now >= tokens + acknowledged, "{now} tokens, of {tokens} and {acknowledged} acknowledged since");
    let blob = stage.grant(&device, target.port).await?;
    assert!(redeem(&blob, &stage.profile.identity.key, 0).await.is_ready());
    println!(
        "counted: disk full: {} refused with 503 {:?}, {acknowledged} acknowledged and kept, 100 echoes of a live tunnel; \
         new work again {recovered:.1?} after there was room",
        refusals.len() + 1,
        refusals[0].1
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_not_read_is_given_up_on_and_holds_little() -> Result<()> {
    let stage = Arc::new(Stage::set().await?);
    let device = stage.enrolled("stalled").await?;
    let socket = TcpSocket::new_v4()?;
    // Small, so that what the server has to say soon waits at the server.
    socket.set_recv_buffer_size(4096)?;
    let stream = socket.connect(([127, 0, 0, 1], stage.ports.agents).into()).await?;
    let config = client_config(Some(&device.identity()?), stage.profile.trust.clone(), &[ALPN_AGENT])?;
    let name = ServerName::from(std::net::IpAddr::from([127, 0, 0, 1]));
    let mut stream = TlsConnector::from(config).connect(name, stream).await?;
    let mut hello = BytesMut::new();
    Message::Hello(Box::new(Hello { epoch: 7, ..Hello::default() })).encode(0, &mut hello)?;
    stream.write_all(&hello).await?;
    eventually(PATIENCE, async || stage.is_online("stalled").await).await?;
    let before = memory(stage.server_id())?;
    let mut grants = JoinSet::new();
    for _ in 0..64 {
        let stage = Arc::clone(&stage);
        let device = device.name.clone();
        grants.spawn(async move {
            let ask = json!({ "device": device, "port": 22 });
            stage.client.post::<_, Value>("/api/v1/grants", &ask).await.err().map(|error| error.to_string())
        });
    }
    let refused = grants.join_all().await;
    let held = memory(stage.server_id())?.saturating_sub(before);
    for why in &refused {
        let why = why.as_deref().unwrap_or("granted");
        ensure!(
            why.contains("did not answer") || why.contains("keep up") || why.contains("offline"),
            "{why}"
        );
    }
    let gone = eventually(PATIENCE, async || !stage.is_online("stalled").await).await?;
    println!(
        "counted: stalled agent: {} grants refused with a reason, resident memory +{held} KiB for all of them, given up \
         on {gone:.1?} later; at most {} KiB wait for it (wire: session and outbox tests)",
        refused.len(),
        OUTBOX_LIMIT / 1024
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_effective_within_a_second() -> Result<()> {
    let stage = Stage::set().await?;
    let target = Target::start().await?;
    let mut slowest = Duration::ZERO;
    let rounds = scale(4, 20);
    for round in 0..rounds {
        let device = stage.device(&format!("web-{round}")).await?;
        let blob = stage.grant(&device, target.port).await?;
        let Redeemed::Ready(mut stream) = redeem(&blob, &stage.profile.identity.key, 0).await else {
            panic!("a tunnel opens")
        };
        echoes(&mut stream, b"before").await?;
        let devices: Vec<Value> = stage.client.get("/api/v1/devices").await?;
        let shown =
            devices.iter().find(|shown| shown["name"] == device.name.as_str()).context("it is there")?;
        let path = match round % 2 {
            0 => format!("/api/v1/devices/{}/revoke", shown["id"].as_str().context("it has an id")?),
            _ => format!("/api/v1/tunnels/{}/revoke", blob.grant.id),
        };
        let asked = Instant::now();
        stage.client.post::<_, Value>(&path, &json!({ "reason": "test" })).await?;
        let end = timeout(PATIENCE, stream.read(&mut [0; 8])).await.context("the tunnel lives on")?;
        ensure!(matches!(end, Ok(0) | Err(_)), "bytes after the revocation");
        slowest = slowest.max(asked.elapsed());
        ensure!(!redeem(&blob, &stage.profile.identity.key, 1).await.is_ready(), "it is redeemed again");
    }
    assert!(slowest <= Duration::from_secs(1), "cut only after {slowest:?}");
    println!(
        "counted: {rounds} revocations of devices and grants: live tunnels cut after {slowest:.0?} at most, request included"
    );
    Ok(())
}

/// The control connection alone is lost: in a namespace of its own, by the port it comes from.
#[test]
fn tunnels_without_a_control_connection_end_at_the_orphan_limit() -> Result<()> {
    let Some(lab) = Lab::or_skip("orphan") else { return Ok(()) };
    if !has_shifted_clocks() {
        return Ok(());
    }
    let machine = lab.host("machine")?;
    machine.inside(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(orphan(&machine))
    })?
}

async fn orphan(machine: &Host) -> Result<()> {
    let stage = Stage::set().await?;
    let accelerated = |command: &mut Command| accelerate(command, SPEED);
    let (device, target) = (stage.device_with("web-7", accelerated).await?, Target::start().await?);
    let blob = stage.grant(&device, target.port).await?;
    let Redeemed::Ready(mut stream) = redeem(&blob, &stage.profile.identity.key, 0).await else {
        panic!("a tunnel opens")
    };
    echoes(&mut stream, b"before").await?;
    let agents = stage.ports.agents;
    machine.run("nft", &["add", "table", "inet", "orphan"])?;
    machine
        .run("nft", &["add", "chain", "inet", "orphan", "out", "{ type filter hook output priority 0; }"])?;
    let drop = |what: &str| {
        let rule = format!("add rule inet orphan out tcp {what} counter drop");
        machine.run("nft", &rule.split(' ').collect::<Vec<_>>())
    };
    // No new connection first: one that is lost meanwhile, in hours that are seconds, must not be replaced.
    drop(&format!("dport {agents} tcp flags syn"))?;
    if let Ok(control) = control_port(machine, device.agent_id(), agents) {
        drop(&format!("dport {agents} tcp sport {control}"))?;
        drop(&format!("sport {agents} tcp dport {control}"))?;
    }
    let (lost, mut went_on) = (Instant::now(), Duration::ZERO);
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    while echoes(&mut stream, b"orphaned").await.is_ok() {
        went_on = lost.elapsed();
        ensure!(went_on < 2 * PATIENCE, "it lives beyond the orphan limit");
        pace.tick().await;
    }
    let counted = went_on * u32::try_from(SPEED)?;
    // The loss is noticed by an unanswered PING, within heartbeat and 10 s; the limit counts from then on.
    ensure!(counted > Duration::from_secs(540), "cut after {counted:?} already");
    println!(
        "counted: orphan limit: a live tunnel went on for {counted:.0?} of the agent's time (x{SPEED}) without control, \
         and was ended by the agent then"
    );
    Ok(())
}

/// The port from which the agent keeps its control connection: the oldest, and the only one before any dial-back.
fn control_port(machine: &Host, agent: u32, server: u16) -> Result<u16> {
    let log = machine.run("ss", &["-Htnpo", "state", "established", &format!("dport = :{server}")])?;
    let ports =
        log.lines().filter(|line| line.contains(&format!("pid={agent},")) && line.contains("keepalive"));
    let port = |line: &str| line.split_whitespace().nth(2)?.rsplit(':').next()?.parse::<u16>().ok();
    let descriptor = |line: &str| line.split("fd=").nth(1)?.split(')').next()?.parse::<u32>().ok();
    let first =
        ports.min_by_key(|line| descriptor(line)).with_context(|| format!("no control connection: {log}"))?;
    port(first).with_context(|| first.to_owned())
}

async fn tokens(stage: &Stage) -> Result<usize> {
    let tokens: Vec<Value> = stage.client.get("/api/v1/tokens").await?;
    Ok(tokens.len())
}

/// Enough for a server at rest with one device and one tunnel, and little more.
const DESCRIPTORS: u64 = 64;
/// The reserve of the store and a first write-ahead log fit.
const DISK_KILOBYTES: u32 = 32 * 1024;
/// The agent's 600 s pass in 20, and the 10 s that a PONG may take in a third of one.
const SPEED: u64 = 30;
