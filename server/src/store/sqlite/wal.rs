//! The write-ahead log beside the database.

use rusqlite::Connection;

/// Folds the whole WAL into the database and cuts it off; `false` while readers are in the way. After a sync that failed
/// the system may take for written what never will be; what is folded is written, and synced, anew.
pub(super) fn fold(db: &Connection) -> rusqlite::Result<bool> {
    let busy: bool = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    Ok(!busy)
}
