//! What one bad receiver costs the others.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Bench;
use super::cast::cast;
use super::klcast::Klcast;
use super::site::Site;
use crate::bench::{Better, Report, Samples, Subject, compare_each};
use crate::lab::Cables;

/// Four receivers at 200 Mbit/s, the last of which loses 30 %, or has a line of 10 Mbit/s.
pub(super) fn four(bench: &Bench) -> Result<Report> {
    let mut report = lossy(bench)?;
    report.rows.extend(slow(bench)?.rows);
    Ok(report)
}

fn lossy(bench: &Bench) -> Result<Report> {
    let site = Site::new(4)?;
    let file = site.file("image", bench.effort.straggler)?;
    let with = |permille| {
        let cables = site.switch.cables(&[(&site.receivers[3], permille)])?;
        others(&site, &cables, &file)
    };
    compare(bench, "the fourth loses 30 %", || with(300), || with(0))
}

fn slow(bench: &Bench) -> Result<Report> {
    let (bad, good) = (Site::new(4)?, Site::new(4)?);
    bad.switch.limit_cable(&bad.receivers[3], 10_000_000)?;
    let with = |site: &Site| {
        let file = site.file("image", bench.effort.straggler)?;
        others(site, &site.cables(0)?, &file)
    };
    compare(bench, "the fourth has a line of 10 Mbit/s", || with(&bad), || with(&good))
}

fn compare(
    bench: &Bench,
    what: &str,
    with: impl FnMut() -> Result<Samples<1>>,
    without: impl FnMut() -> Result<Samples<1>>,
) -> Result<Report> {
    let what = format!(
        "{} MiB to 4 receivers at 200 Mbit/s, {what}: time of the others (aim <= 1.03)",
        bench.effort.straggler >> 20
    );
    let subject = Subject { what: &what, unit: "s", better: Better::Lower };
    let rows = compare_each(&bench.options, [subject], ("klcast", with), ("klcast without it", without))?;
    Ok(Report { rows, notes: Vec::new() })
}

/// Until the slowest of the first three has all, as the sender tells it.
fn others(site: &Site, cables: &Cables, file: &Path) -> Result<Samples<1>> {
    let mut ours = Klcast::new(site)?;
    ours.options = vec!["--rate".to_owned(), "200M".to_owned()];
    let cast = cast(site, cables, &ours, file)?;
    let seconds = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        let is_meant = line["event"] == "receiver" && line["label"] != "4";
        is_meant.then(|| line["seconds"].as_f64()).flatten()
    };
    let slowest = cast.said.lines().filter_map(seconds).reduce(f64::max);
    Ok(Samples { figures: [slowest.context("nobody was told of")?], cpu: Duration::ZERO })
}
