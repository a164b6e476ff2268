//! NSRL RDSv3: an SQLite database of published software, minimal, full or curated.
//!
//! `FILE` is a table or a view with `sha256`, `sha1` and `md5`. That a file is in it says that somebody published it, and
//! nothing of whether it does harm.

use std::path::Path;

use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::error::{FeedError, Reason};
use super::intake::Intake;
use super::progress::Progress;
use super::says::Says;
use crate::subject::{Digest, Subject};
use crate::verdict::{Category, Reputation};

/// Reads a database; `progress` is told bytes, by the share of rows that were read.
pub(super) fn read(path: &Path, intake: &mut Intake, progress: Progress<'_>) -> Result<(), FeedError> {
    let database = open(path)?;
    let length = std::fs::metadata(path).map_err(FeedError::Read)?.len();
    note_version(&database, intake);
    let mut statement = database.prepare("SELECT sha256, sha1, md5 FROM FILE")?;
    let mut rows = statement.query([])?;
    let mut number = 0;
    while let Some(row) = rows.next()? {
        number += 1;
        for (column, digits) in HASHES.into_iter().enumerate() {
            hash(row.get_ref(column)?, digits, number, intake)?;
        }
        if number % 65_536 == 0 {
            progress((number * ROW).min(length));
        }
    }
    progress(length);
    Ok(())
}

/// For reading alone, without triggers, functions of the schema, or memory for values that no hash has.
fn open(path: &Path) -> Result<Connection, FeedError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(path, flags)?;
    database.set_limit(Limit::SQLITE_LIMIT_LENGTH, 1_000_000)?;
    database.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    database.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA query_only = ON; PRAGMA mmap_size = 0;")?;
    Ok(database)
}

fn hash(value: ValueRef<'_>, digits: usize, row: u64, intake: &mut Intake) -> Result<(), FeedError> {
    let text = match value {
        ValueRef::Text(text) => text,
        ValueRef::Null => return Ok(()),
        _ => return Err(Reason::Hash((&b"a number"[..]).into()).at(row)),
    };
    if text.is_empty() {
        return Ok(());
    }
    let digest = Digest::parse(text).ok().filter(|_| text.len() == digits);
    let digest = digest.ok_or_else(|| Reason::Hash(text.into()).at(row))?;
    intake.take(Subject::File(digest, None), KNOWN)
}

/// Absent in a database that was cut down.
fn note_version(database: &Connection, intake: &mut Intake) {
    let version = database.query_row("SELECT version, release_date FROM VERSION", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    });
    if let Ok((version, date)) = version {
        let text: String = format!("RDS {version} of {date}").chars().take(100).collect();
        intake.note(text.escape_debug().to_string());
    }
}

const KNOWN: Says =
    Says { reputation: Reputation::Known, category: Category::Software, confidence: 50, time: None };

/// Hexadecimal digits of each column.
const HASHES: [usize; 3] = [64, 40, 32];

/// About how many bytes of a database a row takes, for showing progress.
const ROW: u64 = 250;
