//! What a process holds and uses, read from `/proc`.

use std::time::Duration;

use anyhow::{Context, Result};
use klnet_tests::lab::cpu_time;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Stage;

/// How many descriptors a process has open.
pub(crate) fn descriptors(process: u32) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{process}/fd"))?.count())
}

/// How many of them are not the store's, whose readers are opened when first needed and then kept.
pub(crate) fn held(process: u32) -> Result<usize> {
    let open = std::fs::read_dir(format!("/proc/{process}/fd"))?.flatten();
    // One that is closed meanwhile is not held.
    let files = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    Ok(files.filter(|file| !file.to_string_lossy().contains("/state.db")).count())
}

/// Its resident memory now, in KiB.
pub(crate) fn memory(process: u32) -> Result<u64> {
    status(process, "VmRSS:")
}

/// The most resident memory it ever had, in KiB.
pub(crate) fn memory_peak(process: u32) -> Result<u64> {
    status(process, "VmHWM:")
}

/// The server's metric of this name, summed over its labels; 0 before the first.
pub(crate) async fn metric(stage: &Stage, name: &str) -> Result<u64> {
    let mut scrape = TcpStream::connect(("127.0.0.1", stage.ports.metrics)).await?;
    scrape.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await?;
    let mut text = String::new();
    scrape.read_to_string(&mut text).await?;
    let ours = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    let values = ours.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<u64>());
    Ok(values.sum::<Result<u64, _>>()?)
}

/// CPU time it has used.
pub(crate) fn cpu(process: u32) -> Result<Duration> {
    cpu_time(process)
}

/// The smallest of `samples` that `percent` of them do not exceed.
pub(crate) fn percentile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort_unstable();
    samples.get((samples.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
}

fn status(process: u32, key: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).context("a process has memory")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
