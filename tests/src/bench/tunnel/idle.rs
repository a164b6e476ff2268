//! What a tunnel costs a relay that has nothing to do for it.

use anyhow::{Context, Result};

use super::Bench;
use super::product::{Product, open};
use super::site::Site;
use super::{haproxy, relay};
use crate::bench::{Better, Report, Samples, Subject, compare_each};
use crate::fleet::descriptors;

/// Memory and descriptors for each of many idle tunnels. Each sample starts programs of its own: memory that one has
/// had already would not be counted again.
pub(super) fn tunnels(bench: &Bench, site: &Site) -> Result<Report> {
    let count = bench.effort.idle;
    let whats = [
        format!("{count} idle tunnels at the relay, resident memory of each (aim <= 2)"),
        format!("{count} idle tunnels at the relay, descriptors of each (aim 2)"),
    ];
    let subjects = [
        Subject { what: &whats[0], unit: "KiB", better: Better::Lower },
        Subject { what: &whats[1], unit: "descriptors", better: Better::Lower },
    ];
    let rows = compare_each(
        &bench.options,
        subjects,
        ("klserver", || measure(site, &mut relay::Relay::start(site)?, count)),
        ("haproxy", || measure(site, &mut haproxy::start(site)?, count)),
    )?;
    Ok(Report { rows, notes: Vec::new() })
}

fn measure(site: &Site, product: &mut dyn Product, tunnels: usize) -> Result<Samples<2>> {
    product.reserve(WARM_UP + tunnels)?;
    let warm = open(product, &site.operator, WARM_UP)?;
    let process = *product.processes().first().context("a relay has a process")?;
    let (memory, files, cpu) = (memory(process)?, descriptors(process)?, product.cpu()?);
    let idle = open(product, &site.operator, tunnels)?;
    let grown = [self::memory(process)? - memory, descriptors(process)? as f64 - files as f64];
    let cpu = product.cpu()?.saturating_sub(cpu);
    for pair in warm.into_iter().chain(idle) {
        pair.carries().context("a tunnel did not live through the measurement")?;
    }
    Ok(Samples { figures: grown.map(|grown| grown / tunnels as f64), cpu })
}

/// Resident memory in KiB, counted page by page (proc_pid_smaps(5)).
fn memory(process: u32) -> Result<f64> {
    let summary = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = summary.lines().find_map(|line| line.strip_prefix("Rss:")).context("a process has memory")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Connections before the count begins.
const WARM_UP: usize = 8;
