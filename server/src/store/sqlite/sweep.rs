//! Deleting what nobody can read any more.

use rusqlite::Connection;

use super::{
    history::History,
    newest,
    row::{COLUMNS, Logged},
};
use crate::store::Key;

/// A row that no state before it can be read of any more.
struct Passed {
    seq: i64,
    prev: Option<i64>,
    /// The key, when the row is a delete.
    deletes: Option<Key>,
}

/// Deletes rows that nobody can read any more, as far as a few rows further; says whether more are left.
///
/// Each row up to the oldest revision makes the one before it of its key superfluous, and a delete itself, too.
pub(super) fn sweep(db: &Connection) -> rusqlite::Result<bool> {
    let history = History::read(db)?;
    let last = history.last();
    let sql = format!("SELECT {COLUMNS} FROM log WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3");
    let rows: Vec<Passed> = db
        .prepare_cached(&sql)?
        .query_map((history.swept, last, ROWS), |row| Logged::read(row).map(Passed::from))?
        .collect::<rusqlite::Result<_>>()?;
    let mut delete = db.prepare_cached("DELETE FROM log WHERE seq = ?1")?;
    for row in &rows {
        row.prev.map(|prev| delete.execute([prev])).transpose()?;
        // A delete goes with what it deleted.
        if let Some(key) = &row.deletes {
            delete.execute([row.seq])?;
            newest::forget(db, key, row.seq)?;
        }
    }
    let more = rows.len() == ROWS as usize;
    let swept = rows.last().filter(|_| more).map_or(last, |row| row.seq);
    History { swept, ..history }.write(db)?;
    Ok(more)
}

impl From<Logged> for Passed {
    fn from(row: Logged) -> Self {
        Self { seq: row.seq, prev: row.prev, deletes: row.value.is_none().then_some(row.key) }
    }
}

/// Rows looked at in one transaction: few enough that commits wait for milliseconds.
const ROWS: u32 = 512;
