//! Our tunnel beside haproxy, rathole and OpenSSH: throughput, latency, memory, and what load does to people.
//!
//! ```text
//! relay alone      generator ─▶ klserver | haproxy ─▶ sink         core 0: the relay, core 1: everything else
//! whole product    generator ─▶ klsctunnel ─▶ klserver ─▶ klnagent ─▶ sink
//!                  generator ─▶ rathole server ─▶ rathole client ─▶ sink
//!                  generator ─▶ ssh ─▶ sshd ─▶ sink
//! ```
//! Every machine is a network namespace, so ports are free, nobody else's sockets are in the way, and every product
//! has the same congestion control. All are measured by the same code: a [`product::Product`] opens connections and
//! gives both their ends, and says which processes' CPU time is its own.

mod direct;
mod effort;
mod far_end;
mod haproxy;
mod idle;
mod interactive;
mod klsctunnel;
mod latency;
mod load;
mod product;
mod quiet;
mod rathole;
mod relay;
mod restart;
mod site;
mod ssh;
mod throughput;

use anyhow::{Result, ensure};

use super::{Options, Report};
use crate::lab::Lab;
use effort::Effort;
use quiet::Quiet;
use site::{Site, Wires};

/// What every measurement needs to know.
struct Bench {
    options: Options,
    effort: Effort,
    quiet: Quiet,
}

/// A part of the benchmark: its name for `--only`, and how it is measured.
type Part = (&'static str, fn(&Bench, &Lab) -> Result<Report>);

pub(super) fn run(options: &Options) -> Result<Report> {
    let bench = Bench { options: options.clone(), effort: Effort::of(options), quiet: Quiet::new(options) };
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let parts: Vec<_> = PARTS.iter().filter(|(name, _)| wanted(name)).collect();
    ensure!(!parts.is_empty(), "the parts are: {}", PARTS.map(|(name, _)| name).join(", "));
    let mut report = Report { rows: Vec::new(), notes: vec![COUNTING.to_owned()] };
    for (name, measure) in parts {
        eprintln!("{name} ...");
        let part = measure(&bench, &Lab::new("bench")?)?;
        report.rows.extend(part.rows);
        report.notes.extend(part.notes);
    }
    report.notes.extend(bench.quiet.note());
    Ok(report)
}

const PARTS: [Part; 6] = [
    ("relay", relays),
    ("product", |bench, lab| throughput::products(bench, &Site::new(lab, Wires::Loopback)?)),
    ("latency", |bench, lab| latency::first_bytes(bench, &Site::new(lab, Wires::Loopback)?)),
    ("idle", |bench, lab| idle::tunnels(bench, &Site::new(lab, Wires::Loopback)?)),
    ("interactive", |bench, lab| interactive::sessions(bench, &Site::new(lab, Wires::Loopback)?)),
    ("restart", restart::fleet),
];

/// Over each kind of wires that is wanted.
fn relays(bench: &Bench, lab: &Lab) -> Result<Report> {
    let loopback = Site::new(lab, Wires::Loopback)?;
    let mut report = throughput::relays(bench, &loopback)?;
    report.notes.push(throughput::ceiling(bench, &loopback)?);
    if bench.options.full {
        for wires in [Wires::Offloading, Wires::Segments] {
            report.rows.extend(throughput::relays(bench, &Site::new(lab, wires)?)?.rows);
        }
    }
    Ok(report)
}

const COUNTING: &str = "\
CPU s/GB counts user and system time of all processes of a product (/proc/PID/stat, with children), GB are 10^9 bytes. \
Congestion control is reno on every route.";
