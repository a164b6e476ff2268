//! What a snapshot knows, beside a B-tree: K20.

use std::path::Path;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use klnet_ksnproxy::snapshot::{Claim, Snapshot, SnapshotStore, Source};
use klnet_ksnproxy::subject::Key;
use klnet_ksnproxy::verdict::{Category, Reputation};
use klnet_wire::signing::SigningKey;
use redb::{Database, ReadableDatabase, TableDefinition};

use super::Bench;
use super::keys::{Draw, key};
use crate::bench::{Better, Report, Sample, Samples, Subject, compare};
use crate::system;

pub(super) fn records(bench: &Bench) -> Result<Report> {
    let (records, lookups) = bench.effort.records;
    let folder = tempfile::Builder::new().prefix("klnet-bench-").tempdir()?;
    let (snapshot, now) = snapshot(folder.path(), records)?;
    let database = Database::create(folder.path().join("peer.redb"))?;
    fill(&database, records)?;
    let what = format!("a hash of {records} in memory: time of a query (aim <= 0.10)");
    let subject = Subject { what: &what, unit: "ns", better: Better::Lower };
    let ours =
        || ask(records, lookups, |key| Ok(snapshot.lookup_key(key, now).reputation == Reputation::Malicious));
    let peer = || -> Result<Sample> {
        let reading = database.begin_read()?;
        let table = reading.open_table(TABLE)?;
        ask(records, lookups, |key| Ok(table.get(key.bytes)?.is_some()))
    };
    let row = compare(&bench.options, subject, ("ksnproxy's snapshot", ours), ("redb", peer))?;
    Ok(Report { rows: vec![row], notes: vec![NOTE.to_owned()] })
}

/// Nanoseconds of each look-up, every one of which finds something.
fn ask(records: u32, lookups: u32, find: impl Fn(&Key) -> Result<bool>) -> Result<Sample> {
    let mut draw = Draw::any(records);
    let keys: Vec<_> = (0..lookups).map(|_| key(draw.next())).collect();
    let (cpu, begun) = (system::own_cpu_time()?, Instant::now());
    for key in &keys {
        find(key)?.then_some(()).with_context(|| format!("{key:?} is not found"))?;
    }
    let took = begun.elapsed().as_secs_f64() * 1e9;
    let cpu = system::own_cpu_time()?.saturating_sub(cpu);
    Ok(Samples { figures: [took / f64::from(lookups)], cpu })
}

/// A snapshot of one source, loaded, and the time at which it was made.
fn snapshot(folder: &Path, records: u32) -> Result<(Snapshot, u64)> {
    let (store, signer, now) = store(folder, records)?;
    let (snapshot, _) = store.load(std::slice::from_ref(signer.public()))?;
    Ok((snapshot, now))
}

/// A store of one source, who signed it, and when.
pub(super) fn store(folder: &Path, records: u32) -> Result<(SnapshotStore, SigningKey, u64)> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let store = SnapshotStore::open(folder.join("store"))?;
    let signer = SigningKey::generate_ed25519();
    let claim = Claim {
        reputation: Reputation::Malicious,
        category: Category::Malware,
        confidence: 90,
        source: 0,
        time: u32::try_from(now)?,
    };
    let mut sorter = store.sorter();
    (0..records).try_for_each(|number| sorter.push(key(number), claim))?;
    let source = Source {
        name: "bench".to_owned(),
        format: "block".to_owned(),
        imported: now,
        records: records.into(),
    };
    store.import(source, sorter, &signer)?;
    Ok((store, signer, now))
}

fn fill(database: &Database, records: u32) -> Result<()> {
    let writing = database.begin_write()?;
    {
        let mut table = writing.open_table(TABLE)?;
        let mut keys: Vec<_> = (0..records).map(|number| key(number).bytes).collect();
        // In order, as a B-tree is filled fastest.
        keys.sort_unstable();
        for key in keys {
            table.insert(key, [1; 8])?;
        }
    }
    Ok(writing.commit()?)
}

/// Hashes, and as many bytes of what is said of them as ours has.
const TABLE: TableDefinition<'_, [u8; 16], [u8; 8]> = TableDefinition::new("verdicts");

const NOTE: &str = "\
Look-ups: random hashes that are there, in one thread, from the page cache in redb's case. redb stands for LMDB, which it comes within a fifth of.";
