//! The lab itself: a fault that is not what it says would make every test above it worthless.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use klnet_tests::lab::{Host, Lab, Process, cpu_time};
use klnet_tests::sim::Link;
use klnet_tests::{Unavailable, skip};

#[test]
fn hosts_on_a_switch_reach_each_other() -> Result<()> {
    let Some(lab) = Lab::or_skip("switch") else { return Ok(()) };
    let lan = lab.switch("lan")?;
    let (a, b) = (lan.host("a")?, lan.host("b")?);
    assert_eq!(greet(&a, &b, b.address().into())?, *b"hello");
    Ok(())
}

#[test]
fn linked_hosts_reach_each_other() -> Result<()> {
    let Some(lab) = Lab::or_skip("link") else { return Ok(()) };
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    let (_, address) = lab.link(&a, &b)?;
    assert_eq!(greet(&a, &b, address.into())?, *b"hello");
    Ok(())
}

#[test]
fn nat_lets_the_inside_out_and_nobody_in() -> Result<()> {
    let Some(lab) = Lab::or_skip("nat") else { return Ok(()) };
    let internet = lab.switch("internet")?;
    let server = internet.host("server")?;
    let home = lab.nat("home", &internet)?;
    let device = home.host("device")?;

    let listener = listen(&server)?;
    let port = listener.local_addr()?.port();
    let _out = dial(&device, (server.address(), port).into())?;
    let (_, seen) = listener.accept()?;
    assert_eq!(seen.ip(), home.router().address(), "the outside sees the router, not the device");

    let inside = listen(&device)?.local_addr()?.port();
    // Even someone who knows the inside network and routes to it on purpose.
    server.default_route(home.router().address())?;
    assert!(dial(&server, (device.address(), inside).into()).is_err());
    assert!(dial(&server, (home.router().address(), inside).into()).is_err());
    Ok(())
}

#[test]
fn rebooted_router_drops_what_comes_until_the_inside_speaks() -> Result<()> {
    let Some(lab) = Lab::or_skip("reboot") else { return Ok(()) };
    let internet = lab.switch("internet")?;
    let server = internet.host("server")?;
    let home = lab.nat("home", &internet)?;
    let device = home.host("device")?;

    let listener = listen(&server)?;
    let mut inside = dial(&device, listener.local_addr()?)?;
    let (mut outside, _) = listener.accept()?;
    home.reboot()?;
    outside.write_all(b"unasked")?;
    inside.set_read_timeout(Some(BRIEFLY))?;
    let silence = inside.read(&mut [0; 16]).expect_err("nothing may come in");
    assert_eq!(silence.kind(), std::io::ErrorKind::WouldBlock);

    inside.write_all(b"hello")?;
    inside.set_read_timeout(Some(PATIENCE))?;
    assert_eq!(inside.read(&mut [0; 16])?, 7, "the retransmission finds the way open");
    Ok(())
}

#[test]
fn hosts_have_no_way_out_of_the_lab() -> Result<()> {
    let Some(lab) = Lab::or_skip("closed") else { return Ok(()) };
    let host = lab.switch("lan")?.host("host")?;
    // RFC 5737 documentation address: it belongs to nobody, and without a route no packet is made at all.
    let refused = dial(&host, "192.0.2.1:9".parse()?).expect_err("there must be no route");
    assert_eq!(refused.kind(), std::io::ErrorKind::NetworkUnreachable);
    Ok(())
}

#[test]
fn loss_is_what_was_asked_and_the_counters_prove_it() -> Result<()> {
    const SENT: u64 = 20_000;
    let Some(lab) = Lab::or_skip("loss") else { return Ok(()) };
    let lan = lab.switch("lan")?;
    let (a, b) = (lan.host("a")?, lan.host("b")?);
    let loss = b.loss(100)?;
    let received = flood(&a, &b, SENT)?;
    assert!(loss.seen()? >= SENT);
    // 20,000 draws at 10 %: the standard deviation is 42, so 250 is six of them.
    assert!(loss.lost()?.abs_diff(SENT / 10) < 250, "lost {}", loss.lost()?);
    assert!(received <= SENT - loss.lost()? + 5, "received {received}, lost {}", loss.lost()?);
    drop(loss);
    assert_eq!(flood(&a, &b, 100)?, 100, "nothing is lost once the loss is dropped");
    Ok(())
}

#[test]
fn partition_cuts_two_hosts_until_both_heal() -> Result<()> {
    let Some(lab) = Lab::or_skip("partition") else { return Ok(()) };
    let lan = lab.switch("lan")?;
    let (a, b, c) = (lan.host("a")?, lan.host("b")?, lan.host("c")?);
    a.partition(&b)?;
    assert!(greet(&a, &b, b.address().into()).is_err());
    assert!(greet(&a, &c, c.address().into()).is_ok(), "only the two are cut");
    a.heal()?;
    assert!(greet(&a, &b, b.address().into()).is_err(), "the other side is still deaf");
    b.heal()?;
    assert!(greet(&a, &b, b.address().into()).is_ok());
    Ok(())
}

#[test]
fn deaf_host_is_still_heard() -> Result<()> {
    let Some(lab) = Lab::or_skip("deaf") else { return Ok(()) };
    let lan = lab.switch("lan")?;
    let (a, b) = (lan.host("a")?, lan.host("b")?);
    // Neighbours know each other before, as on any network that has been in use.
    greet(&a, &b, b.address().into())?;
    a.deafen(&b)?;
    assert_eq!(flood(&a, &b, 10)?, 10);
    assert_eq!(flood(&b, &a, 10)?, 0);
    Ok(())
}

#[test]
fn killed_flow_ends_at_once() -> Result<()> {
    let Some(lab) = Lab::or_skip("flow") else { return Ok(()) };
    let lan = lab.switch("lan")?;
    let (a, b) = (lan.host("a")?, lan.host("b")?);
    let listener = listen(&b)?;
    let mut flow = dial(&a, listener.local_addr()?)?;
    let (_accepted, _) = listener.accept()?;
    a.kill_flows(&format!("dport = :{}", listener.local_addr()?.port()))?;
    let error = flow.read(&mut [0]).expect_err("the flow was killed");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
    Ok(())
}

#[test]
fn line_delays_both_ways_and_loses_nothing_it_was_not_told_to() -> Result<()> {
    let Some(lab) = Lab::or_skip("line") else { return Ok(()) };
    if !Path::new("/dev/net/tun").exists() {
        skip(&Unavailable::Forbidden("the kernel has no /dev/net/tun".to_owned()));
        return Ok(());
    }
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    let link = Link { latency: Duration::from_millis(30), ..Link::default() };
    let line = lab.line(&a, &b, link, 1)?;
    let to = line.addresses().1;
    greet(&a, &b, to.into())?; // the neighbours get to know each other
    let listener = b.inside(|| TcpListener::bind((to, 0)))??;
    let begun = Instant::now();
    let mut client = dial(&a, listener.local_addr()?)?;
    assert!(
        begun.elapsed() >= Duration::from_millis(60),
        "a handshake takes a round trip: {:?}",
        begun.elapsed()
    );
    let (mut accepted, _) = listener.accept()?;
    let sent = vec![7; 300_000];
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| client.write_all(&sent).and_then(|()| client.shutdown(Shutdown::Write)));
        let mut received = Vec::new();
        accepted.read_to_end(&mut received)?;
        assert!(received == sent);
        Ok(writer.join().expect("the writer does not panic")?)
    })
}

#[test]
fn limited_rate_makes_a_transfer_take_its_time() -> Result<()> {
    let Some(lab) = Lab::or_skip("rate") else { return Ok(()) };
    let lan = lab.switch("lan")?;
    let (a, b) = (lan.host("a")?, lan.host("b")?);
    a.limit_rate(8_000_000)?;
    let listener = listen(&b)?;
    let mut client = dial(&a, listener.local_addr()?)?;
    let (mut accepted, _) = listener.accept()?;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || client.write_all(&[7; 564_000]));
        accepted.read_to_end(&mut Vec::new())?;
        // 64 KB pass at once, the other 500 KB at 1 MB a second.
        assert!(begun.elapsed() > Duration::from_millis(450), "{:?}", begun.elapsed());
        Ok(writer.join().expect("the writer does not panic")?)
    })
}

#[test]
fn process_runs_on_its_host_and_a_kill_reaches_it() -> Result<()> {
    let Some(lab) = Lab::or_skip("process") else { return Ok(()) };
    let host = lab.switch("lan")?.host("host")?;
    let mut process = Process::spawn(
        "script",
        host.command("sh").args(["-c", "ip -br addr; echo ready; exec sleep 1000"]),
    )?;
    process.wait_for_line("ready", PATIENCE)?;
    assert!(process.output()?.contains(&host.address().to_string()));
    assert!(cpu_time(process.id())? < PATIENCE);
    let id = process.id();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&process.kill()?), Some(9));
    assert!(!Path::new(&format!("/proc/{id}")).exists());
    Ok(())
}

#[test]
fn listener_is_waited_for_on_its_own_host() -> Result<()> {
    let Some(lab) = Lab::or_skip("listener") else { return Ok(()) };
    let lan = lab.switch("lan")?;
    let (a, b) = (lan.host("a")?, lan.host("b")?);
    let listener = listen(&a)?;
    let port = listener.local_addr()?.port();
    a.wait_for_listener(port, PATIENCE)?;
    assert!(b.wait_for_listener(port, BRIEFLY).is_err(), "another host has ports of its own");
    Ok(())
}

#[test]
fn frozen_process_hears_nothing_until_it_is_thawed() -> Result<()> {
    let script = "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.02; done";
    let mut process = Process::spawn("polite", std::process::Command::new("sh").args(["-c", script]))?;
    process.wait_for_line("up", PATIENCE)?;
    process.freeze()?;
    assert!(process.terminate(BRIEFLY).is_err(), "a frozen process cannot answer");
    process.thaw()?;
    assert!(process.wait(PATIENCE)?.success());
    assert!(process.output()?.ends_with("asked\n"));
    Ok(())
}

#[test]
fn line_that_never_comes_is_an_error_with_the_output() -> Result<()> {
    let mut process =
        Process::spawn("short", std::process::Command::new("sh").args(["-c", "echo something else"]))?;
    let error = process.wait_for_line("ready", PATIENCE).expect_err("it prints another line");
    assert!(format!("{error:#}").contains("something else"), "{error:#}");
    Ok(())
}

#[test]
#[should_panic(expected = "logged an error")]
fn error_in_a_log_fails_the_test() {
    let command = &mut std::process::Command::new("echo");
    let mut process = Process::spawn("noisy", command.arg("12:00 ERROR disk on fire")).expect("echo starts");
    process.wait(PATIENCE).expect("echo ends");
}

#[test]
fn dropped_lab_leaves_nothing_behind() -> Result<()> {
    let Some(lab) = Lab::or_skip("gone") else { return Ok(()) };
    let host = lab.switch("lan")?.host("host")?;
    let file = Path::new("/run/netns").join(host.name());
    let mut orphan = host.command("sleep").arg("1000").spawn()?;
    assert!(file.exists());
    drop((lab, host));
    assert!(!file.exists());
    assert!(!orphan.wait()?.success(), "what ran inside was killed");
    Ok(())
}

fn listen(host: &Host) -> Result<TcpListener> {
    Ok(host.inside(|| TcpListener::bind((host.address(), 0)))??)
}

fn dial(host: &Host, to: SocketAddr) -> std::io::Result<TcpStream> {
    host.inside(|| TcpStream::connect_timeout(&to, DIAL)).map_err(std::io::Error::other)?
}

/// Opens a connection from `a` to `b` and carries five bytes over it.
fn greet(a: &Host, b: &Host, address: IpAddr) -> Result<[u8; 5]> {
    let listener = b.inside(|| TcpListener::bind((address, 0)))??;
    let mut client = dial(a, listener.local_addr()?)?;
    let (mut accepted, _) = listener.accept()?;
    client.write_all(b"hello")?;
    let mut heard = [0; 5];
    accepted.read_exact(&mut heard)?;
    Ok(heard)
}

/// Sends `count` datagrams from `a` to `b` and counts those that arrive.
fn flood(a: &Host, b: &Host, count: u64) -> Result<u64> {
    let receiver = b.inside(|| UdpSocket::bind((b.address(), 0)))??;
    receiver.set_read_timeout(Some(BRIEFLY))?;
    let to = receiver.local_addr()?;
    let sender = a.inside(|| UdpSocket::bind((a.address(), 0)))??;
    std::thread::scope(|scope| {
        let received = scope.spawn(|| (0..count).take_while(|_| receiver.recv(&mut [0; 16]).is_ok()).count());
        for _ in 0..count {
            sender.send_to(b"datagram", to)?;
        }
        Ok(u64::try_from(received.join().expect("the receiver does not panic"))?)
    })
}

/// Long enough for a busy machine, short enough to wait for in vain.
const DIAL: Duration = Duration::from_secs(2);
/// For what must not happen: every answer on a veth comes within a millisecond.
const BRIEFLY: Duration = Duration::from_millis(400);
/// For what must happen, on a machine busy with other things.
const PATIENCE: Duration = Duration::from_secs(10);
