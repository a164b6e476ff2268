//! A network to poll: one host that polls, and one that answers for thousands of addresses.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use klnet_tests::lab::{Host, Lab};
use klnet_tests::program;

/// Two hosts on one wire: networks behind the other are routed to it, networks on the wire are its own.
pub(crate) struct Field {
    pub(crate) poller: Host,
    pub(crate) crowd: Host,
    /// Of the crowd, on the wire.
    pub(crate) router: Ipv4Addr,
}

/// What `klpoll` printed, and how it ended.
pub(crate) struct Polled {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: Option<i32>,
    pub(crate) took: Duration,
}

impl Field {
    /// A field where nobody answers yet; `None`, with a word, where there can be no namespaces.
    pub(crate) fn or_skip(name: &str) -> Result<Option<Self>> {
        let Some(lab) = Lab::or_skip(name) else { return Ok(None) };
        let (poller, crowd) = (lab.host("poller")?, lab.host("crowd")?);
        let (_, router) = lab.link(&poller, &crowd)?;
        // Hosts of one kernel would share its budget of errors; each of theirs has its own.
        crowd.run("sysctl", &["-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv4.icmp_msgs_per_sec=1000000"])?;
        Ok(Some(Self { poller, crowd, router }))
    }

    /// A network behind the crowd: the poller routes there, and silence is silence.
    pub(crate) fn routed(&self, network: &str, answering: &[&str]) -> Result<()> {
        self.poller.ip(&format!("route add {network} via {}", self.router))?;
        self.crowd.ip(&format!("route add blackhole {network}"))?;
        self.answer(answering)
    }

    /// A network on the wire itself, in which the poller has an address.
    pub(crate) fn on_link(&self, own: &str, answering: &[&str]) -> Result<()> {
        self.poller.ip(&format!("addr add {own} dev eth0"))?;
        self.crowd.ip(&format!("route add {} dev eth0", network_of(own)?))?;
        self.answer(answering)
    }

    /// Makes the crowd answer for prefixes: ARP, ping and TCP alike.
    fn answer(&self, prefixes: &[&str]) -> Result<()> {
        let lines: String =
            prefixes.iter().map(|prefix| format!("route add local {prefix} dev lo\n")).collect();
        let mut ip = self.crowd.command("ip");
        let mut child = ip.args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
        child.stdin.take().context("stdin was piped")?.write_all(lines.as_bytes())?;
        ensure!(child.wait()?.success(), "ip refuses a route");
        Ok(())
    }

    /// Runs `klpoll` on the poller.
    pub(crate) fn klpoll(&self, arguments: &[&str]) -> Result<Polled> {
        Polled::of(self.poller.command(program("klpoll")?).args(arguments))
    }
}

impl Polled {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Result<Self> {
        let begun = Instant::now();
        let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output()?;
        let [out, err] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(Self { out, err, code: status.code(), took: begun.elapsed() })
    }

    /// The addresses of `--csv`.
    pub(crate) fn addresses(&self) -> Result<BTreeSet<IpAddr>> {
        ensure!(self.code == Some(0), "klpoll ended with {:?}: {}", self.code, self.err);
        let lines = self.out.lines().skip(1).map(|line| line.split(',').next().unwrap_or_default());
        lines.map(|address| address.parse().with_context(|| format!("not an address: {address}"))).collect()
    }
}

/// Every address of prefixes.
pub(crate) fn addresses(prefixes: &[&str]) -> Result<BTreeSet<IpAddr>> {
    let mut all = BTreeSet::new();
    for prefix in prefixes {
        let (first, bits) = prefix.split_once('/').unwrap_or((prefix, "32"));
        let (first, bits): (Ipv4Addr, u32) = (first.parse()?, bits.parse()?);
        let size = 1_u32 << (32 - bits);
        all.extend((0..size).map(|n| IpAddr::from(Ipv4Addr::from_bits(first.to_bits() + n))));
    }
    Ok(all)
}

/// The 48 answering addresses of each /24 of `base.0.0/20`: 19 %.
pub(crate) fn every_fifth(base: &str) -> Vec<String> {
    (0..16).flat_map(|c| [64, 112, 160].map(|d| format!("{base}.{c}.{d}/28"))).collect()
}

pub(crate) fn slices(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

fn network_of(own: &str) -> Result<String> {
    let Some((address, bits)) = own.split_once('/') else { bail!("{own} has no prefix") };
    let (address, length): (Ipv4Addr, u32) = (address.parse()?, bits.parse()?);
    let mask = u32::MAX << (32 - length);
    Ok(format!("{}/{bits}", Ipv4Addr::from_bits(address.to_bits() & mask)))
}
