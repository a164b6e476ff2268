//! Which keys are under which lease now; an index over the log's newest rows.

use rusqlite::Connection;

use super::known::Known;
use crate::store::{Commit, CommitError, Key, LeaseId, Op};

/// Takes note that a key has moved from one lease, or none, to another, or none.
pub(super) fn moved(
    db: &Connection,
    key: &Key,
    from: Option<LeaseId>,
    to: Option<LeaseId>,
) -> rusqlite::Result<()> {
    match (from, to) {
        (from, to) if from == to => Ok(()),
        (_, Some(to)) => db
            .prepare_cached("INSERT OR REPLACE INTO attached (key, lease) VALUES (?1, ?2)")?
            .execute((key.as_bytes(), to))
            .map(drop),
        (_, None) => {
            db.prepare_cached("DELETE FROM attached WHERE key = ?1")?.execute([key.as_bytes()]).map(drop)
        }
    }
}

/// The keys that end with a lease, in byte order. What the log itself does not say of a key does not count.
pub(super) fn keys(db: &Connection, lease: LeaseId, known: &mut Known) -> rusqlite::Result<Vec<Key>> {
    let mut keys = Vec::new();
    let mut rows = db.prepare_cached("SELECT key FROM attached WHERE lease = ?1 ORDER BY key")?;
    let mut rows = rows.query([lease])?;
    while let Some(row) = rows.next()? {
        let Ok(key) = Key::new(row.get::<_, Vec<u8>>(0)?) else { continue };
        if known.live(db, &key)?.is_some_and(|live| live.lease == Some(lease)) {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// Why a commit may not attach what it wants to attach.
pub(super) fn refused(
    db: &Connection,
    commit: &Commit,
    known: &mut Known,
    limit: usize,
    is_alive: impl Fn(LeaseId) -> bool,
) -> rusqlite::Result<Option<CommitError>> {
    let mut asked: Vec<LeaseId> = commit.ops().iter().filter_map(Op::lease).collect();
    asked.sort_unstable();
    asked.dedup();
    for lease in asked {
        if !is_alive(lease) {
            return Ok(Some(CommitError::NoLease(lease)));
        }
        let mut held = keys(db, lease, known)?;
        held.retain(|key| commit.ops().iter().all(|op| op.key() != key));
        if held.len() + commit.ops().iter().filter(|op| op.lease() == Some(lease)).count() > limit {
            return Ok(Some(CommitError::LeaseFull { lease, limit }));
        }
    }
    Ok(None)
}
