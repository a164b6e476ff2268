//! The network that is polled, and one run of a tool against it.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::lab::{Host, Lab};
use crate::system;

/// Who polls, who answers, and for what.
pub(super) struct Field {
    pub(super) poller: Host,
    pub(super) crowd: Host,
    pub(super) range: String,
    /// Of the crowd, on the wire.
    pub(super) router: Ipv4Addr,
    truth: BTreeSet<IpAddr>,
}

impl Field {
    /// A prefix of `bits`, behind the crowd or on its wire; 48 addresses of each /24 answer.
    pub(super) fn make(on_link: bool, bits: u8) -> Result<Self> {
        let lab = Lab::new("bench")?;
        let (poller, crowd) = (lab.host("poller")?, lab.host("crowd")?);
        let (_, router) = lab.link(&poller, &crowd)?;
        // Hosts of one kernel would share its budget of errors; each of theirs has its own.
        crowd.run("sysctl", &["-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv4.icmp_msgs_per_sec=1000000"])?;
        // As systemd sets it.
        poller.run("sysctl", &["-qw", "net.ipv4.ping_group_range=0 2147483647"])?;
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
        Ok(Self { poller, crowd, range, router, truth: truth.collect() })
    }

    /// Empties the tables of neighbours.
    pub(super) fn forget(&self) -> Result<()> {
        for host in [&self.poller, &self.crowd] {
            host.ip("neigh flush all")?;
        }
        Ok(())
    }

    /// Runs a tool of the poller to its end.
    pub(super) fn run(&self, command: &mut Command) -> Result<Run> {
        let mut placed = self.placed(command);
        let (cpu, begun) = (system::children_cpu_time()?, Instant::now());
        let output =
            placed.stdin(Stdio::null()).output().with_context(|| format!("cannot start {placed:?}"))?;
        let took = begun.elapsed();
        let cpu = system::children_cpu_time()?.saturating_sub(cpu);
        let [out, err] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(Run { took, cpu, out, err })
    }

    /// A command of the poller.
    pub(super) fn placed(&self, command: &Command) -> Command {
        let mut placed = self.poller.place(Command::new(command.get_program()));
        placed.args(command.get_args()).envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
        placed
    }

    /// How many hosts there are.
    pub(super) fn hosts(&self) -> usize {
        self.truth.len()
    }

    /// How many of them a text names.
    pub(super) fn found(&self, text: &str) -> usize {
        let words = text.split(|c: char| !c.is_ascii_hexdigit() && c != '.' && c != ':');
        let named: BTreeSet<IpAddr> = words.filter_map(|word| word.parse().ok()).collect();
        named.intersection(&self.truth).count()
    }
}

/// One run of a tool.
pub(super) struct Run {
    pub(super) took: Duration,
    pub(super) cpu: Duration,
    pub(super) out: String,
    err: String,
}

impl Run {
    /// The last thing it complained about.
    pub(super) fn complaint(&self) -> &str {
        self.err.trim().lines().last().unwrap_or("it said nothing")
    }
}
