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

const PARTS: [Part<Bench>; 7] = [
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
