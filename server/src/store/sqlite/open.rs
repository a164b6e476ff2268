//! Opening the database file, and what can be wrong with it.
//!
//! Each row has a checksum, so what is read is what was written. That a row is *not* found proves nothing by itself: a bit
//! that flips in a page's list of cells, or in a key, hides rows without spoiling any. So every start walks through all
//! pages once, and counts keys from both sides. It costs seconds for a million devices, in order through the file; it is
//! not left out after a clean stop, for what stops cleanly can lie on a bad disk.

use std::{
    fs::{File, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{
    desk,
    error::{OpenError, failed},
    history::History,
    lock::{Last, LastStop, Lock},
    medium::Medium,
    newest, receipt, schema,
};

/// Locks the file, opens it for the writer, brings its schema up to date, and checks that nothing is missing.
pub(super) fn writer(path: &Path, medium: Medium) -> Result<(Connection, Lock), OpenError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(OpenError::OldSqlite { found: rusqlite::version() });
    }
    let (lock, last) = Lock::take(path)?;
    keep_private(path).map_err(|source| OpenError::Io { path: path.into(), source })?;
    let mut db = connect(path, WRITER_PATIENCE, medium).map_err(|source| failed(path, source))?;
    set_up_writer(&db, medium).map_err(|source| failed(path, source))?;
    schema::check(path, &db)?;
    check(path, &db)?;
    schema::migrate(path, &mut db)?;
    schema::check_text(path, &db)?;
    check_newest(path, &db)?;
    check_head(path, &db, last)?;
    if last.stop == LastStop::Unclean {
        settle_wal(path, &db)?;
    }
    Ok((db, lock))
}

/// Opens a connection that cannot change anything, and leaves folding the WAL back to the writer.
pub(super) fn reader(path: &Path, medium: Medium) -> rusqlite::Result<Connection> {
    let db = connect(path, READER_PATIENCE, medium)?;
    db.pragma_update(None, "query_only", true)?;
    db.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(db)
}

/// Makes the file, readable by its owner alone (SQLite gives its other files the same mode), and makes its
/// name durable.
fn keep_private(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn connect(path: &Path, patience: Duration, medium: Medium) -> rusqlite::Result<Connection> {
    let db = medium.connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(patience)?;
    // Temporary files would be one more thing that a full disk can break.
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "cell_size_check", true)?;
    // Else statements are compiled anew for each value that is bound, to plan by statistics there are none of.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(db)
}

fn set_up_writer(db: &Connection, medium: Medium) -> rusqlite::Result<()> {
    db.pragma_update_and_check(None, "journal_mode", "WAL", |row| match row.get::<_, String>(0)?.as_str() {
        "wal" => Ok(()),
        _ => Err(rusqlite::Error::InvalidQuery),
    })?;
    db.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    db.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    db.pragma_update(None, "synchronous", medium.synchronous)
}

/// Looks at the structure of every page, and for rows that an index does not lead to: no checksum of a row tells that it is
/// missed.
fn check(path: &Path, db: &Connection) -> Result<(), OpenError> {
    let finding: String = db
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(|source| failed(path, source))?;
    match finding.as_str() {
        "ok" => Ok(()),
        _ => Err(OpenError::Damaged { path: path.into(), finding }),
    }
}

/// Looks for keys that nothing leads to any more, which would read as absent; where a key leads is checked when it is read.
fn check_newest(path: &Path, db: &Connection) -> Result<(), OpenError> {
    let failed = |source| failed(path, source);
    let (led, there) = (newest::count(db).map_err(failed)?, newest::count_in_log(db).map_err(failed)?);
    if led == there {
        return Ok(());
    }
    let finding = format!("{led} keys lead to rows of log, which has rows of {there}");
    Err(OpenError::Damaged { path: path.into(), finding })
}

/// Refuses a store that has lost what was acknowledged.
fn check_head(path: &Path, db: &Connection, last: Last) -> Result<(), OpenError> {
    let head = receipt::head(db).map_err(|source| failed(path, source))?;
    History::read(db).map_err(|source| failed(path, source))?;
    if head >= last.head {
        return Ok(());
    }
    let finding = format!("revision {} was acknowledged, the newest there is {head}", last.head);
    Err(OpenError::Damaged { path: path.into(), finding })
}

/// Who stopped may have been told of a sync that failed: what the WAL says is made durable before anyone relies on it.
fn settle_wal(path: &Path, db: &Connection) -> Result<(), OpenError> {
    tracing::info!(path = %path.display(), "the last stop was not clean; the store is settled first");
    let begun = Instant::now();
    while !desk::fold(db).map_err(|source| failed(path, source))? {
        if begun.elapsed() > SETTLING {
            return Err(OpenError::BeingRead { path: path.into() });
        }
    }
    Ok(())
}

/// 3.51.3, the first release whose checkpoint cannot lose a WAL that is being reset.
const OLDEST_SQLITE: i32 = 3_051_003;

/// How long the writer waits for a reader when it truncates the WAL; commits wait behind it.
const WRITER_PATIENCE: Duration = Duration::from_millis(250);

/// How long a reader waits for the recovery of the WAL that another connection does.
const READER_PATIENCE: Duration = Duration::from_secs(5);

/// How long a start after an unclean stop waits for a backup that reads the store.
const SETTLING: Duration = Duration::from_secs(20);

/// Pages of the WAL (32 MiB) after which the writer folds what is left of it into the database, and begins it anew.
const WAL_PAGES: u32 = 8192;

/// Page cache of the writer: a transaction that outgrows it is written twice.
const WRITER_CACHE_KIB: i32 = 32 << 10;

/// Page cache of a reader: the inner pages of a million devices' tables stay in it while a scan fetches rows in the order
/// of their keys, which in the log lie anywhere.
const READER_CACHE_KIB: i32 = 8 << 10;

/// Prepared statements kept for each connection; more than there are.
const STATEMENTS: usize = 32;
