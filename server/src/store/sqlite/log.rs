//! The log table: every operation in commit order, read as entries, pages and batches.

use rusqlite::Connection;

use super::{
    damage::Damage,
    newest,
    receipt::head,
    row::{Logged, first_seq},
};
use crate::store::{Batch, Entry, Key, Page, Prefix, Rev, Survivors};

/// Some of the log: all batches with a revision above the one asked for and up to `upto`.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) batches: Vec<Batch>,
    pub(super) upto: Rev,
    pub(super) head: Rev,
}

/// The entry of `key` now.
pub(super) fn entry(db: &Connection, key: &Key) -> rusqlite::Result<Option<Entry>> {
    Ok(newest::row(db, key)?.and_then(|row| row.entry()))
}

/// The entries under `prefix` after the key `after`, as they were at `at`.
pub(super) fn page(
    db: &Connection,
    prefix: &Prefix,
    after: Option<&Key>,
    limit: u32,
    at: Rev,
) -> rusqlite::Result<Page> {
    let start = match after {
        Some(after) => after.successor().max(prefix.as_bytes().to_vec()),
        None => prefix.as_bytes().to_vec(),
    };
    let mut keys = db.prepare_cached(KEYS)?;
    let mut keys = keys.query((start, prefix.end()))?;
    let mut page = Page { entries: Vec::new(), at, next: None };
    let mut length = 0;
    while let Some(found) = keys.next()? {
        let (key, seq) = newest::read(found)?;
        let row = newest::as_of(db, at, newest::led_to(db, &key, seq)?)?;
        let Some(entry) = row.and_then(|row| row.entry()) else { continue };
        // At least one, or asking for nothing would never end.
        if page.entries.len() >= limit.max(1) as usize || length > PAGE_BYTES {
            page.next = page.entries.last().map(|(key, _)| key.clone());
            break;
        }
        length += entry.value.len();
        page.entries.push((key, entry));
    }
    Ok(page)
}

/// The commits after `after` that touch `prefix`, as many as one read may take, none of them split.
pub(super) fn stretch(db: &Connection, prefix: &Prefix, after: Rev) -> rusqlite::Result<Stretch> {
    let head = head(db)?;
    let upto = head.min(Rev(after.0.saturating_add(STRETCH_REVS)));
    let mut rows = db.prepare_cached(STRETCH)?;
    let range = (first_seq(after.next()), first_seq(upto.next()), prefix.as_bytes(), prefix.end());
    let (batches, upto) = batches(rows.query(range)?, upto, |_| Ok(true))?;
    Ok(Stretch { batches, upto, head })
}

/// What commits after `after` left that is still there at `at`, as much as one read may take.
pub(super) fn survivors(db: &Connection, after: Rev, at: Rev) -> rusqlite::Result<Survivors> {
    let upto = at.min(Rev(after.0.saturating_add(STRETCH_REVS)));
    let mut rows = db.prepare_cached(SURVIVORS)?;
    let range = (first_seq(after.next()), first_seq(upto.next()));
    let is_left = |row: &Logged| {
        let newest = newest::row(db, &row.key)?.ok_or(Damage::Index { row: row.seq })?;
        Ok(newest::as_of(db, at, newest)?.is_some_and(|left| left.seq == row.seq))
    };
    let (batches, upto) = batches(rows.query(range)?, upto, is_left)?;
    Ok(Survivors { batches, at, next: (upto < at).then_some(upto) })
}

/// Takes those rows that count as batches until they are many bytes; says up to which revision all are there.
fn batches(
    mut rows: rusqlite::Rows<'_>,
    upto: Rev,
    counts: impl Fn(&Logged) -> rusqlite::Result<bool>,
) -> rusqlite::Result<(Vec<Batch>, Rev)> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut length = 0;
    while let Some(row) = rows.next()? {
        let row = Logged::read(row)?;
        if !counts(&row)? {
            continue;
        }
        let rev = row.rev();
        let more = row.value.as_ref().map_or(0, |value| value.len());
        match batches.last_mut() {
            Some(batch) if batch.rev == rev => batch.events.push(row.into_event()),
            Some(batch) if length > PAGE_BYTES => {
                let upto = batch.rev;
                return Ok((batches, upto));
            }
            _ => batches.push(Batch { rev, events: vec![row.into_event()] }),
        }
        length += more;
    }
    Ok((batches, upto))
}

const KEYS: &str = "SELECT key, seq, sum FROM newest WHERE key >= ?1 AND key < ?2 ORDER BY key";

const STRETCH: &str = "SELECT seq, key, create_rev, value, lease, prev, sum FROM log
    WHERE seq >= ?1 AND seq < ?2 AND key >= ?3 AND key < ?4 ORDER BY seq";

const SURVIVORS: &str = "SELECT seq, key, create_rev, value, lease, prev, sum FROM log
    WHERE seq >= ?1 AND seq < ?2 AND value IS NOT NULL ORDER BY seq";

/// Bytes of values after which a page or stretch ends.
const PAGE_BYTES: usize = 1 << 20;

/// Revisions that one read of the log looks at, so that no read takes long.
const STRETCH_REVS: u64 = 4096;
