//! What is asked while feeds are renewed: K22.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use data_encoding::HEXLOWER;

use super::Bench;
use super::codec::Sealed;
use super::effort::Effort;
use super::generator::{Flow, Until, drive};
use super::keys::Draw;
use super::lookup::store;
use super::ours::{self, Ours};
use super::rig::Rig;
use crate::bench::{Better, Report, Samples, Subject, compare_each, measure_each};

/// A proxy that answers from a snapshot, and files to take turns as that.
struct Stage {
    rig: Rig,
    ours: Ours,
    served: PathBuf,
    files: Files,
    /// How many of them were put there so far.
    published: AtomicUsize,
    records: u32,
    effort: Effort,
}

pub(super) fn renewals(bench: &Bench) -> Result<Report> {
    let stage = Stage::new(bench)?;
    let what = format!("one query at a time, a snapshot of {} records", stage.records);
    let whats = ["p50 (no aim)", "p99 (aim <= 1.2)"].map(|figure| format!("{what} renewed or not: {figure}"));
    let mut rows = compare_each(
        &bench.options,
        whats.each_ref().map(|what| Subject { what, unit: "us", better: Better::Lower }),
        ("renewed", || stage.renewing().map(|(flow, _)| slow(&flow))),
        ("not renewed", || stage.ask().map(|flow| slow(&flow))),
    )?;
    let whats = [format!("{what} renewed: failed (aim 0)"), format!("{what} renewed: how often")];
    let subjects = [
        Subject { what: &whats[0], unit: "queries", better: Better::Lower },
        Subject { what: &whats[1], unit: "times", better: Better::Higher },
    ];
    rows.extend(measure_each(
        &bench.options,
        subjects,
        ("ksnproxy", || {
            let (flow, renewed) = stage.renewing()?;
            Ok(Samples { figures: [flow.lost as f64, f64::from(renewed)], cpu: flow.cpu })
        }),
    )?);
    Ok(Report { rows, notes: vec![NOTE.to_owned()] })
}

impl Stage {
    fn new(bench: &Bench) -> Result<Self> {
        let (rig, records) = (Rig::new()?, bench.effort.lines);
        let (made, signer, _) = store(rig.folder(), records)?;
        let files = ["first", "second", "third"].map(|name| rig.path(name));
        for file in &files {
            std::fs::copy(made.current(), file)?;
        }
        let served = rig.path("served");
        let settings = format!(
            "snapshot = {served:?}\ntrusted = [\"{}\"]\n",
            HEXLOWER.encode(signer.public().as_bytes())
        );
        // Long enough for several: the proxy looks every two seconds.
        let measured = bench.effort.measured.max(Duration::from_secs(6));
        let effort = Effort { measured, ..bench.effort };
        let published = AtomicUsize::new(0);
        publish(&files, &published, &served)?;
        let ours = Ours::start_with(&rig, &settings)?;
        Ok(Self { rig, ours, served, files, published, records, effort })
    }

    fn ask(&self) -> Result<Flow> {
        let make = |_: &_| Ok(Sealed::under(&self.ours.ticket(&self.rig)?));
        let to = (self.rig.at(ours::UDP), self.ours.process.id());
        let until = Until::Time(self.effort);
        drive::<1>(&self.rig, to, &make, 1, &mut Draw::any(self.records), until)
    }

    /// As [`Self::ask`], while the file is another one again and again; and how often the proxy took it.
    fn renewing(&self) -> Result<(Flow, u32)> {
        let (before, done) = (self.renewed()?, AtomicBool::new(false));
        let flow = std::thread::scope(|scope| {
            let publisher = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    publish(&self.files, &self.published, &self.served)?;
                    std::thread::park_timeout(PERIOD);
                }
                anyhow::Ok(())
            });
            let flow = self.ask();
            done.store(true, Ordering::Relaxed);
            publisher.thread().unpark();
            publisher.join().map_err(|_| anyhow::anyhow!("the publisher panicked"))??;
            flow
        })?;
        let renewed = self.renewed()? - before;
        ensure!(renewed > 0, "the proxy took no other snapshot");
        Ok((flow, renewed))
    }

    fn renewed(&self) -> Result<u32> {
        let lines = self.ours.process.output()?.matches("another snapshot is answered from").count();
        u32::try_from(lines).context("so many lines")
    }
}

/// Puts the next file in the place of the one that is served, as a whole, and copies nothing meanwhile.
fn publish(files: &Files, published: &AtomicUsize, served: &Path) -> Result<()> {
    let (new, turn) = (served.with_extension("new"), published.fetch_add(1, Ordering::Relaxed));
    std::fs::hard_link(&files[turn % files.len()], &new)?;
    Ok(std::fs::rename(new, served)?)
}

fn slow(flow: &Flow) -> Samples<2> {
    Samples { figures: [500.0, 990.0].map(|permille| flow.within(permille)), cpu: flow.cpu }
}

/// Three, since who looks at every second of them would see one of two files always.
type Files = [PathBuf; 3];

/// Between two files.
const PERIOD: Duration = Duration::from_secs(1);

const NOTE: &str = "\
Renewals: the snapshot is another file every second, and the proxy, which looks every two, reads, verifies and takes it on the \
core that answers; a query has failed when nothing came for 200 ms, and an answer that is not right ends the benchmark.";
