//! NSRL RDSv3: an SQLite database of published software, minimal, full or curated.
//!
//! `FILE` is a table or a view with `sha256`, `sha1` and `md5`. That a file is in it says that somebody published it, and
//! nothing of whether it does harm.

mod rows;

use std::path::Path;

use rusqlite::limits::Limit;
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
    rows::each(database, |number, row| {
        for text in row.hashes() {
            let digest = Digest::parse(text).map_err(|_| Reason::Hash(text.into()).at(number))?;
            intake.take(Subject::File(digest, None), KNOWN)?;
        }
        if number % 65_536 == 0 {
            progress((number * ROW).min(length));
        }
        Ok(())
    })?;
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

/// About how many bytes of a database a row takes, for showing progress.
const ROW: u64 = 250;
