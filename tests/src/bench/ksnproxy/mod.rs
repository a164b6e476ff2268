//! The reputation proxy beside caches, resolvers and databases that people know.
//!
//! ```text
//! client ──veth── server    core 1: one generator for everybody; core 0: whoever answers, with one thread
//! ```
//! K numbers are those of the aims that the rows are measured against.

mod amplification;
mod batch;
mod capacity;
mod cloud;
mod codec;
mod dns;
mod effort;
mod fabric;
mod generator;
mod herd;
mod hits;
mod https;
mod import;
mod keys;
mod lookup;
mod memcached;
mod nginx;
mod origin;
mod ours;
mod outage;
mod pipeline;
mod redis;
mod rig;
mod streams;
mod swap;

use anyhow::{Result, ensure};

use super::{Options, Report};
use effort::Effort;

/// What every measurement needs to know.
struct Bench {
    options: Options,
    effort: Effort,
}

/// A part of the benchmark: its name for `--only`, and how it is measured.
type Part = (&'static str, fn(&Bench) -> Result<Report>);

pub(super) fn run(options: &Options) -> Result<Report> {
    let bench = Bench { options: options.clone(), effort: Effort::of(options) };
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let parts: Vec<_> = PARTS.iter().filter(|(name, _)| wanted(name)).collect();
    ensure!(!parts.is_empty(), "the parts are: {}", PARTS.map(|(name, _)| name).join(", "));
    let mut report = Report::default();
    for (name, measure) in parts {
        eprintln!("{name} ...");
        let part = measure(&bench)?;
        report.rows.extend(part.rows);
        report.notes.extend(part.notes);
    }
    Ok(report)
}

const PARTS: [Part; 15] = [
    ("memcached", hits::memcached),
    ("dns", hits::resolvers),
    ("alone", hits::alone),
    ("tcp", streams::hits),
    ("https", https::hits),
    ("misses", herd::misses),
    ("outage", outage::hits),
    ("renewal", swap::renewals),
    ("cache", capacity::hits),
    ("memory", capacity::memory),
    ("clamav", import::clamav),
    ("malwarebazaar", import::malwarebazaar),
    ("nsrl", import::nsrl),
    ("lookup", lookup::records),
    ("amplification", amplification::ratio),
];
