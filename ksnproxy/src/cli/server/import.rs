//! `ksnserver import`: one source, from its files into the snapshot.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::args::ImportArgs;
use super::failure::Failure;
use super::{key, now};
use crate::feed::{HashLists, Intake, Report, Skipped, read_file};
use crate::snapshot::{Manifest, SnapshotStore, Sorter, Source};

pub(super) fn main(folder: &Path, options: &ImportArgs) -> Result<(), Failure> {
    let now = now();
    let name = options.source.as_deref().unwrap_or(options.format.name());
    if options.dry_run {
        // Where nothing is, nothing is made.
        let store = folder.is_dir().then(|| SnapshotStore::open(folder)).transpose()?;
        let (_, read) = read(options, Sorter::new(std::env::temp_dir()), now, before(store.as_ref(), name)?)?;
        tell(options, &read, None);
        return Ok(());
    }
    let store = SnapshotStore::open(folder)?;
    let (records, read) = read(options, store.sorter(), now, before(Some(&store), name)?)?;
    let source = Source {
        name: name.to_owned(),
        format: options.format.name().to_owned(),
        imported: now,
        records: read.report.taken.values().sum(),
    };
    let manifest = store.import(source, records, &key::open_or_make(folder)?)?;
    if !read.lists.is_empty() {
        store.keep_lists(name, &read.lists.encode())?;
    }
    tell(options, &read, Some(&manifest));
    Ok(())
}

/// What was read of a source.
struct Read {
    report: Report,
    lists: HashLists,
}

/// The lists that partial updates build on. Whole ones do not need those that are damaged.
fn before(store: Option<&SnapshotStore>, source: &str) -> Result<HashLists, Failure> {
    let Some(kept) = store.map(|store| store.lists(source)).transpose()?.flatten() else {
        return Ok(HashLists::default());
    };
    Ok(HashLists::decode(&kept).unwrap_or_else(|| {
        eprintln!("ksnserver: the lists of the import before are damaged: only whole ones can be taken");
        HashLists::default()
    }))
}

/// Reads all files of the source, or refuses them all.
fn read(options: &ImportArgs, sorter: Sorter, now: u64, lists: HashLists) -> Result<(Sorter, Read), Failure> {
    let length = |file: &Path| fs::metadata(file).map_or(0, |about| about.len());
    let bar = bar(options.files.iter().map(|file| length(file)).sum());
    let mut intake = Intake::new(sorter, now, options.confidence).upon(lists);
    let before = Cell::new(0);
    for path in &options.files {
        let progress = |read: u64| bar.set_position(before.get() + read);
        let read = read_file(options.format, path, &mut intake, &progress);
        read.map_err(|error| Failure::Feed { path: path.clone(), error })?;
        before.set(before.get() + length(path));
    }
    bar.finish_and_clear();
    let lists = intake.hash_lists().clone();
    let (sorter, report) = intake.finish().map_err(Failure::Feeds)?;
    Ok((sorter, Read { report, lists }))
}

fn tell(options: &ImportArgs, read: &Read, manifest: Option<&Manifest>) {
    if options.json {
        println!("{}", as_json(read, manifest));
        return;
    }
    println!("{}: {}", options.format, read.report);
    for (name, list) in read.lists.iter() {
        println!("{name}: {} hashes, version {}", list.count(), list.version());
    }
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

fn as_json(Read { report, lists }: &Read, manifest: Option<&Manifest>) -> Value {
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
        "lists": as_json_lists(lists),
        "sequence": manifest.map(|manifest| manifest.sequence),
    })
}

/// Each list with the version that the next update is asked for by.
pub(super) fn as_json_lists(lists: &HashLists) -> Map<String, Value> {
    let list = |list: &crate::feed::HashList| json!({ "hashes": list.count(), "version": list.version() });
    lists.iter().map(|(name, held)| (name.to_owned(), list(held))).collect()
}

fn bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {percent:>3} % {bytes_per_sec} {eta}");
    let bar = ProgressBar::new(length);
    style.map_or(bar.clone(), |style| bar.with_style(style))
}
