//! Opening the database file, and what can be wrong with it.

use std::{
    fs::{File, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::{
    error::{OpenError, failed},
    lock::{LastStop, Lock},
    schema,
};

/// Locks the file, opens it for the writer, checks it when it needs checking, and brings its schema up to date.
pub(super) fn writer(path: &Path) -> Result<(Connection, Lock), OpenError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(OpenError::OldSqlite { found: rusqlite::version() });
    }
    let (lock, last_stop) = Lock::take(path)?;
    keep_private(path).map_err(|source| OpenError::Io { path: path.into(), source })?;
    let mut db = connect(path, WRITER_PATIENCE).map_err(|source| failed(path, source))?;
    set_up_writer(&db).map_err(|source| failed(path, source))?;
    if last_stop == LastStop::Unclean {
        check(path, &db)?;
    }
    schema::migrate(path, &mut db)?;
    Ok((db, lock))
}

/// Opens a connection that cannot change anything.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let db = connect(path, READER_PATIENCE)?;
    db.pragma_update(None, "query_only", true)?;
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

fn connect(path: &Path, patience: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(patience)?;
    // Temporary files would be one more thing that a full disk can break.
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "cell_size_check", true)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(db)
}

fn set_up_writer(db: &Connection) -> rusqlite::Result<()> {
    db.pragma_update_and_check(None, "journal_mode", "WAL", |row| match row.get::<_, String>(0)?.as_str() {
        "wal" => Ok(()),
        _ => Err(rusqlite::Error::InvalidQuery),
    })?;
    db.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    db.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    db.pragma_update(None, "synchronous", "FULL")
}

fn check(path: &Path, db: &Connection) -> Result<(), OpenError> {
    tracing::info!(path = %path.display(), "checking store after an unclean stop");
    let finding: String =
        db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(|source| failed(path, source))?;
    match finding.as_str() {
        "ok" => Ok(()),
        _ => Err(OpenError::Damaged { path: path.into(), finding }),
    }
}

/// 3.51.3, the first release whose checkpoint cannot lose a WAL that is being reset.
const OLDEST_SQLITE: i32 = 3_051_003;

/// How long the writer waits for a reader when it truncates the WAL; commits wait behind it.
const WRITER_PATIENCE: Duration = Duration::from_millis(250);

/// How long a reader waits for the recovery of the WAL that another connection does.
const READER_PATIENCE: Duration = Duration::from_secs(5);

/// Pages of the WAL (32 MiB) after which it is folded back into the database: seldom enough that pages written
/// again and again are folded once.
const WAL_PAGES: u32 = 8192;

/// Page cache of the writer: a transaction that outgrows it is written twice.
const WRITER_CACHE_KIB: i32 = 32 << 10;

/// Prepared statements kept for each connection; more than there are.
const STATEMENTS: usize = 32;
