//! Agents of one broadcast domain find each other, and nobody else is believed or answered.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use klnet_agent::state::Folder;
use klnet_tests::fleet::{Device, Fleet};
use klnet_tests::lab::{Host, Lab, wait_until};
use klnet_wire::identity::beacon::{BEACON_LIMIT, BEACON_PORT, Beacon, EVERY_MIN, Presence};
use klnet_wire::identity::tls::Identity;
use klnet_wire::signing::SigningKey;
use serde_json::Value;

#[test]
fn agents_of_a_network_find_each_other_and_a_stranger_is_neither_believed_nor_answered() -> Result<()> {
    let Some(lab) = Lab::or_skip("neighbours") else { return Ok(()) };
    let fleet = Fleet::new(&lab)?;
    let first = fleet.device("web-1")?;
    let stranger = Stranger::listening(first.neighbour("stranger")?)?;
    let mut devices = vec![first];
    for name in ["web-2", "web-3"] {
        devices.push(fleet.beside(&devices[0], name)?);
    }
    let elsewhere = fleet.device("db-1")?;
    all_know_each_other(&devices)?;
    shows_where_they_are(&devices)?;
    let heard = stranger.hear_for(Duration::from_secs(3))?;
    stranger.repeats(&heard)?;
    stranger.forges(&devices)?;
    all_know_each_other(&devices)?;
    ensure!(stranger.answers()? == 0, "nobody is answered");
    ensure!(neighbours(&elsewhere)?.is_empty(), "a router passes no beacon on");
    at_most_one_a_second(&stranger, &devices)?;
    who_was_killed_finds_its_neighbours_again(&mut devices)?;
    ensure!(stranger.answers()? == 0, "nobody is answered");
    Ok(())
}

#[test]
fn who_is_to_say_nothing_says_nothing_and_who_was_revoked_is_not_believed() -> Result<()> {
    let Some(lab) = Lab::or_skip("quiet") else { return Ok(()) };
    let fleet = Fleet::new(&lab)?;
    let mut quiet = fleet.device("quiet")?;
    quiet.stop()?;
    quiet.configure("[ports]\nneighbours = 0\n")?;
    let stranger = Stranger::listening(quiet.neighbour("stranger")?)?;
    quiet.start()?;
    let other = fleet.beside(&quiet, "web-1")?;
    let heard = wait_until(ROUND, || {
        let heard = stranger.hear_for(Duration::from_secs(5))?;
        Ok((!heard.is_empty()).then_some(heard))
    })?;
    let heard = heard.context("nobody says anything")?;
    let from: BTreeSet<_> = heard.iter().map(|(_, from)| *from).collect();
    ensure!(from == [other.host().address().into()].into(), "{from:?}");
    ensure!(neighbours(&quiet)?.is_empty());
    // The identity of a revoked device, at the address of its machine.
    fleet.admin().klctl(&["revoke", "device", "quiet"])?.ok()?;
    let identity = Folder::new(quiet.state()).device()?.identity;
    let third = fleet.beside(&quiet, "web-2")?;
    let said = seal(&identity, quiet.host().address(), "quiet")?;
    quiet.host().inside(|| broadcast(quiet.host().address(), std::slice::from_ref(&said)))??;
    let found = wait_until(ROUND, || Ok(neighbours(&third)?.contains("web-1").then_some(())))?;
    ensure!(found.is_some(), "{}", third.status()?);
    ensure!(!neighbours(&third)?.contains("quiet"), "{}", third.status()?);
    Ok(())
}

/// A machine of the network without an identity.
struct Stranger {
    host: Host,
    socket: UdpSocket,
}

impl Stranger {
    fn listening(host: Host) -> Result<Self> {
        let socket = host.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, BEACON_PORT)))??;
        let table = format!(
            "table ip answers {{ chain in {{ type filter hook input priority 0; ip daddr {} \
             meta l4proto {{ udp, icmp }} counter; }}; }}",
            host.address()
        );
        host.run("nft", &[&table])?;
        Ok(Self { host, socket })
    }

    /// What is broadcast within this time and before, and by whom.
    fn hear_for(&self, time: Duration) -> Result<Vec<(Vec<u8>, IpAddr)>> {
        let (mut heard, end) = (Vec::new(), Instant::now() + time);
        let mut buffer = [0; 2 * BEACON_LIMIT];
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.socket.set_read_timeout(Some(left))?;
            if let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
                heard.push((buffer[..len].to_vec(), from.ip()));
            }
        }
        Ok(heard)
    }

    /// Says again what others said, as itself and in their name.
    fn repeats(&self, heard: &[(Vec<u8>, IpAddr)]) -> Result<()> {
        ensure!(!heard.is_empty(), "beacons are broadcast");
        let copies: Vec<_> = heard.iter().map(|(bytes, _)| bytes.clone()).collect();
        self.host.inside(|| broadcast(self.host.address(), &copies))??;
        for (bytes, from) in heard {
            self.host.ip(&format!("addr add {from}/32 dev eth0"))?;
            let IpAddr::V4(address) = from else { continue };
            self.host.inside(|| broadcast(*address, std::slice::from_ref(bytes)))??;
            self.host.ip(&format!("addr del {from}/32 dev eth0"))?;
        }
        Ok(())
    }

    /// Says that it is a device whose certificate it has read on the wire, and what no decoder takes.
    fn forges(&self, devices: &[Device]) -> Result<()> {
        let genuine = Folder::new(devices[0].state()).device()?.identity;
        let forged = Identity { chain: genuine.chain, key: SigningKey::generate_p256() };
        let mut said = vec![seal(&forged, self.host.address(), "forged")?, Vec::new(), vec![0xff; 1232]];
        said.extend((0..200).map(|n| vec![n; usize::from(n)]));
        self.host.inside(|| broadcast(self.host.address(), &said))??;
        Ok(())
    }

    /// How many datagrams and errors came to this machine alone.
    fn answers(&self) -> Result<u64> {
        let listing = self.host.run("nft", &["list", "table", "ip", "answers"])?;
        let count = listing.split("packets ").nth(1).and_then(|rest| rest.split_whitespace().next());
        Ok(count.context("a counter")?.parse()?)
    }
}

/// The stranger hears IPv4 beacons: of each device two packets of a round, one of them by IPv4.
fn at_most_one_a_second(stranger: &Stranger, devices: &[Device]) -> Result<()> {
    let heard = stranger.hear_for(Duration::from_secs(10))?;
    for device in devices {
        let sent = heard.iter().filter(|(_, from)| *from == device.host().address()).count();
        ensure!(sent <= 10, "{sent} beacons of {} in ten seconds", device.name());
    }
    Ok(())
}

fn who_was_killed_finds_its_neighbours_again(devices: &mut [Device]) -> Result<()> {
    let (last, others) = devices.split_last_mut().context("three devices")?;
    last.kill()?;
    last.start()?;
    let names: BTreeSet<_> = others.iter().map(|device| device.name().to_owned()).collect();
    let found = wait_until(ROUND, || Ok((neighbours(last)? == names).then_some(())))?;
    ensure!(found.is_some(), "{}", last.status()?);
    Ok(())
}

fn all_know_each_other(devices: &[Device]) -> Result<()> {
    let names: BTreeSet<_> = devices.iter().map(|device| device.name().to_owned()).collect();
    for device in devices {
        let mut wanted = names.clone();
        wanted.remove(device.name());
        let found = wait_until(ROUND, || Ok((neighbours(device)? == wanted).then_some(())))?;
        ensure!(found.is_some(), "{} knows {}", device.name(), device.status()?["neighbours"]);
    }
    Ok(())
}

/// By IPv4 at the machine's address, and by IPv6 at a link-local one.
fn shows_where_they_are(devices: &[Device]) -> Result<()> {
    let [device, other, _] = devices else { anyhow::bail!("three devices") };
    let own = other.host().address().to_string();
    let found = wait_until(ROUND, || {
        let status = device.status()?;
        let all = status["neighbours"].as_array().cloned().unwrap_or_default();
        let addresses = all.into_iter().find(|one| one["name"] == other.name());
        let addresses = addresses.map(|one| one["addresses"].to_string()).unwrap_or_default();
        Ok((addresses.contains(&own) && addresses.contains("fe80::")).then_some(()))
    })?;
    ensure!(found.is_some(), "{}", device.status()?["neighbours"]);
    let mut status = device.host().command(klnet_tests::program("klnagent")?);
    let shown = status.args(["status", "--state"]).arg(device.state()).output()?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(shown.lines().any(|line| line.starts_with("neighbour ") && line.contains(&own)), "{shown}");
    Ok(())
}

fn neighbours(device: &Device) -> Result<BTreeSet<String>> {
    let status = device.status()?;
    let all = status["neighbours"].as_array().context("klnagent status shows neighbours")?;
    let name = |one: &Value| one["name"].as_str().map(str::to_owned);
    Ok(all.iter().filter_map(name).collect())
}

fn seal(identity: &Identity, address: Ipv4Addr, name: &str) -> Result<Vec<u8>> {
    let sent = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let presence = Presence { sent, address: address.into(), every: EVERY_MIN, name: name.to_owned() };
    Ok(Beacon::seal(identity, &presence)?)
}

fn broadcast(from: Ipv4Addr, datagrams: &[Vec<u8>]) -> Result<()> {
    let socket = UdpSocket::bind((from, 0))?;
    socket.set_broadcast(true)?;
    // The default route of a device leads to its router: the link's own broadcast address does not.
    let [a, b, c, _] = from.octets();
    for datagram in datagrams {
        socket.send_to(datagram, (Ipv4Addr::new(a, b, c, 255), BEACON_PORT))?;
    }
    Ok(())
}

/// A round and a half, with the look at links before it, on a slow machine.
const ROUND: Duration = Duration::from_secs(120);
