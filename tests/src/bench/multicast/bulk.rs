//! A large file to four receivers, and the symbols it takes to eight.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::cast::{Cast, cast};
use super::caster::Caster;
use super::klcast::Klcast;
use super::site::Site;
use super::{Bench, LOSS, sweep};
use crate::bench::{Better, Report, Samples, Subject, compare_each};
use crate::lab::Cables;

/// Time, symbols, processor and memory of a large file to four.
pub(super) fn four(bench: &Bench, permille: u16) -> Result<Report> {
    let site = Site::new(4)?;
    let cables = site.cables(permille)?;
    let (peers, tried) = sweep::peers(bench, &site, &cables)?;
    let file = site.file("image", bench.effort.bulk)?;
    let (mib, loss) = (bench.effort.bulk >> 20, f64::from(permille) / 10.0);
    let (faster, bound) = if permille == 0 { ("0.25", "1.002") } else { ("0.4", "1.065") };
    let whats = [
        format!("{mib} MiB to 4 receivers, {loss} % loss: time (aim <= {faster} of udpcast's)"),
        format!("the same: symbols on the wire for each of the file (aim <= {bound})"),
        "the same: CPU of the sender (aim <= 1.0 of uftp's)".to_owned(),
        "the same: CPU of a receiver (aim <= 1.0 of uftp's)".to_owned(),
        "the same: memory of a receiver (aim <= 64)".to_owned(),
    ];
    let units = ["s", "ratio", "s/GB", "s/GB", "MiB"];
    let mut report = Report::default();
    for peer in peers {
        let ours = Klcast::new(&site)?;
        let subject =
            |index: usize| Subject { what: &whats[index], unit: units[index], better: Better::Lower };
        let mut gave_up = false;
        let rows = compare_each(
            &bench.options,
            [subject(0), subject(1), subject(2), subject(3), subject(4)],
            (ours.name(), || sample(&site, &cables, &ours, &file)),
            (peer.name(), || sample(&site, &cables, &*peer, &file).inspect_err(|_| gave_up = true)),
        );
        match rows {
            Ok(rows) => report.rows.extend(rows),
            // That it does not bring the file to all is what there is to say of a peer.
            Err(error) if gave_up => {
                let said = format!("{error:#}");
                report.notes.push(format!("No row: {}.", said.lines().next().unwrap_or_default()));
            }
            Err(error) => return Err(error),
        }
    }
    let (lost, seen) = (cables.lost()?, cables.seen()?);
    report.notes.push(format!(
        "At {loss} % loss each datagram on the cables of 4 receivers was lost on its own ({lost} of {seen} counted). The \
         fastest settings, and the seconds of {} MiB with each that was tried: {tried}.",
        bench.effort.sweep >> 20
    ));
    if permille == 0 {
        report.notes.push(HOW.to_owned());
    }
    Ok(report)
}

/// Symbols to eight at 5 %: what repair costs.
pub(super) fn eight(bench: &Bench) -> Result<Report> {
    let site = Site::new(8)?;
    let cables = site.cables(LOSS)?;
    let file = site.file("image", bench.effort.wire)?;
    let what = format!(
        "{} MiB to 8 receivers, 5 % loss: symbols on the wire for each of the file, of the bound 1/(1-p) (aim <= 1.012)",
        bench.effort.wire >> 20
    );
    let mut report = Report::default();
    let peers: [Box<dyn Caster>; 3] = [
        Box::new(super::uftp::Uftp(-1)),
        Box::new(super::udpcast::Udpcast(&["--full-duplex"])),
        Box::new(super::norm::Norm { rate: 300, code: (64, 16) }),
    ];
    for peer in peers {
        let ours = Klcast::new(&site)?;
        let of_the_bound = |caster: &dyn Caster| -> Result<Samples<1>> {
            let (lost, seen) = (cables.lost()?, cables.seen()?);
            let cast = cast(&site, &cables, caster, &file)?;
            let lost = (cables.lost()? - lost) as f64 / (cables.seen()? - seen) as f64;
            Ok(Samples { figures: [cast.wire * (1.0 - lost)], cpu: cast.cpu() })
        };
        report.rows.extend(compare_each(
            &bench.options,
            [Subject { what: &what, unit: "ratio", better: Better::Lower }],
            (ours.name(), || of_the_bound(&ours)),
            (peer.name(), || of_the_bound(&*peer)),
        )?);
    }
    Ok(report)
}

fn sample(site: &Site, cables: &Cables, caster: &dyn Caster, file: &Path) -> Result<Samples<5>> {
    let gigabytes = std::fs::metadata(file)?.len() as f64 / 1e9;
    let cast = cast(site, cables, caster, file)?;
    let of_a_gigabyte = |cpu: Duration| cpu.as_secs_f64() / gigabytes;
    let figures = [
        cast.time.as_secs_f64(),
        cast.wire,
        of_a_gigabyte(cast.sender.cpu),
        of_a_gigabyte(cast.receiver.cpu),
        cast.receiver.memory as f64 / f64::from(1 << 20),
    ];
    Ok(Samples { figures, cpu: cast.cpu() })
}

impl Cast {
    /// Of the sender and a receiver.
    fn cpu(&self) -> Duration {
        self.sender.cpu + self.receiver.cpu
    }
}

const HOW: &str = "\
Every host is a network namespace at a bridge with IGMP snooping and a querier; datagrams cross it one by one and are \
joined again behind the cable (GRO). Time is from the start of the sender until it knows that all have the file; with \
FLUTE, which has no way to know, until all have it. Symbols are datagrams of more than 700 bytes that came into the switch. \
All files are on a tmpfs and are compared at the end. klcast encrypts and verifies; uftp, udpcast and NORM do neither, FLUTE \
checks an MD5.";
