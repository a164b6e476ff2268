//! `ksnserver snapshot`: looks into what is answered from, or makes it again.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::args::SnapshotCommand;
use super::failure::Failure;
use super::import::as_json_lists;
use super::{key, now};
use crate::feed::HashLists;
use crate::snapshot::{Manifest, Reader, Snapshot, SnapshotError, SnapshotStore, StoreError};

pub(super) fn main(folder: &Path, command: &SnapshotCommand) -> Result<(), Failure> {
    match command {
        SnapshotCommand::Show { json } => show(folder, *json),
        SnapshotCommand::Verify { file, key } => verify(folder, file.as_deref(), key.as_deref()),
        SnapshotCommand::Sign { old_key } => {
            let key = key::open_or_make(folder)?;
            let old = old_key.as_deref().map(key::parse_public).transpose()?;
            let trusted: Vec<_> = old.into_iter().chain([key.public().clone()]).collect();
            print(&SnapshotStore::open(folder)?.sign(now(), &trusted, &key)?);
            Ok(())
        }
        SnapshotCommand::Remove { source } => {
            print(&SnapshotStore::open(folder)?.remove(source, now(), &key::open(folder)?)?);
            Ok(())
        }
        SnapshotCommand::Key => {
            println!("{}", key::print_public(key::open(folder)?.public()));
            Ok(())
        }
    }
}

fn show(folder: &Path, as_json: bool) -> Result<(), Failure> {
    let store = SnapshotStore::open(folder)?;
    let path = store.current();
    let trusted = [key::open(folder)?.public().clone()];
    let opened = File::open(&path).map_err(SnapshotError::from);
    let reader = opened.and_then(|file| Reader::open(BufReader::new(file), &trusted));
    let reader = reader.map_err(|error| Failure::Snapshot { path, error })?;
    let names = reader.manifest().sources.iter().map(|source| source.name.as_str());
    let lists = names.map(|name| Ok((name, lists(&store, name)?))).collect::<Result<Vec<_>, StoreError>>()?;
    if as_json {
        let lists: Map<_, _> =
            lists.iter().map(|(source, lists)| ((*source).to_owned(), as_json_lists(lists).into())).collect();
        println!("{}", to_json(reader.manifest(), lists));
        return Ok(());
    }
    print(reader.manifest());
    for (source, (name, list)) in
        lists.iter().flat_map(|(source, lists)| lists.iter().map(move |it| (source, it)))
    {
        println!("list {name} of {source}: {} hashes, version {}", list.count(), list.version());
    }
    Ok(())
}

/// The lists of a source that partial updates build on; none where they are damaged, as the next import says.
fn lists(store: &SnapshotStore, source: &str) -> Result<HashLists, StoreError> {
    Ok(store.lists(source)?.and_then(|kept| HashLists::decode(&kept)).unwrap_or_default())
}

fn verify(folder: &Path, file: Option<&Path>, public: Option<&str>) -> Result<(), Failure> {
    let path = file.map_or_else(
        || SnapshotStore::open(folder).map(|store| store.current()),
        |file| Ok(file.to_owned()),
    )?;
    let trusted = match public {
        Some(public) => key::parse_public(public)?,
        None => key::open(folder)?.public().clone(),
    };
    let opened = File::open(&path).map_err(SnapshotError::from);
    let loaded = opened.and_then(|file| Snapshot::load(file, &[trusted]));
    let snapshot = loaded.map_err(|error| Failure::Snapshot { path, error })?;
    println!("every byte is what was signed");
    print(snapshot.manifest());
    Ok(())
}

fn print(manifest: &Manifest) {
    println!("snapshot {}, made {}", manifest.sequence, date(manifest.created));
    for (number, source) in (1..).zip(&manifest.sources) {
        println!(
            "source {number}: {} ({}), {} records, imported {}",
            source.name,
            source.format,
            source.records,
            date(source.imported)
        );
    }
    for (kind, records) in manifest.records() {
        println!("{records:>12} × {kind}");
    }
}

/// Seconds of Unix time as a date (RFC 3339).
fn date(seconds: u64) -> String {
    let date = i64::try_from(seconds).ok().and_then(|it| OffsetDateTime::from_unix_timestamp(it).ok());
    date.and_then(|date| date.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{seconds} s of Unix time"))
}

fn to_json(manifest: &Manifest, lists: Map<String, Value>) -> Value {
    let sources: Vec<_> = manifest
        .sources
        .iter()
        .map(|source| {
            json!({
                "name": source.name,
                "format": source.format,
                "records": source.records,
                "imported": source.imported,
            })
        })
        .collect();
    let records: serde_json::Map<_, _> =
        manifest.records().into_iter().map(|(kind, records)| (format!("{kind:?}"), records.into())).collect();
    json!({ "sequence": manifest.sequence, "created": manifest.created, "sources": sources, "records": records, "lists": lists })
}
