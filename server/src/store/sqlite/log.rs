//! The log table: every operation in commit order, read as entries, pages and batches.

use bytes::Bytes;
use rusqlite::{
    Connection, OptionalExtension, Row, ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, Type, ValueRef},
};

use crate::store::{Batch, Commit, Entry, Event, Key, OpId, Page, Prefix, Rev};

/// The newest state of a key that has a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    pub(super) create_rev: Rev,
    pub(super) mod_rev: Rev,
}

/// What a commit left behind for its retries.
#[derive(Debug)]
pub(super) struct Receipt {
    pub(super) rev: Rev,
    pub(super) digest: [u8; 32],
}

/// Some of the log: all batches with a revision above the one asked for and up to `upto`.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) batches: Vec<Batch>,
    pub(super) upto: Rev,
    pub(super) head: Rev,
}

/// The newest revision.
pub(super) fn head(db: &Connection) -> rusqlite::Result<Rev> {
    let newest = db
        .prepare_cached("SELECT max(rev) FROM receipt")?
        .query_row([], |row| row.get::<_, Option<Rev>>(0))?;
    Ok(newest.unwrap_or(Rev::ZERO))
}

/// The oldest revision whose snapshot can be read; whatever compacts the log moves it up.
pub(super) fn oldest(db: &Connection) -> rusqlite::Result<Rev> {
    db.prepare_cached("SELECT oldest FROM store")?.query_row([], |row| row.get(0))
}

/// When `key` was created and changed; `None` when it has no value.
pub(super) fn live(db: &Connection, key: &Key) -> rusqlite::Result<Option<Live>> {
    let newest = db
        .prepare_cached(
            "SELECT seq, create_rev, value IS NOT NULL FROM log WHERE key = ?1 ORDER BY seq DESC LIMIT 1",
        )?
        .query_row([key.as_bytes()], |row| {
            let live = Live { create_rev: row.get(1)?, mod_rev: rev_of(row.get(0)?) };
            Ok(row.get::<_, bool>(2)?.then_some(live))
        })
        .optional()?;
    Ok(newest.flatten())
}

/// The entry of `key` now.
pub(super) fn entry(db: &Connection, key: &Key) -> rusqlite::Result<Option<Entry>> {
    let newest = db
        .prepare_cached("SELECT seq, create_rev, value FROM log WHERE key = ?1 ORDER BY seq DESC LIMIT 1")?
        .query_row([key.as_bytes()], |row| read_entry(row, 0))
        .optional()?;
    Ok(newest.flatten())
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
    // The index alone answers this; values are fetched for the rows that count.
    let mut newest = db.prepare_cached(
        "SELECT key, max(seq) FROM log WHERE key >= ?1 AND key < ?2 AND seq < ?3 GROUP BY key ORDER BY key",
    )?;
    let mut values = db.prepare_cached("SELECT seq, create_rev, value FROM log WHERE seq = ?1")?;
    let mut rows = newest.query((start, prefix.end(), first_seq(at.next())))?;
    let mut page = Page { entries: Vec::new(), at, next: None };
    let mut length = 0;
    while let Some(row) = rows.next()? {
        let Some(entry) = values.query_row([row.get::<_, i64>(1)?], |row| read_entry(row, 0))? else {
            continue;
        };
        // At least one, or asking for nothing would never end.
        if page.entries.len() >= limit.max(1) as usize || length > PAGE_BYTES {
            page.next = page.entries.last().map(|(key, _)| key.clone());
            break;
        }
        length += entry.value.len();
        page.entries.push((read_key(row, 0)?, entry));
    }
    Ok(page)
}

/// The commits after `after` that touch `prefix`, as many as one read may take, none of them split.
pub(super) fn stretch(db: &Connection, prefix: &Prefix, after: Rev) -> rusqlite::Result<Stretch> {
    let head = head(db)?;
    let upto = head.min(Rev(after.0.saturating_add(STRETCH_REVS)));
    let mut stretch = Stretch { batches: Vec::new(), upto, head };
    // Forced along the log: by the key index it would sort the whole prefix first.
    let mut log = db.prepare_cached(
        "SELECT seq, create_rev, value, key FROM log NOT INDEXED
         WHERE seq >= ?1 AND seq < ?2 AND key >= ?3 AND key < ?4 ORDER BY seq",
    )?;
    let range = (first_seq(after.next()), first_seq(upto.next()), prefix.as_bytes(), prefix.end());
    let mut rows = log.query(range)?;
    let mut length = 0;
    while let Some(row) = rows.next()? {
        let rev = rev_of(row.get(0)?);
        let event = Event { key: read_key(row, 3)?, entry: read_entry(row, 0)? };
        let more = event.entry.as_ref().map_or(0, |entry| entry.value.len());
        match stretch.batches.last_mut() {
            Some(batch) if batch.rev == rev => batch.events.push(event),
            Some(batch) if length > PAGE_BYTES => {
                stretch.upto = batch.rev;
                break;
            }
            _ => stretch.batches.push(Batch { rev, events: vec![event] }),
        }
        length += more;
    }
    Ok(stretch)
}

/// The receipt of an earlier commit under this id.
pub(super) fn receipt(db: &Connection, op_id: OpId) -> rusqlite::Result<Option<Receipt>> {
    db.prepare_cached("SELECT rev, digest FROM receipt WHERE op_id = ?1")?
        .query_row([op_id.0], |row| Ok(Receipt { rev: row.get(0)?, digest: row.get(1)? }))
        .optional()
}

/// Writes a commit and its receipt at the revision `rev`.
pub(super) fn append(db: &Connection, rev: Rev, commit: &Commit) -> rusqlite::Result<()> {
    let mut insert =
        db.prepare_cached("INSERT INTO log (seq, key, create_rev, value) VALUES (?1, ?2, ?3, ?4)")?;
    for (seq, op) in (first_seq(rev)..).zip(commit.ops()) {
        let live = live(db, op.key())?;
        if live.is_none() && op.value().is_none() {
            continue;
        }
        let create_rev = live.map_or(rev, |live| live.create_rev);
        insert.execute((seq, op.key().as_bytes(), create_rev, op.value().map(|value| &value[..])))?;
    }
    db.prepare_cached("INSERT INTO receipt (rev, op_id, digest) VALUES (?1, ?2, ?3)")?.execute((
        rev,
        commit.op_id().0,
        commit.digest(),
    ))?;
    Ok(())
}

/// Forgets some receipts up to `upto`, but never the newest, which is the head.
pub(super) fn forget(db: &Connection, upto: Rev) -> rusqlite::Result<usize> {
    db.prepare_cached(
        "DELETE FROM receipt WHERE rev IN (
             SELECT rev FROM receipt WHERE rev <= ?1 AND rev < (SELECT max(rev) FROM receipt)
             ORDER BY rev LIMIT ?2)",
    )?
    .execute((upto, FORGET_ROWS))
}

/// Reads seq, create_rev and value from three columns; `None` for a delete.
fn read_entry(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Entry>> {
    let Some(value) = row.get::<_, Option<Vec<u8>>>(column + 2)? else {
        return Ok(None);
    };
    let (create_rev, mod_rev) = (row.get(column + 1)?, rev_of(row.get(column)?));
    Ok(Some(Entry { value: Bytes::from(value), create_rev, mod_rev }))
}

fn read_key(row: &Row<'_>, column: usize) -> rusqlite::Result<Key> {
    Key::new(row.get::<_, Vec<u8>>(column)?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(error)))
}

/// The row of the first operation of a commit.
fn first_seq(rev: Rev) -> i64 {
    // No store lives to see revision 2^55, but a caller may name it.
    const LAST: i64 = i64::MAX >> PLACE_BITS;
    i64::try_from(rev.0).map_or(LAST, |rev| rev.min(LAST)) << PLACE_BITS
}

fn rev_of(seq: i64) -> Rev {
    Rev(u64::try_from(seq >> PLACE_BITS).unwrap_or(0))
}

impl ToSql for Rev {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        i64::try_from(self.0)
            .map(ToSqlOutput::from)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
    }
}

impl FromSql for Rev {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = i64::column_result(value)?;
        u64::try_from(number).map(Self).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

/// Bits of a row number for the place in the commit; `Limits::ops` needs six.
const PLACE_BITS: u32 = 8;

/// Bytes of values after which a page or stretch ends.
const PAGE_BYTES: usize = 1 << 20;

/// Revisions that one read of the log looks at, so that no read takes long.
const STRETCH_REVS: u64 = 4096;

/// Receipts deleted in one transaction: more than it can add, so forgetting keeps up.
const FORGET_ROWS: u32 = 512;
