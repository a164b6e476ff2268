//! A dead peer is noticed at both ends, and a living one is not taken for dead, however long the heartbeat is.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use klnet_tests::fleet::service::Echo;
use klnet_tests::fleet::{Device, Fleet, Operator, PATIENCE, Wanted};
use klnet_tests::lab::{Host, Lab, wait_until};
use serde_json::Value;

#[test]
fn vanished_device_is_noticed_at_both_ends_within_30_seconds() -> Result<()> {
    let Some(Quiet { fleet, device, .. }) = quiet("vanish")? else { return Ok(()) };
    device.nat().router().partition(fleet.server().host())?;
    let vanished = Instant::now();
    let left = wait_until(PATIENCE + SLACK, || {
        Ok((device.status()?["connection"]["state"] != "connected").then(|| vanished.elapsed()))
    })?;
    let left = left.context("the agent stays connected to nothing")?;
    fleet.wait_online(&device, false, PATIENCE + SLACK)?;
    let offline = vanished.elapsed();
    println!("vanished: the agent noticed after {left:.1?}, the server shows it after {offline:.1?}");
    ensure!(left.max(offline) <= Duration::from_secs(30) + SLACK, "{left:?}, {offline:?}");
    let why = shown(&fleet)?["ended"].clone();
    ensure!(why.as_str().is_some_and(|why| why.contains("timed out")), "the operator reads why: {why}");
    Ok(())
}

/// The kernel of a frozen agent answers every probe: only the session itself can tell.
#[test]
fn frozen_device_is_offline_ten_seconds_after_somebody_wanted_it() -> Result<()> {
    let Some(Quiet { fleet, mut device, anna }) = quiet("frozen")? else { return Ok(()) };
    device.agent()?.freeze()?;
    let frozen = Instant::now();
    // Only the second is sure to come after the silence that is needed for a question.
    for _ in 0..2 {
        anna.grant(device.name(), 22, Wanted::default())?.refused(3, "the device did not answer in time")?;
    }
    fleet.wait_online(&device, false, PATIENCE)?;
    println!("frozen: offline {:.1?} later, with two grants asked for", frozen.elapsed());
    anna.grant(device.name(), 22, Wanted::default())?.refused(3, "nothing heard for 10s")?;
    device.agent()?.thaw()?;
    fleet.wait_online(&device, true, PATIENCE)
}

#[test]
fn device_whose_address_is_replaced_is_back_within_seconds_and_its_tunnels_go_on() -> Result<()> {
    let Some(Quiet { fleet, device, anna }) = quiet("moved")? else { return Ok(()) };
    let echo = Echo::start(device.host())?;
    let old = device.host().address();
    let new = Ipv4Addr::from(old.to_bits() | 0x80);
    let gateway = device.host().ip("route show default")?;
    let gateway = gateway.split_whitespace().nth(2).context("a gateway")?.to_owned();
    // What is dialled from now on comes from the new address; the control connection is older.
    device.host().inside(|| fs::write("/proc/sys/net/ipv4/conf/all/promote_secondaries", "1"))??;
    device.host().ip(&format!("addr add {new}/24 dev eth0"))?;
    device.host().ip(&format!("route replace default via {gateway} src {new}"))?;
    let tunnel = anna.tunnel(&format!("web-7:{}", echo.port()))?;
    let mut stream = tunnel.connect()?;
    echoes(&mut stream)?;
    let epoch = epoch(&device)?;

    device.host().ip(&format!("addr del {old}/24 dev eth0"))?;
    let moved = Instant::now();
    let back = wait_until(PATIENCE, || {
        let now = self::epoch(&device)?;
        Ok((!now.is_null() && now != epoch).then(|| moved.elapsed()))
    })?;
    let back = back.context("the agent stays where it was")?;
    fleet.wait_online(&device, true, PATIENCE)?;
    println!("address replaced: a new session after {back:.1?}");
    ensure!(back <= Duration::from_secs(5), "{back:?}");
    echoes(&mut stream)?;
    exchange(&anna, &echo)
}

#[test]
fn router_that_forgets_idle_connections_does_not_forget_this_one() -> Result<()> {
    let Some(Quiet { fleet, device, anna }) = quiet("forgetful")? else { return Ok(()) };
    let echo = Echo::start(device.host())?;
    device.nat().router().inside(|| fs::write(CONNTRACK_ESTABLISHED, "20"))??;
    let (mut forgotten, mut far) = plain_connection(device.host(), fleet.server().host())?;
    let epoch = epoch(&device)?;
    let idle = || Ok((idle_for(device.host())? >= Duration::from_secs(45)).then_some(()));
    wait_until(Duration::from_secs(90), idle)?.context("the control connection is never idle")?;

    // The control: the router does forget.
    far.write_all(b"x")?;
    forgotten.set_read_timeout(Some(Duration::from_secs(2)))?;
    ensure!(forgotten.read(&mut [0]).is_err(), "the router remembers a connection without keepalive");
    exchange(&anna, &echo)?;
    ensure!(self::epoch(&device)? == epoch, "it is still the same session");
    Ok(())
}

/// A server whose agents are heard every fifteen minutes, a device `web-7` and an operator `anna`.
struct Quiet {
    fleet: Fleet,
    device: Device,
    anna: Operator,
}

fn quiet(name: &str) -> Result<Option<Quiet>> {
    let Some(lab) = Lab::or_skip(name) else { return Ok(None) };
    let fleet = Fleet::configured(&lab, "heartbeat_min = \"15m\"")?;
    let (device, anna) = (fleet.device("web-7")?, fleet.operator("anna", &["tunnel"])?);
    Ok(Some(Quiet { fleet, device, anna }))
}

fn shown(fleet: &Fleet) -> Result<Value> {
    fleet.admin().ask(&["device", "show", "web-7"])
}

fn epoch(device: &Device) -> Result<Value> {
    Ok(device.status()?["connection"]["epoch"].clone())
}

/// Sends a little through a new tunnel and has it back.
fn exchange(operator: &Operator, echo: &Echo) -> Result<()> {
    echoes(&mut operator.tunnel(&format!("web-7:{}", echo.port()))?.connect()?)
}

fn echoes(stream: &mut TcpStream) -> Result<()> {
    let mut back = [0; 4];
    stream.write_all(b"echo")?;
    stream.read_exact(&mut back)?;
    ensure!(back == *b"echo", "{back:?}");
    Ok(())
}

/// A connection from one host to another that nobody keeps alive.
fn plain_connection(from: &Host, to: &Host) -> Result<(TcpStream, TcpStream)> {
    let listener = to.inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    let address = (IpAddr::from(to.address()), listener.local_addr()?.port());
    Ok((from.inside(|| TcpStream::connect(address))??, listener.accept()?.0))
}

/// For how long the agent has sent nothing on its control connection; the kernel's probes are not counted.
fn idle_for(host: &Host) -> Result<Duration> {
    let listing = host.run("ss", &["-Htni", "state", "established", "dport = :23100"])?;
    let last = listing.split_whitespace().find_map(|word| word.strip_prefix("lastsnd:")?.parse().ok());
    last.map(Duration::from_millis).with_context(|| format!("no control connection: {listing}"))
}

/// For how many seconds a router remembers an idle connection.
const CONNTRACK_ESTABLISHED: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established";
/// What starting a command, asking and reading its answer may take beside what is measured.
const SLACK: Duration = Duration::from_secs(1);
