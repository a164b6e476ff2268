//! `ksnserver snapshot`: looks into what is answered from, or makes it again.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde_json::json;

use super::args::SnapshotCommand;
use super::failure::Failure;
use super::{key, now};
use crate::snapshot::{Manifest, Reader, Snapshot, SnapshotError, SnapshotStore};

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
    let path = SnapshotStore::open(folder)?.current();
    let trusted = [key::open(folder)?.public().clone()];
    let opened = File::open(&path).map_err(SnapshotError::from);
    let reader = opened.and_then(|file| Reader::open(BufReader::new(file), &trusted));
    let reader = reader.map_err(|error| Failure::Snapshot { path, error })?;
    if as_json {
        println!("{}", to_json(reader.manifest()));
    } else {
        print(reader.manifest());
    }
    Ok(())
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
    println!("snapshot {}, made {} s of Unix time", manifest.sequence, manifest.created);
    for (number, source) in (1..).zip(&manifest.sources) {
        println!(
            "source {number}: {} ({}), {} records, imported {}",
            source.name, source.format, source.records, source.imported
        );
    }
    for (kind, records) in manifest.records() {
        println!("{records:>12} {kind:?}");
    }
}

fn to_json(manifest: &Manifest) -> serde_json::Value {
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
    json!({ "sequence": manifest.sequence, "created": manifest.created, "sources": sources, "records": records })
}
