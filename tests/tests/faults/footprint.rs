//! What the programs hold, to be compared with what they held before.

use std::time::Duration;

use anyhow::{Context, Result};
use klnet_tests::fleet::files;
use klnet_tests::lab::wait_until;

use super::Site;

/// Descriptors, pipes and memory of server, agents and tunnels.
#[derive(Clone, Debug)]
pub(crate) struct Footprint {
    programs: Vec<Program>,
}

#[derive(Clone, Debug)]
struct Program {
    name: &'static str,
    pid: u32,
    held: Held,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    descriptors: usize,
    /// Of these are the two ends of pipes.
    pipe_ends: usize,
    kilobytes: usize,
}

impl Footprint {
    /// Looks at every program that runs.
    pub(crate) fn of(site: &mut Site) -> Result<Self> {
        let mut pids = vec![("klserver", site.fleet.server().pid()?)];
        for place in &site.devices {
            pids.push(("klnagent", place.device.pid()?));
        }
        for way in &mut site.tunnels {
            if way.tunnel.process().is_running()? {
                pids.push(("klsctunnel", way.tunnel.process().id()));
            }
        }
        let programs = pids.into_iter().map(|(name, pid)| Ok(Program { name, pid, held: Held::by(pid)? }));
        Ok(Self { programs: programs.collect::<Result<_>>()? })
    }

    /// Waits until each holds no more than it did: descriptors to the last one, pipes of the pools and memory within
    /// their bounds.
    pub(crate) fn settle(&self) -> Result<()> {
        for Program { name, pid, held: before } in &self.programs {
            let settled = || Ok(Held::by(*pid)?.is_within(before).then_some(()));
            let settled = wait_until(SETTLING, settled)?;
            let now = Held::by(*pid)?;
            println!("counted: {name} held {before:?} and holds {now:?}");
            let difference = || format!("{name} {pid} held {before:?} and holds {now:?}: {:#?}", files(*pid));
            settled.with_context(difference)?;
        }
        Ok(())
    }
}

impl Held {
    fn by(pid: u32) -> Result<Self> {
        let files = files(pid)?;
        let pipe_ends = files.iter().filter(|file| file.starts_with("pipe:")).count();
        // The store opens a reader when it is first needed, and keeps it; an agent listens on a link once it has an address.
        let counts = |file: &&String| !file.contains("/state.db") && !file.starts_with("udp");
        let descriptors = files.iter().filter(counts).count() - pipe_ends;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let resident =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("it has memory")?;
        let kilobytes = resident.trim().trim_end_matches(" kB").parse()?;
        Ok(Self { descriptors, pipe_ends, kilobytes })
    }

    fn is_within(&self, before: &Self) -> bool {
        self.descriptors <= before.descriptors
            && self.pipe_ends <= POOLED
            && self.kilobytes <= before.kilobytes + MARGIN
    }
}

/// A pooled HTTPS connection, or a dial-back that nobody came for, is closed after its own time.
const SETTLING: Duration = Duration::from_secs(60);
/// Two sizes of pipes, 32 of each, two ends, on each of two lanes: what a relay keeps for its next bulk.
const POOLED: usize = 2 * 32 * 2 * 2;
/// KiB by which a heap may have grown that was in use meanwhile.
const MARGIN: usize = 16 * 1024;
