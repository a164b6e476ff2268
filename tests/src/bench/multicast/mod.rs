//! `klcast` beside uftp, udpcast, NORM and FLUTE: time, symbols on the wire, processor and memory.
//!
//! ```text
//! sender ─▶ switch (snooping, querier) ─▶ receiver 1 … N, each behind a cable that loses datagrams on its own
//! ```
//! Every product is a [`caster::Caster`], which only says what its commands are; [`cast`] runs them all alike. What a
//! thousand receivers do is told by the simulator, which runs the cores of the product.

mod bulk;
mod cast;
mod caster;
mod crowd;
mod effort;
mod flute;
mod klcast;
mod norm;
mod offload;
mod policy;
mod site;
mod straggler;
mod sweep;
mod theory;
mod udpcast;
mod uftp;

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

const PARTS: [Part; 7] = [
    ("clean", |bench| bulk::four(bench, 0)),
    ("loss", |bench| bulk::four(bench, LOSS)),
    ("wire", bulk::eight),
    ("offload", offload::pair),
    ("policy", policy::four),
    ("straggler", straggler::four),
    ("crowd", crowd::thousand),
];

/// 5 % in thousandths.
const LOSS: u16 = 50;
