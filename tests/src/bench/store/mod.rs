//! Our store beside etcd and PostgreSQL: durable guarded writes by many writers; and how long a server takes to come back
//! with a million devices.
//!
//! ```text
//! writes    128 writers ─▶ Store ─▶ SQLite file          in this process
//!           128 writers ─▶ gRPC ─▶ etcd ─▶ its WAL      Txn: if mod_revision is the last one, put
//!           pgbench, 128 clients ─▶ PostgreSQL           UPDATE … WHERE key = … AND rev = the last one
//! restart   klserver run on a store of so many devices, until it serves
//! ```
//! All three write the same values under keys of the same length, each writer to a key of its own, and each waits for its
//! answer before it writes again. All three sync before they answer, as they do by default; PostgreSQL is given
//! room for as many connections.

mod devices;
mod effort;
mod etcd;
mod load;
mod postgres;
mod sqlite;

use anyhow::{Result, ensure};

use super::{Better, Options, Report, Row, Samples, Subject, compare_each};
use crate::lab::{Host, Lab};
use effort::Effort;

/// A part of the benchmark: its name for `--only`, and how it is measured.
type Part = (&'static str, fn(&Options, &Host) -> Result<Vec<Row>>);

pub(super) fn run(options: &Options) -> Result<Report> {
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let parts: Vec<_> = PARTS.iter().filter(|(name, _)| wanted(name)).collect();
    ensure!(!parts.is_empty(), "the parts are: {}", PARTS.map(|(name, _)| name).join(", "));
    let (lab, mut rows) = (Lab::new("bench")?, Vec::new());
    for (name, measure) in parts {
        eprintln!("{name} ...");
        rows.extend(measure(options, &lab.host(name)?)?);
    }
    Ok(Report { rows, notes: NOTES.map(str::to_owned).to_vec() })
}

const PARTS: [Part; 3] = [
    ("etcd", |options, host| beside(options, "etcd", || etcd::sample(host, &Effort::of(options)))),
    ("postgres", |options, host| {
        beside(options, "PostgreSQL", || postgres::sample(host, &Effort::of(options)))
    }),
    ("restart", devices::restart),
];

fn beside(options: &Options, peer: &str, sample: impl FnMut() -> Result<Samples<2>>) -> Result<Vec<Row>> {
    let effort = Effort::of(options);
    let what = |figure: &str| format!("{} writers, {} B, guarded: {figure}", load::WRITERS, load::VALUE);
    let (rate, slow) = (what("durable writes"), what("99 % of answers within"));
    let subjects = [
        Subject { what: &rate, unit: "writes/s", better: Better::Higher },
        Subject { what: &slow, unit: "ms", better: Better::Lower },
    ];
    compare_each(options, subjects, ("klnet store", || sqlite::sample(&effort)), (peer, sample))
}

const NOTES: [&str; 3] = [
    "The store's writers run in the process of its server, as the server's own do; etcd's come over gRPC (one connection \
     for 16 writers), PostgreSQL's are pgbench with prepared statements, a connection each. CPU seconds are of the process that stores, and \
     with our store that includes the writers.",
    "All lie on the same file system; each run has a new folder.",
    "A restart counts from the start of the program to the line that says it serves; memory is VmRSS then.",
];
