//! Targets that no tunnel may reach, in every spelling, and by names that change what they mean: no packet leaves the
//! device for any of them.

mod stage;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use klnet_tests::fleet::service::Echo;
use klnet_tests::fleet::{Device, Fleet, PATIENCE};
use klnet_tests::lab::{Host, Lab};
use klnet_tests::program;
use klnet_tunnel::blob::Blob;
use klnet_tunnel::net::request::{GrantReply, GrantRequest};
use klnet_wire::identity::profile::Profile;
use klnet_wire::net::https::{ApiError, Client};
use serde_json::{Value, json};
use stage::{Names, Redeemed, Resolver, echoes, redeem};

#[test]
fn no_packet_leaves_for_a_forbidden_target_however_it_is_spelled() -> Result<()> {
    let Some(world) = World::new("targets")? else { return Ok(()) };
    let forbidden = world.forbidden();
    let mut targets: Vec<String> = forbidden.iter().flat_map(|address| spellings(*address)).collect();
    targets.extend(OTHERS.map(str::to_owned));
    targets.extend((0..forbidden.len()).flat_map(|n| [format!("v4-{n}.test"), format!("v6-{n}.test")]));
    targets.sort();
    targets.dedup();
    ensure!(targets.len() >= 400, "only {} spellings", targets.len());
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    let (reached, told) = world.operate(async |operator| {
        operator.attempt("lan.test", world.echo.port()).await.context("the control: a name")?;
        operator.attempt(&world.lan.address().to_string(), world.echo.port()).await.context("the control")?;
        let reached = world.echo.accepted();
        let mut told = 0;
        for target in &targets {
            let refused = operator.attempt(target, world.echo.port()).await;
            let Err(refused) = refused else { anyhow::bail!("{target} was reached") };
            let refused = refused.to_string();
            told += usize::from(!refused.is_empty());
            *outcomes.entry(refused).or_default() += 1;
        }
        Ok((reached, told))
    })?;
    assert_eq!(reached, 2, "the two controls reached the allowed host");
    assert_eq!(world.echo.accepted(), reached, "nothing reached it through another spelling");
    assert_eq!(world.packets("forbidden")?, 0, "packets to forbidden targets");
    let allowed = world.packets("allowed")?;
    ensure!(allowed > 0, "the control: the counters do count");
    for (why, count) in &outcomes {
        println!("  {count:>4} {why}");
    }
    println!(
        "counted: {} spellings of forbidden targets, {told} refused with a reason; packets to them 0, to the allowed \
         host {allowed} (2 controls)",
        targets.len()
    );
    Ok(())
}

#[test]
fn a_name_that_changes_its_address_leads_nowhere_forbidden() -> Result<()> {
    let Some(world) = World::new("rebinding")? else { return Ok(()) };
    let (mut reached, mut refused) = (0, 0);
    world.operate(async |operator| {
        for n in 0..50 {
            for kind in ["flip", "flop", "mixed"] {
                match operator.attempt(&format!("{kind}-{}.test", n % 5), world.echo.port()).await {
                    Ok(()) => reached += 1,
                    Err(_) => refused += 1,
                }
            }
        }
        Ok(())
    })?;
    assert_eq!(world.packets("forbidden")?, 0, "packets to forbidden targets");
    ensure!(reached > 0 && refused > 0, "the names do change: {reached} reached, {refused} refused");
    assert_eq!(world.echo.accepted(), reached);
    println!(
        "counted: DNS rebinding: 150 tunnels to names that change, {reached} to the allowed host, {refused} refused, 0 packets to forbidden targets"
    );
    Ok(())
}

/// A device with a resolver and a neighbour it may reach, and counters on what it sends.
struct World {
    fleet: Fleet,
    device: Device,
    lan: Host,
    echo: Echo,
    _names: Names,
    _resolver: Resolver,
}

/// An operator's requests, from the operator's own machine.
struct Asking {
    client: Client,
    profile: Profile,
}

impl World {
    fn new(name: &str) -> Result<Option<Self>> {
        let Some(lab) = Lab::or_skip(name) else { return Ok(None) };
        let fleet = Fleet::new(&lab)?;
        let mut device = fleet.bare_device("web-7")?;
        let lan = device.neighbour("lan")?;
        let echo = Echo::at(&lan, (lan.address(), 0).into())?;
        let (own, server) = (device.host().address(), fleet.server().host().address());
        let forbidden = forbidden(own, server);
        let allowed = lan.address();
        let names =
            Names::serve(&lan, Box::new(move |name, times| resolve(name, times, allowed, &forbidden)))?;
        let resolver = Resolver::of(device.host(), lan.address())?;
        device.enroll(&fleet.admin().token(&[])?)?.ok()?;
        // `ip netns exec` gives the agent the host's own resolver; it becomes the agent, so a kill reaches that.
        let mut agent = Command::new("ip");
        agent.args(["netns", "exec", device.host().name()]).arg(program("klnagent")?);
        agent.args(["run", "--state"]).arg(device.state());
        device.start_as(&mut agent)?;
        fleet.wait_online(&device, true, PATIENCE)?;
        let world = Self { fleet, device, lan, echo, _names: names, _resolver: resolver };
        world.watch(server)?;
        Ok(Some(world))
    }

    /// Counts what leaves the device, its loopback included, apart from the server's ports and the resolver's.
    fn watch(&self, server: Ipv4Addr) -> Result<()> {
        let (lan, port) = (self.lan.address(), self.echo.port());
        let nft = |line: &str| self.device.host().run("nft", &line.split(' ').collect::<Vec<_>>());
        nft("add table inet watch")?;
        nft("add counter inet watch forbidden")?;
        nft("add counter inet watch allowed")?;
        nft("add chain inet watch out { type filter hook output priority 0 ; }")?;
        nft(&format!("add rule inet watch out ip daddr {server} tcp dport {{ 443, 23100 }} accept"))?;
        nft(&format!("add rule inet watch out ip daddr {lan} udp dport 53 accept"))?;
        nft("add rule inet watch out meta l4proto ipv6-icmp accept")?;
        nft(&format!("add rule inet watch out ip daddr {lan} tcp dport {port} counter name allowed accept"))?;
        nft("add rule inet watch out counter name forbidden")?;
        Ok(())
    }

    fn packets(&self, counter: &str) -> Result<u64> {
        let listing = self.device.host().run("nft", &["list", "counter", "inet", "watch", counter])?;
        let mut words = listing.split_whitespace().skip_while(|word| *word != "packets").skip(1);
        words.next().and_then(|count| count.parse().ok()).with_context(|| format!("no count in {listing}"))
    }

    fn forbidden(&self) -> Vec<Ipv4Addr> {
        forbidden(self.device.host().address(), self.fleet.server().host().address())
    }

    /// Runs `work` on the administrator's machine.
    fn operate<T: Send>(&self, work: impl AsyncFnOnce(&Asking) -> Result<T> + Send) -> Result<T> {
        let profile = Profile::load(self.fleet.admin().profile())?;
        let asking = Asking { client: Client::new(&profile)?, profile };
        self.fleet.admin().host().inside(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(work(&asking))
        })?
    }
}

impl Asking {
    /// A tunnel to `host` beside the device; fails with the words of whoever refuses.
    async fn attempt(&self, host: &str, port: u16) -> Result<()> {
        let host = Some(host.to_owned());
        let request = GrantRequest { device: "web-7".into(), port, host, r#for: None, cnf: None };
        let reply: GrantReply = match self.client.post("/api/v1/grants", &request).await {
            Ok(reply) => reply,
            Err(ApiError::Refused { message, .. }) => anyhow::bail!("server: {message}"),
            Err(error) => panic!("the server does not answer: {error}"),
        };
        let blob: Blob = reply.blob.parse()?;
        let redeemed = redeem(&blob, &self.profile.identity.key, 0).await;
        let outcome = match redeemed {
            Redeemed::Ready(mut stream) => echoes(&mut stream, b"hello").await.map(drop),
            Redeemed::Refused(reason) => Err(anyhow::anyhow!("agent: {reason}")),
            Redeemed::Closed => panic!("{request:?}: closed without a reason"),
        };
        // Room for the next: a device has 64 live grants. It may have ended by itself.
        let path = format!("/api/v1/tunnels/{}/revoke", reply.grant);
        let _ = self.client.post::<_, Value>(&path, &json!({})).await;
        outcome
    }
}

fn forbidden(device: Ipv4Addr, server: Ipv4Addr) -> Vec<Ipv4Addr> {
    let fixed = FORBIDDEN.iter().map(|octets| Ipv4Addr::from(*octets));
    fixed.chain([device, server]).collect()
}

/// What the resolver says: `lan`, `v4-N`, `v6-N`, and names that change from question to question.
fn resolve(name: &str, times: usize, allowed: Ipv4Addr, forbidden: &[Ipv4Addr]) -> Vec<IpAddr> {
    let name = name.trim_end_matches(".test");
    let (kind, n) = name.split_once('-').unwrap_or((name, "0"));
    let n = n.parse().unwrap_or(0) % forbidden.len();
    let (bad, good) = (forbidden[n], IpAddr::from(allowed));
    let turn = |bad_first: bool| if times.is_multiple_of(2) == bad_first { bad.into() } else { good };
    match kind {
        "lan" => vec![good],
        "v4" => vec![bad.into()],
        "v6" => vec![bad.to_ipv6_mapped().into(), Ipv6Addr::LOCALHOST.into()],
        "flip" => vec![turn(false)],
        "flop" => vec![turn(true)],
        "mixed" => vec![turn(true), turn(false)],
        _ => Vec::new(),
    }
}

/// One address as inet_aton(3), getaddrinfo(3), URLs and transition mechanisms write it.
fn spellings(address: Ipv4Addr) -> Vec<String> {
    let ([a, b, c, d], number) = (address.octets(), address.to_bits());
    let (high, low) = (number >> 16, number & 0xffff);
    let tail = number & 0xff_ffff;
    vec![
        address.to_string(),
        number.to_string(),
        format!("{number:#x}"),
        format!("{number:#X}"),
        format!("0{number:o}"),
        format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("{a:03}.{b:03}.{c:03}.{d:03}"),
        format!("{a}.{tail}"),
        format!("{a}.{b}.{low}"),
        format!("{a:#x}.{tail}"),
        format!("{address}."),
        format!(" {address}"),
        format!("{address}%lo"),
        format!("%{a:02x}.{b}.{c}.{d}"),
        format!("{address}:80"),
        format!("{address}/32"),
        format!("x@{address}"),
        format!("[{address}]"),
        format!("::ffff:{address}"),
        format!("::FFFF:{high:x}:{low:x}"),
        format!("0:0:0:0:0:ffff:{high:x}:{low:x}"),
        format!("[::ffff:{address}]"),
        format!("::{high:x}:{low:x}"),
        format!("::{address}"),
        format!("::ffff:0:{address}"),
        format!("64:ff9b::{address}"),
        format!("64:ff9b:1::{address}"),
        format!("2002:{high:x}:{low:x}::1"),
        format!("fe80::5efe:{address}"),
        format!("2a00::5efe:{high:x}:{low:x}"),
        format!("::ffff:{address}%eth0"),
    ]
}

const FORBIDDEN: [[u8; 4]; 18] = [
    [127, 0, 0, 1],
    [127, 1, 2, 3],
    [127, 255, 255, 254],
    [0, 0, 0, 0],
    [0, 1, 2, 3],
    [169, 254, 169, 254],
    [169, 254, 1, 1],
    [168, 63, 129, 16],
    [100, 100, 100, 200],
    [192, 0, 0, 192],
    [224, 0, 0, 1],
    [239, 255, 255, 250],
    [255, 255, 255, 255],
    [192, 0, 2, 1],
    [198, 51, 100, 7],
    [203, 0, 113, 9],
    [240, 0, 0, 1],
    [192, 0, 0, 8],
];

/// Names of this host, and IPv6 addresses of their own.
const OTHERS: [&str; 34] = [
    "localhost",
    "LOCALHOST",
    "localhost.",
    "localhost.localdomain",
    "ip6-localhost",
    "ip6-loopback",
    "web-7",
    "::",
    "::0",
    "0::",
    "::1",
    "0:0:0:0:0:0:0:1",
    "0000:0000:0000:0000:0000:0000:0000:0001",
    "[::1]",
    "::1%lo",
    "::1%1",
    "::1%25lo",
    "fe80::1",
    "fe80::1%eth0",
    "fe80::1%25eth0",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "ff02::1%eth0",
    "ff05::2",
    "fd00:ec2::254",
    "FD00:0EC2::0254",
    "fd20:ce::254",
    "2001:db8::1",
    "2001::1",
    "2001:0:7f00:1::",
    "3fff::1",
    "100::1",
    "::ffff:127.0.0.1%lo",
];
