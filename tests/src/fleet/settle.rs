//! Whether processes have let go of what they held: no test may leave a descriptor behind.

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

/// Those of them that are no pipes: a relay keeps some of these for its next bulk.
fn held(pid: u32) -> Result<usize> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let open = open.with_context(|| format!("process {pid} is gone"))?.flatten();
    // One that is closed meanwhile is not held.
    let files = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    Ok(files.filter(|file| !file.to_string_lossy().starts_with("pipe:")).count())
}

/// A pooled HTTPS connection is closed after its own time.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);
