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

use anyhow::Result;

use super::part::{self, Part};
use super::{Options, Report};
use effort::Effort;

/// What every measurement needs to know.
struct Bench {
    options: Options,
    effort: Effort,
}

pub(super) fn run(options: &Options) -> Result<Report> {
    let bench = Bench { options: options.clone(), effort: Effort::of(options) };
    part::measure(&PARTS, options, &bench)
}

const PARTS: [Part<Bench>; 15] = [
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
