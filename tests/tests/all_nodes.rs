//! `klpoll zeroconf` on a link of hosts that speak IPv6 and announce nothing: they answer when all are asked at once.

mod field;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use field::Polled;
use klnet_tests::lab::{Host, Lab, Switch};
use klnet_tests::{need_programs, program};
use serde_json::Value;
use tempfile::TempDir;

#[test]
fn every_host_of_the_link_answers_by_ipv6_and_is_one_host() -> Result<()> {
    let Some(site) = Site::or_skip("all-nodes")? else { return Ok(()) };
    // Somebody behind a host of the link, who hears nothing of it.
    let beyond = site.lab.host("beyond")?;
    site.lab.link(&site.hosts[0], &beyond)?;
    beyond.ip("addr add fd00:99::9/64 dev eth0 nodad")?;
    let polled = Polled::of(site.poll(&program("klpoll")?).arg("--json"))?;
    ensure!(polled.code == Some(0), "{}", polled.err);
    let found: Vec<Value> = polled.out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    // The switch answers too, once it has an address.
    let of_prefix = found.iter().filter(|found| found["addresses"].to_string().contains("fd00:88::"));
    ensure!(of_prefix.count() == HOSTS && found.len() <= HOSTS + 1, "{}", polled.out);
    for (host, number) in site.hosts.iter().zip(1..) {
        let global = format!("fd00:88::{number}");
        let is_it = |found: &&Value| {
            found["addresses"].as_array().is_some_and(|all| all.contains(&global.clone().into()))
        };
        let found = found.iter().find(is_it).with_context(|| format!("{global} is not in {}", polled.out))?;
        let card = host.ip("link show dev eth0")?;
        let mac = found["macs"][0].as_str().context("a card")?;
        ensure!(card.contains(mac), "{found} is not {card}");
        let addresses = found["addresses"].to_string();
        ensure!(addresses.contains("fe80::") && found["sources"][0] == "all-nodes", "{found}");
    }
    Ok(())
}

#[test]
fn a_user_who_may_only_ping_finds_them_without_their_cards() -> Result<()> {
    if !need_programs(&["setpriv"]) {
        return Ok(());
    }
    let Some(site) = Site::or_skip("all-pinged")? else { return Ok(()) };
    site.poller.run("sysctl", &["-qw", "net.ipv4.ping_group_range=0 2147483647"])?;
    let folder = TempDir::new()?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    let klpoll = folder.path().join("klpoll");
    std::fs::copy(program("klpoll")?, &klpoll)?;
    let mut command = site.poller.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    let plain = site.poll(&klpoll);
    let polled = Polled::of(command.arg(plain.get_program()).args(plain.get_args()).arg("--csv"))?;
    let found = polled.addresses()?;
    let wanted: BTreeSet<_> =
        (1..=HOSTS).map(|n| format!("fd00:88::{n}").parse()).collect::<Result<_, _>>()?;
    ensure!(found.is_superset(&wanted), "{found:?}");
    Ok(())
}

#[test]
fn everybody_is_asked_a_few_times_and_no_more() -> Result<()> {
    let Some(site) = Site::or_skip("few-questions")? else { return Ok(()) };
    let rules = "add table ip6 seen; add chain ip6 seen in { type filter hook input priority 0; }; \
                 add rule ip6 seen in icmpv6 type echo-request counter";
    site.hosts[0].run("nft", &[rules])?;
    let polled = Polled::of(site.poll(&program("klpoll")?).arg("--csv"))?;
    ensure!(polled.code == Some(0), "{}", polled.err);
    let counted = site.hosts[0].run("nft", &["list", "table", "ip6", "seen"])?;
    let count =
        counted.split("packets ").nth(1).and_then(|rest| rest.split(' ').next()).context("a counter")?;
    let count: u32 = count.parse()?;
    // From two prefixes, twice and thrice at most.
    ensure!((4..=6).contains(&count), "{count} questions");
    Ok(())
}

/// A switch with a poller and some hosts, each with an address of its own by IPv6.
struct Site {
    lab: Lab,
    _switch: Switch,
    poller: Host,
    hosts: Vec<Host>,
}

impl Site {
    fn or_skip(name: &str) -> Result<Option<Self>> {
        let Some(lab) = Lab::or_skip(name) else { return Ok(None) };
        let switch = lab.switch("link")?;
        let poller = switch.host("poller")?;
        poller.ip("addr add fd00:88::ff/64 dev eth0 nodad")?;
        poller.ip("addr add fe80::ff/64 dev eth0 nodad")?;
        let host = |number: usize| {
            let host = switch.host(&format!("host-{number}"))?;
            host.ip(&format!("addr add fd00:88::{number}/64 dev eth0 nodad"))?;
            host.ip(&format!("addr add fe80::{number}/64 dev eth0 nodad"))?;
            Ok(host)
        };
        let hosts = (1..=HOSTS).map(host).collect::<Result<_>>()?;
        Ok(Some(Self { lab, _switch: switch, poller, hosts }))
    }

    fn poll(&self, klpoll: &Path) -> std::process::Command {
        let mut command = self.poller.command(klpoll);
        command.args(["zeroconf", "--from", &self.poller.address().to_string(), "--wait", "2"]);
        command
    }
}

const HOSTS: usize = 5;
