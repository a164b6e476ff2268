//! Whether processes have let go of what they held: no test may leave a descriptor behind.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Device, Fleet};
use crate::lab::wait_until;

/// How many descriptors server and agents held at one moment.
#[derive(Clone, Debug)]
pub struct Held {
    processes: Vec<(u32, usize)>,
}

impl Held {
    /// Counts the descriptors of the server and of these devices' agents, all of them running.
    ///
    /// # Errors
    /// When a process is down.
    pub fn by(fleet: &Fleet, devices: &[&Device]) -> Result<Self> {
        let agents = devices.iter().map(|device| device.pid());
        let pids = std::iter::once(fleet.server().pid()).chain(agents);
        let processes = pids.map(|pid| pid.and_then(|pid| Ok((pid, held(pid)?))));
        Ok(Self { processes: processes.collect::<Result<_>>()? })
    }

    /// Revokes every grant, and waits until each process holds no more than it did.
    ///
    /// # Errors
    /// When one still holds more after a while, with the numbers.
    pub fn settle(&self, fleet: &Fleet) -> Result<()> {
        for tunnel in fleet.admin().tunnels()? {
            let grant = tunnel["grant"].as_str().context("a tunnel has a grant")?;
            // It may have ended since the list was made.
            let _ = fleet.admin().klctl(&["revoke", "tunnel", grant])?;
        }
        for (pid, before) in &self.processes {
            let settled = || Ok((held(*pid)? <= *before).then_some(()));
            let settled = wait_until(SETTLE_TIMEOUT, settled)?;
            ensure!(settled.is_some(), "process {pid} held {before} and holds {}", held(*pid)?);
        }
        Ok(())
    }
}

/// Open descriptors of a process, as the kernel counts them.
///
/// # Errors
/// When there is no such process.
pub fn descriptors(pid: u32) -> Result<usize> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"));
    Ok(open.with_context(|| format!("process {pid} is gone"))?.count())
}

/// What they lead to; sockets are called by protocol, addresses and state.
///
/// # Errors
/// When there is no such process.
pub fn files(pid: u32) -> Result<Vec<String>> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let open = open.with_context(|| format!("process {pid} is gone"))?.flatten();
    // One that is closed meanwhile is not held.
    let links = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let sockets = sockets(pid);
    let named = |link: String| sockets.get(&link).cloned().unwrap_or(link);
    Ok(links.map(|link| named(link.to_string_lossy().into_owned())).collect())
}

/// The sockets of a process's network, as its descriptors call them.
fn sockets(pid: u32) -> HashMap<String, String> {
    let mut sockets = HashMap::new();
    for protocol in ["tcp", "tcp6", "udp", "udp6"] {
        let lines = std::fs::read_to_string(format!("/proc/{pid}/net/{protocol}")).unwrap_or_default();
        for fields in lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()) {
            if let [_, local, remote, state, _, _, _, _, _, inode, ..] = fields[..] {
                sockets.insert(format!("socket:[{inode}]"), format!("{protocol} {local} {remote} {state}"));
            }
        }
    }
    sockets
}

/// Those that are no pipes, of which a relay keeps some for its next bulk, and no sockets of UDP: an agent listens on a
/// link once it has an address there.
fn held(pid: u32) -> Result<usize> {
    let counts = |file: &&String| !file.starts_with("pipe:") && !file.starts_with("udp");
    Ok(files(pid)?.iter().filter(counts).count())
}

/// A pooled HTTPS connection is closed after its own time.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);
