//! The table `newest`: which row of the log is the newest of each key, in byte order of the keys.
//!
//! A row of the log names the one before it of the same key, so that older states are found by going back from here. An
//! index of all rows by key would be dirtied in a page of its own by every write; this table is written in place.

use rusqlite::{Connection, OptionalExtension, Row};

use super::{
    damage::Damage,
    history::History,
    row::{Logged, first_seq},
    sum,
};
use crate::store::{Key, Rev};

/// The row of the log that is the newest of a key; a delete, perhaps.
pub(super) fn row(db: &Connection, key: &Key) -> rusqlite::Result<Option<Logged>> {
    let seq = db.prepare_cached(ONE)?.query_row([key.as_bytes()], |row| read(row).map(|(_, seq)| seq));
    seq.optional()?.map(|seq| led_to(db, key, seq)).transpose()
}

/// The row of the log that was the newest of a key at `at`, by the way of one that is as new or newer.
pub(super) fn as_of(db: &Connection, at: Rev, newer: Logged) -> rusqlite::Result<Option<Logged>> {
    let (end, mut row) = (first_seq(at.next()), newer);
    while row.seq >= end {
        let Some(prev) = row.prev else { return Ok(None) };
        row = match by_seq(db, prev)? {
            Some(older) if older.key == row.key && older.seq < row.seq => older,
            // What went before a delete is swept with it, while its key's next row goes on naming it.
            None if prev < first_seq(History::read(db)?.oldest.next()) => return Ok(None),
            _ => return Err(Damage::Index { row: prev }.into()),
        };
    }
    Ok(Some(row))
}

/// Leads from a key to its newest row.
pub(super) fn set(db: &Connection, key: &Key, seq: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO newest (key, seq, sum) VALUES (?1, ?2, ?3)
        ON CONFLICT (key) DO UPDATE SET seq = excluded.seq, sum = excluded.sum";
    db.prepare_cached(sql)?.execute((key.as_bytes(), seq, sum_of(key.as_bytes(), seq))).map(drop)
}

/// Forgets a key that has no row newer than `seq`.
pub(super) fn forget(db: &Connection, key: &Key, seq: i64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM newest WHERE key = ?1 AND seq = ?2";
    db.prepare_cached(sql)?.execute((key.as_bytes(), seq)).map(drop)
}

/// Reads key, seq and sum.
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<(Key, i64)> {
    let (key, seq) = (super::row::key(row, 0)?, row.get(1)?);
    sum::check("newest", seq, &parts(key.as_bytes(), &seq.to_be_bytes()), row.get(2)?)?;
    Ok((key, seq))
}

/// The row to which the table leads from `key`.
pub(super) fn led_to(db: &Connection, key: &Key, seq: i64) -> rusqlite::Result<Logged> {
    let row = by_seq(db, seq)?.filter(|row| row.key == *key);
    row.ok_or_else(|| Damage::Index { row: seq }.into())
}

/// How many keys lead somewhere, every one of them read as it was written.
pub(super) fn count(db: &Connection) -> rusqlite::Result<u64> {
    let mut rows = db.prepare("SELECT key, seq, sum FROM newest")?;
    let mut rows = rows.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        read(row)?;
        count += 1;
    }
    Ok(count)
}

/// How many keys have rows in the log: each has one that names none before it, or one that was swept.
pub(super) fn count_in_log(db: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT count(*) FROM log AS l
        WHERE prev IS NULL OR NOT EXISTS (SELECT 1 FROM log WHERE seq = l.prev)";
    db.query_row(sql, [], |row| row.get::<_, u32>(0)).map(u64::from)
}

/// Rows of the log that are newer than what leads to their key, or to whose key nothing leads.
pub(super) fn missed(db: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT count(*) FROM log AS l
        WHERE NOT EXISTS (SELECT 1 FROM newest WHERE key = l.key AND seq >= l.seq)";
    db.query_row(sql, [], |row| row.get::<_, u32>(0)).map(u64::from)
}

fn by_seq(db: &Connection, seq: i64) -> rusqlite::Result<Option<Logged>> {
    db.prepare_cached(ROW)?.query_row([seq], Logged::read).optional()
}

fn sum_of(key: &[u8], seq: i64) -> i64 {
    sum::of("newest", &parts(key, &seq.to_be_bytes()))
}

fn parts<'a>(key: &'a [u8], seq: &'a [u8; 8]) -> [Option<&'a [u8]>; 2] {
    [Some(key), Some(seq)]
}

const ROW: &str = "SELECT seq, key, create_rev, value, lease, prev, sum FROM log WHERE seq = ?1";

const ONE: &str = "SELECT key, seq, sum FROM newest WHERE key = ?1";
