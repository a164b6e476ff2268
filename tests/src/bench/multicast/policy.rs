//! Small files one after the other: how long the slowest takes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::cast::Listeners;
use super::caster::Caster;
use super::klcast::Klcast;
use super::norm::Norm;
use super::site::Site;
use super::udpcast::Udpcast;
use super::uftp::Uftp;
use super::{Bench, LOSS};
use crate::bench::percentile::percentile;
use crate::bench::{Better, Report, Samples, Subject, compare_each};
use crate::fleet::PATIENCE;
use crate::lab::Process;

/// 4 KiB to four receivers at 5 % loss.
pub(super) fn four(bench: &Bench) -> Result<Report> {
    let site = Site::new(4)?;
    let _cables = site.cables(LOSS)?;
    let subject = |what| Subject { what, unit: "ms", better: Better::Lower };
    let subjects = [
        subject("4 KiB to 4 receivers, 5 % loss: 50 % within"),
        subject("the same: 99 % within (aim <= 50)"),
    ];
    let count = bench.effort.policies;
    // Those that take seconds get few.
    let peers: [(Box<dyn Caster>, usize); 3] = [
        (Box::new(Norm { rate: 600, code: (64, 16) }), count.div_ceil(3)),
        (Box::new(Uftp(-1)), count.div_ceil(30)),
        (Box::new(Udpcast(&["--full-duplex"])), count.div_ceil(30)),
    ];
    let mut report = Report::default();
    for (peer, few) in peers {
        let ours = Klcast::new(&site)?;
        report.rows.extend(compare_each(
            &bench.options,
            subjects,
            (ours.name(), || sample(&site, &ours, count)),
            (peer.name(), || sample(&site, &*peer, few)),
        )?);
    }
    report.notes.push(format!(
        "Small files: {count} of klcast in each round, {} of NORM, {} of uftp and udpcast. From the start of the sender's \
         program until all four have the file; receivers that take more than one file run on.",
        count.div_ceil(3),
        count.div_ceil(30)
    ));
    Ok(report)
}

fn sample(site: &Site, caster: &dyn Caster, count: usize) -> Result<Samples<2>> {
    let mut times = Vec::new();
    let mut listeners = None;
    for number in 0..count {
        let file = site.file(&format!("policy-{number}"), SIZE)?;
        let there = match listeners.take().filter(|_| caster.stays()) {
            Some(there) => there,
            None => Listeners::start(site, caster, &file)?,
        };
        times.push(push(site, caster, &there, &file)?);
        listeners = Some(there);
        std::fs::remove_file(file)?;
    }
    let figures = [50, 99].map(|percent| percentile(&mut times, percent).as_secs_f64() * 1e3);
    Ok(Samples { figures, cpu: Duration::ZERO })
}

/// From the start of the sender until all have the file.
fn push(site: &Site, caster: &dyn Caster, listeners: &Listeners, file: &Path) -> Result<Duration> {
    let begun = Instant::now();
    let command = caster.send(file, site.receivers.len())?;
    let mut sender = Process::spawn(caster.name(), &mut site.sender.place(command))?.tolerating_errors();
    while !listeners.have(file, SIZE as u64) {
        if begun.elapsed() > PATIENCE {
            anyhow::bail!("{}: {}", caster.name(), sender.output()?);
        }
        std::thread::sleep(LOOK);
    }
    let time = begun.elapsed();
    sender.wait(PATIENCE).context("the sender")?;
    Ok(time)
}

/// What a policy has.
const SIZE: usize = 4096;
/// Much shorter than what is measured.
const LOOK: Duration = Duration::from_micros(200);
