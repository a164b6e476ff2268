//! The best setting of each peer: all are tried once, the fastest is measured.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Bench;
use super::cast::cast;
use super::caster::Caster;
use super::flute::Flute;
use super::norm::Norm;
use super::site::Site;
use super::udpcast::Udpcast;
use super::uftp::Uftp;
use crate::lab::Cables;

/// The peers with their best settings at this site, and a note of what was tried.
pub(super) fn peers(bench: &Bench, site: &Site, cables: &Cables) -> Result<(Vec<Box<dyn Caster>>, String)> {
    let mut best = Vec::new();
    let mut tried = Vec::new();
    for settings in candidates() {
        let (caster, times) = fastest(bench, site, cables, settings)?;
        tried.push(format!("{} {} ({times})", caster.name(), caster.setting()));
        best.push(caster);
    }
    Ok((best, tried.join("; ")))
}

/// Where `tests/bench` puts a peer that is no package.
pub(super) fn peer(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/bin").join(name)
}

/// The fastest of some settings of one product, and the seconds of each.
fn fastest(
    bench: &Bench,
    site: &Site,
    cables: &Cables,
    settings: Vec<Box<dyn Caster>>,
) -> Result<(Box<dyn Caster>, String)> {
    if bench.effort.sweep == 0 {
        return Ok((settings.into_iter().next().context("a setting")?, "not tried".to_owned()));
    }
    let file = site.file("sweep", bench.effort.sweep)?;
    let (mut best, mut failure, mut words) = (None, None, Vec::new());
    for caster in settings {
        match cast(site, cables, &*caster, &file) {
            Ok(cast) => {
                words.push(format!("{:.1} s", cast.time.as_secs_f64()));
                if best.as_ref().is_none_or(|(time, _)| cast.time < *time) {
                    best = Some((cast.time, caster));
                }
            }
            // It did not bring the file to all: that is what there is to say.
            Err(error) => {
                failure = Some(error);
                words.push("failed".to_owned());
            }
        }
    }
    std::fs::remove_file(file)?;
    match (best, failure) {
        (Some((_, caster)), _) => Ok((caster, words.join(", "))),
        (None, Some(error)) => Err(error.context("no setting works")),
        (None, None) => bail!("there is no setting"),
    }
}

fn candidates() -> [Vec<Box<dyn Caster>>; 4] {
    let uftp = [-1, 300_000, 600_000].map(|rate| Box::new(Uftp(rate)) as Box<dyn Caster>);
    let udpcast: [&[&str]; 2] = [&["--full-duplex"], &["--full-duplex", "--fec", "8x8/128"]];
    let norm = [(300, (64, 16)), (600, (64, 16)), (600, (200, 50))];
    let norm = norm.map(|(rate, code)| Box::new(Norm { rate, code }) as Box<dyn Caster>);
    // Losses of 5 % take 7.5 % of parity for blocks of a thousand symbols.
    let flute = [(600, (1024, 96)), (300, (1024, 96)), (1000, (1024, 96))];
    let flute = flute.map(|(rate, code)| Box::new(Flute { rate, code }) as Box<dyn Caster>);
    [
        uftp.into(),
        udpcast.map(|options| Box::new(Udpcast(options)) as Box<dyn Caster>).into(),
        norm.into(),
        flute.into(),
    ]
}
