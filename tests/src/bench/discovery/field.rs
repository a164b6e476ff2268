//! The network that is polled, and one run of one tool against it.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::peers::Tool;
use crate::bench::Samples;
use crate::lab::{Host, Lab};
use crate::system;

/// Who polls, who answers, and for what.
pub(super) struct Field {
    pub(super) poller: Host,
    pub(super) crowd: Host,
    pub(super) range: String,
    truth: BTreeSet<IpAddr>,
}

impl Field {
    /// A prefix of `bits`, behind the crowd or on its wire; 48 addresses of each /24 answer.
    pub(super) fn make(on_link: bool, bits: u8) -> Result<Self> {
        let lab = Lab::new("bench")?;
        let (poller, crowd) = (lab.host("poller")?, lab.host("crowd")?);
        let (_, router) = lab.link(&poller, &crowd)?;
        let range = format!("10.88.0.0/{bits}");
        let blocks: u32 = 1 << (24 - bits.min(24));
        if on_link {
            // An address of ours that is in no answering part.
            poller.ip(&format!("addr add 10.88.0.1/{bits} dev eth0"))?;
            crowd.ip(&format!("route add {range} dev eth0"))?;
        } else {
            // zmap knows no way but the default one.
            poller.default_route(router)?;
            crowd.ip(&format!("route add blackhole {range}"))?;
        }
        let base = Ipv4Addr::new(10, 88, 0, 0).to_bits();
        let firsts = (0..blocks).flat_map(|block| [64, 112, 160].map(|last| base + (block << 8) + last));
        let firsts: Vec<u32> = firsts.collect();
        let lines =
            firsts.iter().map(|first| format!("route add local {}/28 dev lo\n", Ipv4Addr::from_bits(*first)));
        let mut child = crowd.command("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
        child.stdin.take().context("stdin was piped")?.write_all(lines.collect::<String>().as_bytes())?;
        ensure!(child.wait()?.success(), "ip refuses a route");
        let truth =
            firsts.iter().flat_map(|first| (0..16).map(move |n| Ipv4Addr::from_bits(first + n).into()));
        Ok(Self { poller, crowd, range, truth: truth.collect() })
    }

    /// Runs a tool to its end: seconds, and per cent of the hosts that it found.
    pub(super) fn sample(&self, tool: &Tool, more: &[&str]) -> Result<Samples<2>> {
        for host in [&self.poller, &self.crowd] {
            host.ip("neigh flush all")?;
        }
        let mut command = self.poller.place((tool.command)(self)?);
        command.args(more).stdin(Stdio::null()).stderr(Stdio::null());
        let (cpu, begun) = (system::children_cpu_time()?, Instant::now());
        let output = command.output().with_context(|| format!("cannot start {}", tool.name))?;
        let took = begun.elapsed().as_secs_f64();
        let cpu = system::children_cpu_time()?.saturating_sub(cpu);
        let text = String::from_utf8_lossy(&output.stdout);
        let words = text.split(|c: char| !c.is_ascii_hexdigit() && c != '.' && c != ':');
        let named: BTreeSet<IpAddr> = words.filter_map(|word| word.parse().ok()).collect();
        let found = named.intersection(&self.truth).count();
        // Counts of addresses are below 2^52.
        #[allow(clippy::cast_precision_loss)]
        let recall = 100.0 * found as f64 / self.truth.len() as f64;
        Ok(Samples { figures: [took, recall], cpu })
    }
}
