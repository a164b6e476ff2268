//! Polling a network beside the tools people use for it: time until the answer is printed, and how much of it is true.
//!
//! ```text
//! poller ──wire── crowd     answers for every fifth address of what is behind it, and of what is on the wire
//! ```
//! Both sides get the same ranges, and both are judged by what is there: a sample whose recall is below what its row
//! demands fails the benchmark on our side, and is reported on the peer's. A peer that finds nothing fails it too: it
//! was told the wrong thing.

mod directory;
mod field;
mod memory;
mod names;
mod netbios;
mod peers;
mod services;
mod sweep;

use anyhow::{Result, ensure};

use super::part::{self, Part};
use super::report::Better;
use super::{Options, Report, Samples, Subject, compare_each};
use field::Run;

pub(super) fn run(options: &Options) -> Result<Report> {
    let report = part::measure(&PARTS, options, options)?;
    Ok(Report { notes: NOTES.map(str::to_owned).to_vec(), ..report })
}

const PARTS: [Part<Options>; 15] = [
    ("nmap", |options| sweep::NMAP.measure(options)),
    ("zmap", |options| sweep::ZMAP.measure(options)),
    ("zmap-loss", |options| sweep::ZMAP_LOSS.measure(options)),
    ("nmap-loss", |options| sweep::NMAP_LOSS.measure(options)),
    ("arp", |options| sweep::ARP.measure(options)),
    ("arp-16", |options| sweep::ARP_16.measure(options)),
    ("polite", |options| sweep::POLITE.measure(options)),
    ("unprivileged", |options| sweep::UNPRIVILEGED.measure(options)),
    ("fping", |options| sweep::FPING.measure(options)),
    ("tcp", |options| sweep::TCP.measure(options)),
    ("memory", memory::of_a_slash_8),
    ("names", names::reverse),
    ("services", services::hundred),
    ("directory", directory::computers),
    ("netbios", netbios::twenty_five),
];

const NOTES: [&str; 5] = [
    "Both sides run on the cores that also answer for the network. CPU seconds are those of the tool.",
    "A fifth of the addresses has a host. Recall is counted against what is there.",
    "Tables of neighbours are emptied before each run; zmap was told its router's card. It waits 2 s for late answers, as it was told.",
    "Memory is VmHWM a second after the start: the program itself, and what it keeps for 16,777,216 addresses.",
    "Names: nmap only lists and asks for names, klpoll asks every address as well.",
];

/// Rows of the time and the recall of two sides that look for `there` things; ours must find `least` per cent of them.
fn beside(
    options: &Options,
    what: &str,
    (there, least): (usize, f64),
    mut ours: impl FnMut() -> Result<(Run, usize)>,
    (peer, mut theirs): (&str, impl FnMut() -> Result<(Run, usize)>),
) -> Result<Report> {
    let (time, recall) = (format!("{what}: time"), format!("{what}: recall"));
    let subjects = [
        Subject { what: &time, unit: "s", better: Better::Lower },
        Subject { what: &recall, unit: "%", better: Better::Higher },
    ];
    let sample = |(run, found): (Run, usize), least: f64| -> Result<Samples<2>> {
        // Counts of hosts are below 2^52.
        #[allow(clippy::cast_precision_loss)]
        let recall = 100.0 * found as f64 / there as f64;
        ensure!(recall >= least && found > 0, "only {recall} % were found: {}", run.complaint());
        Ok(Samples { figures: [run.took.as_secs_f64(), recall], cpu: run.cpu })
    };
    let ours = ("klpoll", || sample(ours()?, least));
    let rows = compare_each(options, subjects, ours, (peer, || sample(theirs()?, 0.0)))?;
    Ok(Report { rows, notes: Vec::new() })
}
