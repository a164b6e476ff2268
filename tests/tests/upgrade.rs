//! `SIGHUP`: another process takes the place of a running server, and no tunnel notices; or it cannot, and nothing has
//! changed.

mod load;
mod stage;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use klnet_tests::{free_ports, need_programs, program, scale};
use load::{Kind, Load, Questions};
use serde_json::{Value, json};
use stage::{
    Device, PATIENCE, Redeemed, Target, Upgradable, descriptors, echoes, eventually, field, held, lives,
    redeem, signal_to,
};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn no_tunnel_is_dropped_and_no_byte_lost_by_an_upgrade() -> Result<()> {
    let mut server = Upgradable::set().await?;
    let devices = [server.stage.device("web-7").await?, server.stage.device("web-8").await?];
    let (echo, questions) = (Target::start().await?, Questions::start().await?);
    let count = scale(50, 1000);
    let mut load = Load::new(count);
    for at in 0..count {
        let port = if Kind::of(at) == Kind::HalfClosed { questions.port } else { echo.port };
        let connection = load.connect(&server, &devices[at % 2], port).await?;
        load.start(connection, at);
    }
    load.flows(&questions).await?;
    let handed_over = server.upgrade().await?;
    ensure!(field(&handed_over, "tunnels") == Some(&count.to_string()), "{handed_over}");
    ensure!(field(&handed_over, "cut") == Some("0"), "{handed_over}");
    questions.answer();
    if let Err(error) = load.finish().await {
        let closed = server.stage.audit("tunnel.closed").await?;
        let odd: Vec<_> = closed.iter().filter(|entry| entry["detail"]["reason"] != "finished").collect();
        return Err(error.context(format!("{odd:#?}\n{}", devices[0].log())));
    }
    all_recorded(&server, count).await?;
    println!(
        "counted: {count} tunnels handed over, 0 dropped: longest pause {}, devices and API away for {}, {} in all",
        field(&handed_over, "pause").unwrap_or_default(),
        field(&handed_over, "absent").unwrap_or_default(),
        field(&handed_over, "took").unwrap_or_default(),
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_server_revokes_what_it_took_over_and_grants_anew() -> Result<()> {
    let mut server = Upgradable::set().await?;
    let (device, target) = (server.stage.device("web-7").await?, Target::start().await?);
    let (mut kept, mut revoked) =
        (open(&server, &device, &target).await?, open(&server, &device, &target).await?);
    server.upgrade().await?;
    server.stage.online(&device).await?;
    for stream in [&mut kept, &mut revoked] {
        echoes(&mut stream.1, b"after the upgrade").await?;
    }
    let tunnels: Vec<Value> = server.stage.client.get("/api/v1/tunnels").await?;
    ensure!(tunnels.len() == 2, "both are shown: {tunnels:#?}");
    let begun = Instant::now();
    let path = format!("/api/v1/tunnels/{}/revoke", revoked.0);
    server.stage.client.post::<_, Value>(&path, &json!({})).await?;
    ensure!(ends(&mut revoked.1).await && begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    echoes(&mut kept.1, b"the other one goes on").await?;
    let mut fresh = open(&server, &device, &target).await?;
    echoes(&mut fresh.1, b"and a new one comes about").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn five_upgrades_in_a_row_leave_a_tunnel_as_it_was() -> Result<()> {
    let mut server = Upgradable::set().await?;
    let (device, target) = (server.stage.device("web-7").await?, Target::start().await?);
    let mut load = Load::new(5);
    for _ in 0..5 {
        let connection = load.connect(&server, &device, target.port).await?;
        load.start(connection, 0);
    }
    for round in 0..5 {
        server.upgrade().await.with_context(|| format!("round {round}"))?;
    }
    load.finish().await?;
    server.stage.online(&device).await?;
    all_recorded(&server, 5).await?;
    let holds = held(server.process())?;
    ensure!(holds < 100, "nothing piles up: {holds} descriptors");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_program_that_cannot_take_over_changes_nothing() -> Result<()> {
    let server = Upgradable::set().await?;
    let (device, target) = (server.stage.device("web-7").await?, Target::start().await?);
    let mut stream = open(&server, &device, &target).await?.1;
    let built = program("klserver")?;
    let config = server.stage.path("broken.toml");
    std::fs::write(&config, "https_port = 'none'")?;
    let other = server.stage.path("elsewhere");
    for (script, reason) in [
        ("exit 3".to_owned(), "exit status: 3"),
        (format!("exec {built:?} run --config {config:?}"), "the configuration is wrong"),
        (format!("exec {built:?} run --state {other:?}"), "holds no fabric"),
        ("kill -9 $$".to_owned(), "signal: 9"),
    ] {
        let before = server.said("does not take over").len();
        server.install_script(&script)?;
        server.ask()?;
        let told = server.says("does not take over", before).await?;
        ensure!(told.contains("ERROR") && told.contains(reason), "{script}: {told}");
        ensure!(lives(server.process()) && server.stage.is_online("web-7").await, "{script}");
        echoes(&mut stream, script.as_bytes()).await?;
    }
    ensure!(server.said("device offline").is_empty(), "no device has noticed");
    let mut fresh = open(&server, &device, &target).await?;
    echoes(&mut fresh.1, b"and a new one comes about").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_program_that_hangs_is_given_up() -> Result<()> {
    let server = Upgradable::set().await?;
    let (device, target) = (server.stage.device("web-7").await?, Target::start().await?);
    let mut stream = open(&server, &device, &target).await?.1;
    let note = server.stage.path("hanging");
    server.install_script(&format!("echo $$ > {note:?}; exec tail -f /dev/null"))?;
    server.ask()?;
    let told = server.says("does not take over", 0).await?;
    ensure!(told.contains("did not get ready within"), "{told}");
    let hanging = std::fs::read_to_string(note)?.trim().parse()?;
    ensure!(!lives(hanging), "it is not left behind");
    echoes(&mut stream, b"as before").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_program_killed_at_any_moment_leaves_the_old_one_serving() -> Result<()> {
    if !need_programs(&["strace"]) {
        return Ok(());
    }
    let server = Upgradable::set().await?;
    let (device, target) = (server.stage.device("web-7").await?, Target::start().await?);
    // What the new program says, one after the other: Prepared, Serving, Taken of each tunnel, Done.
    for (said, survive) in [(1, 2), (2, 2), (3, 1), (4, 0), (5, 0)] {
        let mut streams =
            [open(&server, &device, &target).await?.1, open(&server, &device, &target).await?.1];
        let (kept, back) = (server.said("did not take over").len(), server.said("does not take over").len());
        server.install_script(&traced(&format!("sendmsg:signal=KILL:when={said}"))?)?;
        server.ask()?;
        let told = match said {
            1 => server.says("does not take over", back).await?,
            _ => server.says("did not take over", kept).await?,
        };
        ensure!(told.contains("signal: 9"), "{said}: {told}");
        server.stage.online(&device).await?;
        ensure!(lives(server.process()), "{said}");
        let mut survived = 0;
        for stream in &mut streams {
            survived += usize::from(echoes(stream, b"still there?").await.is_ok());
        }
        ensure!(survived == survive, "killed as it said number {said}: {survived} survived");
        let mut fresh = open(&server, &device, &target).await?;
        echoes(&mut fresh.1, b"and a new one comes about").await?;
    }
    let relay = eventually(PATIENCE, async || {
        let closed = server.stage.audit("tunnel.closed").await.unwrap_or_default();
        let relay = closed.iter().filter(|entry| entry["actor"] == "relay");
        // Those that were with the program when it was killed, and those that this test has dropped.
        relay.count() == 15
    });
    relay.await.context("each connection has the relay's record")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_that_the_new_program_has_no_room_for_may_end_by_themselves_for_a_while() -> Result<()> {
    let mut server = Upgradable::set_with(|stage, _| stage.configure("drain_timeout", "3s")).await?;
    let (device, target) = (server.stage.device("web-7").await?, Target::start().await?);
    let room = descriptors(server.process())? + 12;
    let mut streams = Vec::new();
    for _ in 0..12 {
        streams.push(open(&server, &device, &target).await?.1);
    }
    let built = program("klserver")?;
    server.install_script(&format!("ulimit -n {room}; exec {built:?} \"$@\""))?;
    server.ask()?;
    server.says("serving", 1).await?;
    for stream in &mut streams {
        echoes(stream, b"in the one process or in the other").await?;
    }
    let told = server.says("tunnel connections were cut", 0).await?;
    server.follow()?;
    let number =
        |name| field(&told, name).and_then(|number| number.parse::<usize>().ok()).context(told.clone());
    let (carried, cut) = (number("tunnels")?, number("cut")?);
    ensure!(told.contains("WARN") && carried > 0 && cut > 0 && carried + cut == 12, "{told}");
    let mut survived = 0;
    for stream in &mut streams {
        survived += usize::from(echoes(stream, b"still there?").await.is_ok());
    }
    ensure!(survived == carried, "{survived} survived: {told}");
    let closed = eventually(PATIENCE, async || {
        let closed = server.stage.audit("tunnel.closed").await.unwrap_or_default();
        let relay = closed.iter().filter(|entry| entry["actor"] == "relay");
        relay.filter(|entry| entry["detail"]["reason"] == "shutdown").count() == cut
    });
    closed.await.map(drop).context("the audit log says why they ended")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_is_told_which_process_is_its_own_now_and_when_it_is_ready() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("notify");
    let supervisor = tokio::net::UnixDatagram::bind(&path)?;
    let mut server = Upgradable::set_with(|_, run| {
        run.env("NOTIFY_SOCKET", &path);
        Ok(())
    })
    .await?;
    ensure!(told(&supervisor).await? == "READY=1\nSTATUS=serving");
    server.install_script("exit 3")?;
    server.ask()?;
    let reloading = told(&supervisor).await?;
    ensure!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    let kept = told(&supervisor).await?;
    ensure!(kept.starts_with("READY=1\nSTATUS=still the old program: "), "{kept}");
    server.install()?;
    server.upgrade().await?;
    ensure!(told(&supervisor).await?.starts_with("RELOADING=1\n"));
    ensure!(told(&supervisor).await? == format!("MAINPID={}", server.process()), "before it speaks itself");
    ensure!(told(&supervisor).await? == "READY=1\nSTATUS=serving");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_program_killed_in_the_middle_leaves_the_new_one_serving() -> Result<()> {
    if !need_programs(&["strace"]) {
        return Ok(());
    }
    let mut server = Upgradable::set().await?;
    let (device, target) = (server.stage.device("web-7").await?, Target::start().await?);
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(open(&server, &device, &target).await?.1);
    }
    // It stops as it says that it has the first of three; by then the second may be on its way.
    server.install_script(&traced("sendmsg:signal=STOP:when=3")?)?;
    let old = server.process();
    server.ask()?;
    server.says("serving", 1).await?;
    server.follow()?;
    eventually(PATIENCE, async || is_stopped(server.process())).await?;
    signal_to(old, "KILL")?;
    server.signal("CONT")?;
    server.says("the server before this one is gone", 0).await?;
    server.stage.online(&device).await?;
    echoes(&mut streams[0], b"it was given already").await.with_context(|| server.stage.server_log())?;
    ensure!(ends(&mut streams[2]).await, "it went with the old process");
    let mut fresh = open(&server, &device, &target).await?;
    echoes(&mut fresh.1, b"and a new one comes about").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_added_is_served_after_an_upgrade_and_one_that_is_dropped_is_closed() -> Result<()> {
    let mut server = Upgradable::set().await?;
    let device = server.stage.device("web-7").await?;
    let (old, [new]) = (server.stage.ports.tunnels, free_ports());
    server.stage.configure("tunnel_ports", &new.to_string())?;
    server.upgrade().await?;
    ensure!(tokio::net::TcpStream::connect(("127.0.0.1", new)).await.is_ok(), "the new port is open");
    ensure!(tokio::net::TcpStream::connect(("127.0.0.1", old)).await.is_err(), "the old one is not");
    server.stage.online(&device).await
}

/// What a server says next to its supervisor.
async fn told(supervisor: &tokio::net::UnixDatagram) -> Result<String> {
    let mut words = vec![0; 4096];
    let length = timeout(PATIENCE, supervisor.recv(&mut words)).await.context("it says nothing")??;
    Ok(String::from_utf8_lossy(&words[..length]).trim().to_owned())
}

type Stream = Box<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>;

/// A tunnel and its grant.
async fn open(server: &Upgradable, device: &Device, target: &Target) -> Result<(String, Stream)> {
    let blob = server.stage.grant(device, target.port).await?;
    let Redeemed::Ready(mut stream) = redeem(&blob, &server.stage.profile.identity.key, 0).await else {
        anyhow::bail!("no tunnel")
    };
    echoes(&mut stream, b"open").await?;
    Ok((blob.grant.id.to_string(), stream))
}

/// Whether it is closed, without a byte.
async fn ends(stream: &mut Stream) -> bool {
    let read = timeout(PATIENCE, stream.read(&mut [0; 1])).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

/// Waits until relay and agents have recorded so many connections, all of which ended in order.
async fn all_recorded(server: &Upgradable, count: usize) -> Result<()> {
    let recorded = eventually(PATIENCE, async || {
        let closed = server.stage.audit("tunnel.closed").await.unwrap_or_default();
        closed.len() == 2 * count && closed.iter().all(|entry| entry["detail"]["confirmed"] == "yes")
    });
    if let Err(error) = recorded.await {
        let closed = server.stage.audit("tunnel.closed").await?;
        let lone = closed.iter().find(|entry| entry["detail"]["confirmed"] != "yes");
        return Err(error.context(format!("{} of {} records, such as {lone:#?}", closed.len(), 2 * count)));
    }
    let closed = server.stage.audit("tunnel.closed").await?;
    let odd = closed.iter().find(|entry| entry["detail"]["reason"] != "finished");
    ensure!(odd.is_none(), "{odd:#?}");
    Ok(())
}

/// The built program, under a tracer that does this to it.
fn traced(inject: &str) -> Result<String> {
    let built = program("klserver")?;
    Ok(format!("exec strace -D -f -qq -o /dev/null -e trace=sendmsg -e inject={inject} -- {built:?} \"$@\""))
}

/// Whether every thread of a process has stopped. A tracer stops them one by one, a signal all.
fn is_stopped(process: u32) -> bool {
    let stopped = |task: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['T', 't']))
    };
    std::fs::read_dir(format!("/proc/{process}/task")).is_ok_and(|tasks| tasks.flatten().all(stopped))
}
