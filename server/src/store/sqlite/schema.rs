//! The tables, and the steps that bring an older file up to date.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, Transaction};

use super::{
    damage::Damage,
    error::{OpenError, failed},
    history::History,
    newest,
    receipt::Receipt,
    row::{self, Logged},
    sum,
};
use crate::store::{Incarnation, LeaseId, OpId, Rev};

/// Brings the schema up to date; each step is one transaction with the version it reaches.
pub(super) fn migrate(path: &Path, db: &mut Connection) -> Result<(), OpenError> {
    let (found, known) = check(path, db)?;
    for version in found..known {
        step(db, version as usize).map_err(|source| failed(path, source))?;
    }
    Ok(())
}

/// The version of the file and the newest one known, which is not lower.
pub(super) fn check(path: &Path, db: &Connection) -> Result<(u32, u32), OpenError> {
    let found = identify(path, db)?;
    let known = u32::try_from(STEPS.len()).expect("the steps are few");
    match found > known {
        true => Err(OpenError::Newer { path: path.into(), found, known }),
        false => Ok((found, known)),
    }
}

/// Refuses what only a server can bring up to date.
pub(super) fn check_newest(path: &Path, db: &Connection) -> Result<(), OpenError> {
    match check(path, db)? {
        (found, known) if found < known => Err(OpenError::Older { path: path.into(), found, known }),
        _ => Ok(()),
    }
}

/// What the tables and indexes of the newest schema are, as SQLite writes it down: a bit that flips there changes what
/// every query means.
pub(super) fn check_text(path: &Path, db: &Connection) -> Result<(), OpenError> {
    let failed = |source| failed(path, source);
    let mut fresh = Connection::open_in_memory().map_err(failed)?;
    (0..STEPS.len()).try_for_each(|version| step(&mut fresh, version)).map_err(failed)?;
    match (text(db).map_err(failed)?, text(&fresh).map_err(failed)?) {
        (found, known) if found == known => Ok(()),
        _ => Err(OpenError::Damaged {
            path: path.into(),
            finding: "its tables are not as they were made".into(),
        }),
    }
}

/// Kind, name, table and SQL of each.
fn text(db: &Connection) -> rusqlite::Result<Vec<[Option<String>; 4]>> {
    let mut rows = db.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name")?;
    rows.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))?.collect()
}

/// Tells the version of the schema: 0 for an empty file.
fn identify(path: &Path, db: &Connection) -> Result<u32, OpenError> {
    let read = |pragma: &str| db.pragma_query_value(None, pragma, |row| row.get::<_, u32>(0));
    let version = read("user_version").map_err(|source| failed(path, source))?;
    let application = read("application_id").map_err(|source| failed(path, source))?;
    let tables: u32 = db
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|source| failed(path, source))?;
    match application {
        APPLICATION_ID => Ok(version),
        0 if tables == 0 && version == 0 => Ok(0),
        _ => Err(OpenError::Foreign { path: path.into() }),
    }
}

fn step(db: &mut Connection, from: usize) -> rusqlite::Result<()> {
    let step = db.transaction()?;
    STEPS[from](&step)?;
    step.pragma_update(None, "application_id", APPLICATION_ID)?;
    step.pragma_update(None, "user_version", u32::try_from(from + 1).expect("the steps are few"))?;
    step.commit()
}

fn first(step: &Transaction<'_>) -> rusqlite::Result<()> {
    step.execute_batch(FIRST)?;
    step.execute("INSERT INTO store (incarnation, oldest) VALUES (?1, 0)", [Incarnation::random().0])?;
    Ok(())
}

/// Gives every row a checksum, and the store room for leases and for the principals of operations.
fn second(step: &Transaction<'_>) -> rusqlite::Result<()> {
    step.execute_batch(SECOND)?;
    let (incarnation, oldest) =
        step.query_row("SELECT incarnation, oldest FROM store", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    History::new(Incarnation(incarnation), oldest).write(step)?;
    sum_log(step)?;
    sum_receipts(step)
}

fn sum_log(step: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut after = -1;
    loop {
        let mut old = step.prepare_cached(
            "SELECT seq, key, create_rev, value FROM log WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let old = old.query_map((after, ROWS_AT_ONCE), |row| {
            let (seq, key): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let value: Option<Vec<u8>> = row.get(3)?;
            Ok((seq, key, row.get::<_, Rev>(2)?, value))
        })?;
        let old: Vec<_> = old.collect::<rusqlite::Result<_>>()?;
        let Some((last, ..)) = old.last() else { return Ok(()) };
        after = *last;
        for (seq, key, create_rev, value) in old {
            let sum = second_sum(seq, &key, create_rev, None, value.as_deref());
            step.prepare_cached("UPDATE log SET sum = ?2 WHERE seq = ?1")?.execute((seq, sum))?;
        }
    }
}

/// Operations had no principal: all were the server's own.
fn sum_receipts(step: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut old = step.prepare("SELECT rev, op_id, digest FROM receipt")?;
    let old = old.query_map([], |row| {
        let op_id = OpId { principal: [0; 16], id: row.get(1)? };
        Ok(Receipt { rev: row.get(0)?, op_id, digest: row.get(2)? })
    })?;
    let old: Vec<_> = old.collect::<rusqlite::Result<_>>()?;
    step.execute("DELETE FROM receipt", [])?;
    old.iter().try_for_each(|receipt| receipt.insert(step).map(drop))
}

/// The checksum of a row of the log in the second schema.
fn second_sum(seq: i64, key: &[u8], create_rev: Rev, lease: Option<LeaseId>, value: Option<&[u8]>) -> i64 {
    let (seq, create_rev) = (seq.to_be_bytes(), create_rev.0.to_be_bytes());
    let lease = lease.as_ref().map(|lease| &lease.0[..]);
    sum::of("log", &[Some(&seq), Some(&create_rev), lease, Some(key), value])
}

/// Lets every row of the log name the one before it of its key, and has a table of the newest in the place of the index.
fn third(step: &Transaction<'_>) -> rusqlite::Result<()> {
    step.execute_batch(THIRD)?;
    let mut after = -1;
    loop {
        let mut old = step.prepare_cached(
            "SELECT seq, key, create_rev, value, lease, sum FROM log WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let old = old.query_map((after, ROWS_AT_ONCE), read_second)?;
        let old: Vec<Logged> = old.collect::<rusqlite::Result<_>>()?;
        let Some(last) = old.last() else { return Ok(()) };
        after = last.seq;
        for row in old {
            link(step, row)?;
        }
    }
}

fn read_second(row: &Row<'_>) -> rusqlite::Result<Logged> {
    let value: Option<Vec<u8>> = row.get(3)?;
    let (seq, key, create_rev, lease) = (row.get(0)?, row::key(row, 1)?, row.get(2)?, row.get(4)?);
    if second_sum(seq, key.as_bytes(), create_rev, lease, value.as_deref()) != row.get::<_, i64>(5)? {
        return Err(Damage::Sum { table: "log", row: seq }.into());
    }
    Ok(Logged { seq, key, create_rev, value: value.map(Into::into), lease, prev: None })
}

/// Adds a row to the newest ones, after those that come before it.
fn link(step: &Transaction<'_>, row: Logged) -> rusqlite::Result<()> {
    let mut prev = step.prepare_cached("SELECT seq FROM newest WHERE key = ?1")?;
    let prev = prev.query_row([row.key.as_bytes()], |row| row.get(0)).optional()?;
    let row = Logged { prev, ..row };
    step.prepare_cached("UPDATE log SET prev = ?2, sum = ?3 WHERE seq = ?1")?.execute((
        row.seq,
        row.prev,
        row.sum(),
    ))?;
    newest::set(step, &row.key, row.seq)
}

/// `STEPS[n]` leads from version n to n + 1; a step once released is never edited.
const STEPS: &[fn(&Transaction<'_>) -> rusqlite::Result<()>] = &[first, second, third];

/// "klst" in the header of the file.
const APPLICATION_ID: u32 = 0x6b6c_7374;

/// Compared to the letter with what a store says of itself: comments count.
pub(super) const FIRST: &str = "
    -- One row: which history this is, and the oldest revision that can still be read.
    CREATE TABLE store (
        incarnation BLOB NOT NULL,
        oldest INTEGER NOT NULL
    ) STRICT;

    -- Every operation in commit order; seq is the revision times 256 plus the operation's place, so new rows
    -- go to the end of the table. A delete has no value.
    CREATE TABLE log (
        seq INTEGER PRIMARY KEY,
        key BLOB NOT NULL,
        create_rev INTEGER NOT NULL,
        value BLOB
    ) STRICT;

    -- Holds (key, seq): the newest row of a key, and keys in byte order.
    CREATE INDEX log_key ON log (key);

    -- One row for each commit of the last hour or more, and always the newest: the head of the store.
    CREATE TABLE receipt (
        rev INTEGER PRIMARY KEY,
        op_id BLOB NOT NULL UNIQUE,
        digest BLOB NOT NULL
    ) STRICT;
";

const SECOND: &str = "
    -- Rows of the log up to swept that nobody can read any more are deleted.
    ALTER TABLE store ADD COLUMN swept INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE store ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;

    ALTER TABLE log ADD COLUMN lease BLOB;
    ALTER TABLE log ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;

    -- op_id is the principal and its id, 16 bytes each.
    ALTER TABLE receipt ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;

    -- Every lease that lives; ttl in milliseconds.
    CREATE TABLE lease (
        id BLOB NOT NULL UNIQUE,
        ttl INTEGER NOT NULL,
        sum INTEGER NOT NULL
    ) STRICT;

    -- Which keys have a lease now; what the log says is what counts.
    CREATE TABLE attached (
        key BLOB NOT NULL PRIMARY KEY,
        lease BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE INDEX attached_lease ON attached (lease);
";

const THIRD: &str = "
    -- The row before this one of the same key.
    ALTER TABLE log ADD COLUMN prev INTEGER;

    -- The newest row of each key; keys in byte order.
    CREATE TABLE newest (
        key BLOB NOT NULL PRIMARY KEY,
        seq INTEGER NOT NULL,
        sum INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    DROP INDEX log_key;
";

/// Rows summed at once.
const ROWS_AT_ONCE: u32 = 256;
