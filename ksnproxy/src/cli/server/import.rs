//! `ksnserver import`: one source, from its files into the snapshot.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::args::ImportArgs;
use super::failure::Failure;
use super::{key, now};
use crate::feed::{Intake, Report, Skipped, read_file};
use crate::snapshot::{Manifest, SnapshotStore, Sorter, Source};

pub(super) fn main(folder: &Path, options: &ImportArgs) -> Result<(), Failure> {
    let now = now();
    if options.dry_run {
        let (_, report) = read(options, Sorter::new(std::env::temp_dir()), now)?;
        tell(options, &report, None);
        return Ok(());
    }
    let store = SnapshotStore::open(folder)?;
    let (records, report) = read(options, store.sorter(), now)?;
    let source = Source {
        name: options.source.clone().unwrap_or_else(|| options.format.name().to_owned()),
        format: options.format.name().to_owned(),
        imported: now,
        records: report.taken.values().sum(),
    };
    let manifest = store.import(source, records, &key::open_or_make(folder)?)?;
    tell(options, &report, Some(&manifest));
    Ok(())
}

/// Reads all files of the source, or refuses them all.
fn read(options: &ImportArgs, sorter: Sorter, now: u64) -> Result<(Sorter, Report), Failure> {
    let length = |file: &Path| fs::metadata(file).map_or(0, |about| about.len());
    let bar = bar(options.files.iter().map(|file| length(file)).sum());
    let mut intake = Intake::new(sorter, now, options.confidence);
    let before = Cell::new(0);
    for path in &options.files {
        let progress = |read: u64| bar.set_position(before.get() + read);
        let read = read_file(options.format, path, &mut intake, &progress);
        read.map_err(|error| Failure::Feed { path: path.clone(), error })?;
        before.set(before.get() + length(path));
    }
    bar.finish_and_clear();
    intake.finish().map_err(Failure::Feeds)
}

fn tell(options: &ImportArgs, report: &Report, manifest: Option<&Manifest>) {
    if options.json {
        println!("{}", as_json(report, manifest));
        return;
    }
    println!("{}: {report}", options.format);
    if let Some(terms) = options.format.terms() {
        println!("note: {terms}");
    }
    match manifest {
        Some(manifest) => {
            let records: u64 = manifest.records().values().sum();
            println!(
                "snapshot {}: {records} records of {} sources",
                manifest.sequence,
                manifest.sources.len()
            );
        }
        None => println!("nothing was changed"),
    }
}

fn as_json(report: &Report, manifest: Option<&Manifest>) -> Value {
    let skipped = |skipped: &Skipped| json!({ "times": skipped.times, "first_line": skipped.first });
    let taken: Map<_, _> =
        report.taken.iter().map(|(kind, times)| (format!("{kind:?}"), (*times).into())).collect();
    let left_out: Map<_, _> =
        report.left_out.iter().map(|(why, it)| ((*why).to_owned(), skipped(it))).collect();
    let drift: Map<_, _> =
        report.drift.iter().map(|(columns, it)| (columns.to_string(), skipped(it))).collect();
    json!({
        "taken": taken,
        "left_out": left_out,
        "drift": drift,
        "notes": report.notes,
        "sequence": manifest.map(|manifest| manifest.sequence),
    })
}

fn bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {percent:>3} % {bytes_per_sec} {eta}");
    let bar = ProgressBar::new(length);
    style.map_or(bar.clone(), |style| bar.with_style(style))
}
