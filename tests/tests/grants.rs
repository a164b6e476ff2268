//! Grants that are wrong, expired, replayed, stolen, re-targeted, truncated or bit-flipped: each is refused by the
//! first part that can see it, and by the agent even when the server is hostile.

mod stage;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use klnet_server::fabric::Fabric;
use klnet_tests::fault::{Plan, Proxy, shift_clock};
use klnet_tests::{program, scale};
use klnet_tunnel::blob::Blob;
use klnet_tunnel::grant::{Grant, Host};
use klnet_wire::id::{DeviceId, GrantId, ServerId, TenantId};
use klnet_wire::identity::authority::request;
use klnet_wire::message::{Message, Open};
use klnet_wire::signed::{Context as Purpose, Signed};
use klnet_wire::signing::SigningKey;
use serde_json::Value;
use stage::{
    Device, HostileServer, HostileSession, PATIENCE, Redeemed, Stage, Target, accelerate, echoes, eventually,
    has_shifted_clocks, held, post_from, redeem, source,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_grant_serves_no_other_key_and_burns_nothing() -> Result<()> {
    let stage = Stage::set().await?;
    let (device, target) = (stage.device("web-7").await?, Target::start().await?);
    let before =
        [(stage.server_id(), held(stage.server_id())?), (device.agent_id(), held(device.agent_id())?)];
    let blob = stage.grant(&device, target.port).await?;
    // As many as are audited in a minute.
    let (thefts, mut attempts) = (scale(20, 100), 0);
    // A thief who comes while the label still belongs to the last one is turned away by the relay already.
    while stage.audit("tunnel.rejected").await?.len() < thefts {
        let thief = SigningKey::generate_p256();
        assert!(matches!(redeem(&blob, &thief, 0).await, Redeemed::Closed));
        attempts += 1;
        ensure!(attempts < 20 * thefts, "thefts are not audited");
    }
    assert_eq!(target.accepted(), 0, "no packet to the target for another key");
    let owner = redeem(&blob, &stage.profile.identity.key, 0).await;
    let Redeemed::Ready(mut stream) = owner else { panic!("label 0 was burnt: {owner:?}") };
    echoes(&mut stream, b"mine").await?;
    drop(stream);
    stage.leaves_nothing(&before).await?;
    println!(
        "counted: stolen grant: {attempts} other keys, 0 accepted, {thefts} refused by the device and audited, the others by \
         the relay; the owner served after them"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_grant_finds_nothing_after_any_restart_and_with_any_clock() -> Result<()> {
    if !has_shifted_clocks() {
        return Ok(());
    }
    let mut stage = Stage::set().await?;
    let mut device = stage.device("web-7").await?;
    let target = Target::start().await?;
    let key = stage.profile.identity.key.clone();
    let (mut replays, mut served) = (0, 0);
    for clock in ["+0", "+3d", "-10d"] {
        for restart in [Restart::Agent, Restart::Server, Restart::Both] {
            // Used, and not used: a grant of either kind must be void afterwards.
            let (used, unused) =
                (stage.grant(&device, target.port).await?, stage.grant(&device, target.port).await?);
            let Redeemed::Ready(stream) = redeem(&used, &key, 0).await else {
                panic!("a fresh grant serves")
            };
            served += 1;
            assert!(matches!(redeem(&used, &key, 1).await, Redeemed::Refused(_)), "it has its session");
            drop(stream);
            restart.run(&mut stage, &mut device, clock).await?;
            let accepted = target.accepted();
            for (blob, label) in [(&used, 0), (&used, 1), (&used, 2), (&unused, 0), (&unused, 1)] {
                assert!(!redeem(blob, &key, label).await.is_ready(), "{restart:?} {clock}");
                replays += 1;
            }
            assert_eq!(target.accepted(), accepted, "no packet to the target: {restart:?} {clock}");
            if clock == "-10d" {
                // To this agent no certificate is valid yet: it says so, and comes back once the clock is right.
                device.kill()?;
                stage.offline(&device).await?;
                device.start()?;
                stage.online(&device).await?;
            }
        }
    }
    println!(
        "counted: replayed grant: {replays} replays over 9 restarts x clocks, 0 accepted; {served} fresh ones served"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_grant_is_refused_by_relay_and_agent_each_by_its_own_clock() -> Result<()> {
    if !has_shifted_clocks() {
        return Ok(());
    }
    let mut counts = Vec::new();
    for fast in ["klserver", "klnagent"] {
        let accelerated = |name: &'static str| {
            move |command: &mut Command| if name == fast { accelerate(command, SPEED) } else { Ok(()) }
        };
        let stage = Stage::set_with(None, accelerated("klserver")).await?;
        let device = stage.device_with("web-7", accelerated("klnagent")).await?;
        let target = Target::start().await?;
        let key = &stage.profile.identity.key;
        let fresh = stage.grant(&device, target.port).await?;
        let Redeemed::Ready(mut live) = redeem(&fresh, key, 0).await else { panic!("{fast}: the control") };
        let old = stage.grant(&device, target.port).await?;
        // The 60 s of the grant, as the fast process counts them; a session that began in time outlives them.
        let (minted, mut pace) = (Instant::now(), tokio::time::interval(Duration::from_millis(50)));
        while minted.elapsed() < Duration::from_secs(60 / SPEED + 1) {
            pace.tick().await;
            echoes(&mut live, b"in time").await?;
        }
        let (first, second) = tokio::join!(redeem(&old, key, 0), redeem(&old, key, 1));
        assert!(!first.is_ready() && !second.is_ready(), "{fast} is past the grant's start limit");
        assert_eq!(target.accepted(), 1, "only the control reached the target");
        counts.push(fast);
    }
    println!(
        "counted: expired grant: 4 redemptions, 0 accepted, judged by {} alone in turn",
        counts.join(" and ")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_server_cannot_make_an_agent_take_a_wrong_grant() -> Result<()> {
    let mut stage = Stage::set().await?;
    let device = stage.device("web-7").await?;
    let other = stage.device("web-8").await?;
    let target = Target::start().await?;
    let (blob, foreign) = (stage.grant(&device, target.port).await?, stage.grant(&other, target.port).await?);
    drop(other);
    let fabric = stage.fabric()?;
    stage.kill_server()?;
    let mut server = HostileServer::take_over(&stage).await?;
    let mut session = server.welcome(None).await?;

    // The control: the same server with a grant key is believed.
    let good = Grant { id: GrantId::random(), epoch: session.hello.epoch, ..blob.grant.clone() };
    let signed = fabric.sign_grant(good.encode());
    assert_eq!(session.offer(signed.clone()).await?, None);
    let replayed = session.offer(signed.clone()).await?;
    assert_eq!(replayed.as_deref(), Some("the grant came before"));

    let fresh = Grant { id: GrantId::random(), ..good.clone() };
    let flips = flipped(&mut session, &fabric.sign_grant(fresh.encode())).await?;
    let cuts = truncated(&mut session, &fabric.sign_grant(fresh.encode())).await?;
    let wrongs = retargeted(&mut session, &fabric, &fresh, &blob, &foreign).await?;
    let opens = opened(&mut session, &server, &good).await?;
    println!(
        "counted: hostile server: {flips} flipped bits, {cuts} truncations, {wrongs} re-targeted or wrongly signed \
         grants, {opens} OPENs without a grant: 0 accepted, 0 dialled back; 1 good grant accepted"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_server_cannot_bring_an_earlier_session_back() -> Result<()> {
    let mut stage = Stage::set().await?;
    let mut device = stage.device("web-7").await?;
    let blob = stage.grant(&device, 22).await?;
    stage.kill_server()?;
    let mut server = HostileServer::take_over(&stage).await?;
    let (mut sessions, mut refused) = (0, 0);
    for restart in [false, true, false] {
        if restart {
            device.kill()?;
            device.start()?;
        }
        // With the session's own epoch the old grant is of another session.
        let mut session = server.welcome(None).await?;
        assert_ne!(session.hello.epoch, blob.grant.epoch, "an epoch is drawn anew");
        let reason = session.offer(blob.signed.clone()).await?;
        assert_eq!(reason.as_deref(), Some("the grant is for another session of the agent"));
        drop(session);
        // With the old epoch there is no session.
        let mut session = server.welcome(Some(blob.grant.epoch)).await?;
        let took = session.offer(blob.signed.clone()).await;
        assert!(took.is_err(), "the agent stays in a session it did not ask for: {took:?}");
        (sessions, refused) = (sessions + 2, refused + 2);
    }
    assert_eq!(server.dial_backs(), 0);
    println!(
        "counted: earlier session: {sessions} sessions of a hostile server, {refused} replays, 0 accepted"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_blob_is_refused_before_anything_is_dialled_or_opens_nothing() -> Result<()> {
    let stage = Stage::set().await?;
    let (device, target) = (stage.device("web-7").await?, Target::start().await?);
    let blob = stage.grant(&device, target.port).await?;
    let text = blob.to_string();
    let cut = (0..text.len()).filter(|len| text[..*len].parse::<Blob>().is_ok()).count();
    assert_eq!(cut, 0, "truncated blobs that can be read");
    let (mut unreadable, mut closed, mut whole) = (0, 0, 0);
    for (index, bit) in (0..text.len()).flat_map(|index| (0..7).map(move |bit| (index, bit))) {
        let mut bytes = text.clone().into_bytes();
        bytes[index] ^= 1 << bit;
        let Some(flipped) = String::from_utf8(bytes).ok().and_then(|text| text.parse::<Blob>().ok()) else {
            unreadable += 1;
            continue;
        };
        // A blob that leads elsewhere is not followed: tests connect to nobody else.
        if flipped.relay != blob.relay || flipped.ports != blob.ports {
            continue;
        }
        // What the operator's copy says beside these is nobody's proof: relay and agent have the signed bytes.
        if (flipped.grant.id, flipped.secret.as_bytes(), &flipped.agent)
            == (blob.grant.id, blob.secret.as_bytes(), &blob.agent)
        {
            whole += 1;
            continue;
        }
        if flipped.agent != blob.agent && closed % 16 != 0 {
            continue; // each of these ends a dial-back; some are enough
        }
        assert!(!redeem(&flipped, &stage.profile.identity.key, 0).await.is_ready());
        closed += 1;
    }
    assert_eq!(target.accepted(), 0);
    let output = Command::new(program("klsctunnel")?)
        .arg(&text[..text.len() - 9])
        .arg("--profile")
        .arg(stage.profile_path())
        .output()?;
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("damaged"), "the operator reads why: {said}");
    println!(
        "counted: damaged blob: {} truncations unreadable; of {} flipped bits {unreadable} unreadable, {closed} \
         redeemed in vain, {whole} left id, secret and key as they were",
        text.len(),
        text.len() * 7
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_reads_why_a_grant_is_refused() -> Result<()> {
    let stage = Stage::set().await?;
    let mut device = stage.enrolled("web-7").await?;
    let policy = stage.path("agent.toml");
    std::fs::write(&policy, "[tunnel]\ndeny_ports = [23]\nhosts_allowed = false\n[ports]\nneighbours = 0\n")?;
    device.start_with(|command| {
        command.arg("--config").arg(&policy);
        Ok(())
    })?;
    stage.online(&device).await?;
    let mut told = Vec::new();
    for (target, why) in [
        ("web-7:23", "port"),
        ("web-7:10.99.0.1:80", "host"),
        ("nobody:22", "device"),
        ("web-7:127.0.0.1:22", "host"),
    ] {
        let said = refused(&stage, target)?;
        assert!(said.contains(why), "{target}: {said}");
        told.push(said);
    }
    device.stop()?;
    let gone = eventually(PATIENCE, async || !stage.is_online("web-7").await);
    gone.await?;
    let said = refused(&stage, "web-7:22")?;
    assert!(said.contains("offline"), "{said}");
    told.push(said);
    audited(&stage, "tunnel.refused", told.len()).await?;
    for line in &told {
        println!("  {}", line.trim());
    }
    println!(
        "counted: refused grants: {} asked, {} told why with exit code 3, {0} audited",
        told.len(),
        told.len()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_redeemers_of_one_grant_make_one_session() -> Result<()> {
    let stage = Arc::new(Stage::set().await?);
    let (device, target) = (stage.device("web-7").await?, Target::start().await?);
    let before =
        [(stage.server_id(), held(stage.server_id())?), (device.agent_id(), held(device.agent_id())?)];
    let blob = Arc::new(stage.grant(&device, target.port).await?);
    let redeemers = scale(200_u32, 1000);
    let mut tasks = JoinSet::new();
    for n in 0..redeemers {
        let (stage, blob) = (Arc::clone(&stage), Arc::clone(&blob));
        // Some labels many times, some beyond the window: every way two redeemers can meet.
        tasks.spawn(async move { redeem(&blob, &stage.profile.identity.key, n % 48).await });
    }
    let outcomes = tasks.join_all().await;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for outcome in &outcomes {
        *counts.entry(format!("{outcome:?}")).or_default() += 1;
    }
    assert_eq!(counts.get("Ready"), Some(&1), "{counts:?}");
    assert_eq!(target.accepted(), 1);
    drop(outcomes);
    stage.leaves_nothing(&before).await?;
    println!("counted: {redeemers} parallel redeemers of one grant: {counts:?}; 1 connection at the target");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_redeemers_of_one_token_make_one_device() -> Result<()> {
    let stage = Arc::new(Stage::set().await?);
    let token = stage.token(1).await?;
    let before = [(stage.server_id(), held(stage.server_id())?)];
    let redeemers = scale(200_usize, 1000);
    let mut tasks = JoinSet::new();
    for n in 0..redeemers {
        let request = data_encoding::BASE64URL_NOPAD.encode(&request(&SigningKey::generate_p256())?);
        let body =
            serde_json::json!({ "token": token, "request": request, "host_name": "racer", "os": "linux" });
        let stage = Arc::clone(&stage);
        tasks.spawn(async move {
            let answer = post_from(&stage, source(n), "/api/v1/enroll", &body.to_string()).await;
            answer.map_or(0, |(status, _)| status)
        });
    }
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    for status in tasks.join_all().await {
        *counts.entry(status).or_default() += 1;
    }
    assert_eq!(counts.get(&200), Some(&1), "{counts:?}");
    let devices: Vec<Value> = stage.client.get("/api/v1/devices").await?;
    assert_eq!(devices.len(), 1);
    assert_eq!(stage.audit("device.enroll").await?.len(), 1);
    stage.leaves_nothing(&before).await?;
    println!("counted: {redeemers} parallel redeemers of one token: 1 device; by status {counts:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_replayed_hellos_reach_no_target() -> Result<()> {
    let stage = Stage::set().await?;
    let (device, target) = (stage.device("web-7").await?, Target::start().await?);
    let before =
        [(stage.server_id(), held(stage.server_id())?), (device.agent_id(), held(device.agent_id())?)];
    let mut blob = stage.grant(&device, target.port).await?;
    let tunnels = ([127, 0, 0, 1], stage.ports.tunnels).into();
    let recorder = Proxy::start(tunnels, |_| Plan::default()).await?;
    blob.ports = vec![recorder.address().port()];
    let Redeemed::Ready(mut stream) = redeem(&blob, &stage.profile.identity.key, 0).await else {
        panic!("the first use serves")
    };
    let [hello, _] = recorder.recorded(0).context("it was recorded")?;
    let record = 5 + usize::from(u16::from_be_bytes([hello[3], hello[4]]));
    let hello: Arc<[u8]> = hello[..record].into();
    let replays = 10_000;
    let mut answered = 0;
    for _ in 0..replays / AT_ONCE {
        let mut tasks = JoinSet::new();
        for _ in 0..AT_ONCE {
            let hello = Arc::clone(&hello);
            tasks.spawn(async move {
                let mut stream = TcpStream::connect(tunnels).await?;
                stream.write_all(&hello).await?;
                let mut answer = Vec::new();
                // A reset is an end too.
                let _ = stream.read_to_end(&mut answer).await;
                Ok::<_, std::io::Error>(answer.len())
            });
        }
        answered += tasks.join_all().await.into_iter().filter(|answer| !matches!(answer, Ok(0))).count();
    }
    assert_eq!(answered, 0, "a replayed hello is answered by nothing");
    assert_eq!(target.accepted(), 1, "0 further connections at the target");
    echoes(&mut stream, b"the session whose hello it was goes on").await?;
    drop(stream);
    drop(recorder);
    stage.leaves_nothing(&before).await?;
    println!("counted: {replays} replayed hellos: 0 bytes answered, 0 connections at the target");
    Ok(())
}

/// What is killed and started again; the relay is part of the server.
#[derive(Clone, Copy, Debug)]
enum Restart {
    Agent,
    Server,
    Both,
}

impl Restart {
    /// Starts the agent with its clock off in any case: even the session it keeps counts by it no more.
    async fn run(self, stage: &mut Stage, device: &mut Device, clock: &str) -> Result<()> {
        if !matches!(self, Self::Server) || clock != "+0" {
            device.kill()?;
            // Or the session it had would be taken for the one to come.
            stage.offline(device).await?;
        }
        if !matches!(self, Self::Agent) {
            stage.kill_server()?;
            stage.start_server().await?;
        }
        if !device.runs() {
            device.start_with(|command| shift_clock(command, clock).map(drop))?;
        }
        match clock {
            "-10d" => device.wait_for_log("clock"),
            _ => stage.online(device).await,
        }
    }
}

/// Flips every bit of the grant's bytes, of its signature and of the key's name; says how many.
async fn flipped(session: &mut HostileSession, signed: &Signed) -> Result<usize> {
    let mut count = 0;
    for part in 0..3 {
        let of = |signed: &Signed| {
            [signed.bytes.clone(), signed.signature.clone(), signed.key_id.clone()][part].to_vec()
        };
        for bit in 0..of(signed).len() * 8 {
            let mut bytes = of(signed);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut forged = signed.clone();
            *[&mut forged.bytes, &mut forged.signature, &mut forged.key_id][part] = bytes.into();
            ensure!(session.offer(forged).await?.is_some(), "bit {bit} of part {part} was taken flipped");
            count += 1;
        }
    }
    Ok(count)
}

/// Offers every beginning of the grant's bytes, with the signature of the whole.
async fn truncated(session: &mut HostileSession, signed: &Signed) -> Result<usize> {
    for len in 0..signed.bytes.len() {
        let cut = Signed { bytes: signed.bytes.slice(..len), ..signed.clone() };
        ensure!(session.offer(cut).await?.is_some(), "the first {len} bytes were taken");
    }
    Ok(signed.bytes.len())
}

/// Grants for somebody else, and grants by somebody else.
async fn retargeted(
    session: &mut HostileSession,
    fabric: &Fabric,
    fresh: &Grant,
    earlier: &Blob,
    foreign: &Blob,
) -> Result<usize> {
    let with = |change: &dyn Fn(&mut Grant)| {
        let mut grant = fresh.clone();
        change(&mut grant);
        grant.encode()
    };
    let mine = SigningKey::generate_ed25519();
    let original = fabric.sign_grant(fresh.encode());
    let moved = with(&|grant| grant.port = earlier.grant.port.saturating_add(1));
    let elsewhere = with(&|grant| grant.host = Host::parse("10.99.0.1").expect("an address"));
    let other_key = with(&|grant| grant.cnf = SigningKey::generate_p256().public().clone());
    let cases = [
        ("another device", fabric.sign_grant(with(&|grant| grant.device = DeviceId::random()))),
        ("another tenant", fabric.sign_grant(with(&|grant| grant.tenant = TenantId::random()))),
        ("another server", fabric.sign_grant(with(&|grant| grant.audience = ServerId::random()))),
        ("another session", fabric.sign_grant(with(&|grant| grant.epoch ^= 1))),
        ("route", fabric.sign_grant(with(&|grant| grant.route = vec![ServerId::random()]))),
        ("another device", foreign.signed.clone()),
        ("another session", earlier.signed.clone()),
        ("sign", mine.sign(Purpose::Grant, fresh.encode())),
        ("sign", Signed { key_id: original.key_id.clone(), ..mine.sign(Purpose::Grant, fresh.encode()) }),
        ("sign", fabric.sign_servers(fresh.encode())),
        ("sign", Signed { bytes: moved, ..original.clone() }),
        ("sign", Signed { bytes: elsewhere, ..original.clone() }),
        ("sign", Signed { bytes: other_key, ..original.clone() }),
        ("sign", Signed { signature: foreign.signed.signature.clone(), ..original }),
    ];
    let count = cases.len();
    for (why, signed) in cases {
        let reason = session.offer(signed).await?.with_context(|| format!("{why}: it was taken"))?;
        ensure!(reason.contains(why), "{why}: {reason}");
    }
    Ok(count)
}

/// OPENs that belong to no grant the agent holds; a PING behind them proves that they were read.
async fn opened(session: &mut HostileSession, server: &HostileServer, good: &Grant) -> Result<usize> {
    let before = server.dial_backs();
    let count = 100;
    for n in 0..count {
        let cookie = vec![n; if n % 3 == 0 { 20 } else { usize::from(n) }].into();
        let grant = match n % 2 {
            0 => GrantId::random().to_vec().into(),
            _ => good.id.to_vec()[..15].to_vec().into(),
        };
        session.send(&Message::Open(Open { grant, cookie, expires_ms: 30_000 })).await?;
    }
    session.settled().await?;
    assert_eq!(server.dial_backs(), before, "dialled back without a grant");
    // The control: for the grant it holds it does dial back.
    let open = Open { grant: good.id.to_vec().into(), cookie: vec![9; 20].into(), expires_ms: 30_000 };
    session.send(&Message::Open(open)).await?;
    eventually(PATIENCE, async || server.dial_backs() == before + 1).await?;
    Ok(count.into())
}

/// Asks klsctunnel for a target that is refused, and gives what it says.
fn refused(stage: &Stage, target: &str) -> Result<String> {
    let mut ask = Command::new(program("klsctunnel")?);
    let output = ask.arg(target).arg("--profile").arg(stage.profile_path()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(3), "{target}: {:?}: {said}", output.status);
    Ok(said)
}

async fn audited(stage: &Stage, action: &str, count: usize) -> Result<()> {
    let enough =
        eventually(PATIENCE, async || stage.audit(action).await.is_ok_and(|found| found.len() >= count));
    enough.await.with_context(|| format!("{count} entries {action}"))?;
    assert_eq!(stage.audit(action).await?.len(), count, "{action}");
    Ok(())
}

/// How fast a process's clock runs whose time is to pass.
const SPEED: u64 = 20;
const AT_ONCE: usize = 50;
