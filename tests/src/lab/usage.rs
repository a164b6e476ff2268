//! What processes cost, read from `/proc`.

use std::time::Duration;

use anyhow::{Context, Result};

/// CPU time, user and system, of a process and all its descendants that live or were waited for.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let ticks = tree(pid)?.into_iter().filter_map(|pid| ticks(pid).ok()).sum::<u64>();
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// The process and its living descendants.
fn tree(root: u32) -> Result<Vec<u32>> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    Ok(found)
}

/// utime + stime + cutime + cstime, fields 14 to 17 of `/proc/PID/stat` (proc(5)).
fn ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in brackets and may hold anything; count from its end.
    let (_, rest) = stat.rsplit_once(')').context("no name in stat")?;
    let fields = rest.split_whitespace().skip(11).take(4).map(str::parse::<u64>);
    Ok(fields.sum::<Result<u64, _>>()?)
}

/// `USER_HZ`, fixed at 100 for user space on every Linux architecture (proc(5)).
const TICKS_PER_SECOND: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_process_has_used_time() -> Result<()> {
        let before = cpu_time(std::process::id())?;
        let mut rng = crate::sim::Rng::new(1);
        while cpu_time(std::process::id())? < before + Duration::from_millis(30) {
            for _ in 0..100_000 {
                std::hint::black_box(rng.bits());
            }
        }
        Ok(())
    }

    #[test]
    fn process_that_is_gone_has_used_none() -> Result<()> {
        let mut child = std::process::Command::new("true").spawn()?;
        child.wait()?;
        assert_eq!(cpu_time(child.id())?, Duration::ZERO);
        Ok(())
    }
}
