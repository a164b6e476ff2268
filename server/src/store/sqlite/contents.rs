//! Everything under some prefixes, read along the log.
//!
//! Keys lead to rows that lie anywhere: to fetch a million rows in the order of their keys reads a page for each. So it is
//! noted first to which rows the keys lead, and then those are read in the order in which they lie, a few pages after the
//! other, stepping over what is between them.

use std::ops::ControlFlow;

use rusqlite::{Connection, Statement};

use super::{
    damage::Damage,
    newest,
    row::{COLUMNS, Logged, first_seq},
};
use crate::store::{Entry, Key, Prefix, Rev};

/// Shows what is under `prefixes` at `at` until `show` breaks off; prefixes must not overlap.
pub(super) fn show(
    db: &Connection,
    prefixes: &[Prefix],
    at: Rev,
    mut show: impl FnMut(Vec<(Key, Entry)>) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    let mut seqs = Vec::new();
    for prefix in prefixes {
        note(db, prefix, at, &mut seqs)?;
    }
    seqs.sort_unstable();
    let mut rows =
        db.prepare_cached(&format!("SELECT {COLUMNS} FROM log WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq"))?;
    let mut batch = Vec::new();
    for run in seqs.chunk_by(|seq, next| next - seq < FAR) {
        for part in run.chunks(BATCH) {
            read(&mut rows, part, &mut batch)?;
            if batch.len() >= BATCH && show(std::mem::take(&mut batch)).is_break() {
                return Ok(());
            }
        }
    }
    let _ = show(batch);
    Ok(())
}

/// Notes to which rows the keys under `prefix` lead at `at`.
fn note(db: &Connection, prefix: &Prefix, at: Rev, seqs: &mut Vec<i64>) -> rusqlite::Result<()> {
    let end = first_seq(at.next());
    let mut keys = db.prepare_cached(newest::RANGE)?;
    let mut keys = keys.query((prefix.as_bytes(), prefix.end()))?;
    while let Some(found) = keys.next()? {
        let seq = newest::seq(found)?;
        if seq < end {
            seqs.push(seq);
            continue;
        }
        let (key, seq) = newest::read(found)?;
        seqs.extend(newest::as_of(db, at, newest::led_to(db, &key, seq)?)?.map(|row| row.seq));
    }
    Ok(())
}

/// Reads these rows, which lie near each other, into a batch.
fn read(rows: &mut Statement<'_>, seqs: &[i64], batch: &mut Vec<(Key, Entry)>) -> rusqlite::Result<()> {
    let (Some(first), Some(last)) = (seqs.first(), seqs.last()) else { return Ok(()) };
    let mut rows = rows.query((first, last))?;
    for seq in seqs {
        // Between them are rows of other keys, and older ones.
        let row = loop {
            let row = rows.next()?.ok_or(Damage::Index { row: *seq })?;
            match row.get::<_, i64>(0)? {
                found if found < *seq => {}
                found if found == *seq => break Logged::read(row)?,
                _ => return Err(Damage::Index { row: *seq }.into()),
            }
        };
        if let Some(entry) = row.entry() {
            batch.push((row.key, entry));
        }
    }
    Ok(())
}

/// Entries shown at once.
const BATCH: usize = 512;

/// How far a row is away that is looked for rather than stepped to: some revisions, of a few rows each.
const FAR: i64 = 16 << 8;
