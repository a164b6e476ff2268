//! The tables, and the steps that bring an older file up to date.

use std::path::Path;

use rusqlite::{Connection, Transaction};

use super::error::{OpenError, failed};
use crate::store::Incarnation;

/// Brings the schema up to date; each step is one transaction with the version it reaches.
pub(super) fn migrate(path: &Path, db: &mut Connection) -> Result<(), OpenError> {
    let (found, known) = check(path, db)?;
    for version in found..known {
        step(db, version).map_err(|source| failed(path, source))?;
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

/// Reads the name of the history.
pub(super) fn incarnation(db: &Connection) -> rusqlite::Result<Incarnation> {
    db.query_row("SELECT incarnation FROM store", [], |row| row.get(0)).map(Incarnation)
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

fn step(db: &mut Connection, from: u32) -> rusqlite::Result<()> {
    let step = db.transaction()?;
    STEPS[from as usize](&step)?;
    step.pragma_update(None, "application_id", APPLICATION_ID)?;
    step.pragma_update(None, "user_version", from + 1)?;
    step.commit()
}

fn first(step: &Transaction<'_>) -> rusqlite::Result<()> {
    step.execute_batch(FIRST)?;
    step.execute("INSERT INTO store (incarnation, oldest) VALUES (?1, 0)", [Incarnation::random().0])?;
    Ok(())
}

/// `STEPS[n]` leads from version n to n + 1; a step once released is never edited.
const STEPS: &[fn(&Transaction<'_>) -> rusqlite::Result<()>] = &[first];

/// "klst" in the header of the file.
const APPLICATION_ID: u32 = 0x6b6c_7374;

const FIRST: &str = "
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
