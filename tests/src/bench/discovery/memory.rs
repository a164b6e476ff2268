//! Memory of a sweep of a /8, a second after it began: what is kept for each address is there from the start.

use std::time::Duration;

use anyhow::{Context, Result};

use super::field::Field;
use super::peers::{KLPOLL, Tool, ZMAP};
use crate::bench::{Better, Options, Report, Sample, Subject, compare};
use crate::lab::{Process, cpu_time};

pub(super) fn of_a_slash_8(options: &Options) -> Result<Report> {
    let mut field = Field::make(false, 24)?;
    RANGE.clone_into(&mut field.range);
    field.crowd.ip(&format!("route add blackhole {RANGE}"))?;
    let subject =
        Subject { what: "memory of a sweep of a /8 (aim <= 16)", unit: "MiB", better: Better::Lower };
    let ours = (KLPOLL.name, || sweeping(&field, &KLPOLL, &["--yes", "--profile", "lan"]));
    let row = compare(options, subject, ours, (ZMAP.name, || sweeping(&field, &ZMAP, &[])))?;
    Ok(Report { rows: vec![row], notes: Vec::new() })
}

/// The most that a tool had resident while it swept.
fn sweeping(field: &Field, tool: &Tool, more: &[&str]) -> Result<Sample> {
    field.forget()?;
    let mut command = field.placed((tool.command)(field)?.args(more));
    let process = Process::spawn(tool.name, &mut command)?;
    std::thread::sleep(Duration::from_secs(1));
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("it is over already")?;
    let kib: u32 = most.trim().trim_end_matches(" kB").parse()?;
    Ok(Sample { figures: [f64::from(kib) / 1024.0], cpu: cpu_time(process.id())? })
}

/// Nobody is there; the default route leads to it.
const RANGE: &str = "172.0.0.0/8";
