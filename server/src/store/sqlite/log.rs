//! The log table: every operation in commit order, read as entries, pages and batches, and written by commits.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};

use super::{
    attached,
    damage::Damage,
    receipt::{Receipt, head},
    row::{Logged, first_seq},
};
use crate::store::{Batch, Commit, Entry, Key, LeaseId, Page, Prefix, Rev, Survivors};

/// The newest state of a key that has a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    pub(super) create_rev: Rev,
    pub(super) mod_rev: Rev,
    pub(super) lease: Option<LeaseId>,
}

/// What is read of the log while one commit is judged: guards and operations are often about the same keys.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<Key, Option<Live>>);

/// Some of the log: all batches with a revision above the one asked for and up to `upto`.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) batches: Vec<Batch>,
    pub(super) upto: Rev,
    pub(super) head: Rev,
}

impl Known {
    /// When `key` was created and changed; `None` when it has no value.
    pub(super) fn live(&mut self, db: &Connection, key: &Key) -> rusqlite::Result<Option<Live>> {
        if let Some(known) = self.0.get(key) {
            return Ok(*known);
        }
        let live = entry(db, key)?.map(|Entry { create_rev, mod_rev, lease, .. }| Live {
            create_rev,
            mod_rev,
            lease,
        });
        self.0.insert(key.clone(), live);
        Ok(live)
    }
}

/// The entry of `key` now.
pub(super) fn entry(db: &Connection, key: &Key) -> rusqlite::Result<Option<Entry>> {
    let newest = db.prepare_cached(NEWEST)?.query_row([key.as_bytes()], Logged::read).optional()?;
    match newest {
        Some(row) if row.key != *key => Err(Damage::Index { row: row.seq }.into()),
        newest => Ok(newest.and_then(|row| row.entry())),
    }
}

/// The entries under `prefix` after the key `after`, as they were at `at`.
pub(super) fn page(
    db: &Connection,
    prefix: &Prefix,
    after: Option<&Key>,
    limit: u32,
    at: Rev,
) -> rusqlite::Result<Page> {
    let start = match after {
        Some(after) => after.successor().max(prefix.as_bytes().to_vec()),
        None => prefix.as_bytes().to_vec(),
    };
    // The index alone answers this; values are fetched for the rows that count.
    let mut newest = db.prepare_cached(
        "SELECT key, max(seq) FROM log WHERE key >= ?1 AND key < ?2 AND seq < ?3 GROUP BY key ORDER BY key",
    )?;
    let mut values = db.prepare_cached(ROW)?;
    let mut rows = newest.query((start, prefix.end(), first_seq(at.next())))?;
    let mut page = Page { entries: Vec::new(), at, next: None };
    let mut length = 0;
    while let Some(found) = rows.next()? {
        let seq: i64 = found.get(1)?;
        let row = values.query_row([seq], Logged::read).optional()?.ok_or(Damage::Index { row: seq })?;
        if row.key.as_bytes() != found.get_ref(0)?.as_blob()? {
            return Err(Damage::Index { row: seq }.into());
        }
        let Some(entry) = row.entry() else { continue };
        // At least one, or asking for nothing would never end.
        if page.entries.len() >= limit.max(1) as usize || length > PAGE_BYTES {
            page.next = page.entries.last().map(|(key, _)| key.clone());
            break;
        }
        length += entry.value.len();
        page.entries.push((row.key, entry));
    }
    Ok(page)
}

/// The commits after `after` that touch `prefix`, as many as one read may take, none of them split.
pub(super) fn stretch(db: &Connection, prefix: &Prefix, after: Rev) -> rusqlite::Result<Stretch> {
    let head = head(db)?;
    let upto = head.min(Rev(after.0.saturating_add(STRETCH_REVS)));
    let mut rows = db.prepare_cached(STRETCH)?;
    let range = (first_seq(after.next()), first_seq(upto.next()), prefix.as_bytes(), prefix.end());
    let (batches, upto) = batches(rows.query(range)?, upto)?;
    Ok(Stretch { batches, upto, head })
}

/// What commits after `after` left that is still there at `at`, as much as one read may take.
pub(super) fn survivors(db: &Connection, after: Rev, at: Rev) -> rusqlite::Result<Survivors> {
    let upto = at.min(Rev(after.0.saturating_add(STRETCH_REVS)));
    let mut rows = db.prepare_cached(SURVIVORS)?;
    let range = (first_seq(after.next()), first_seq(upto.next()), first_seq(at.next()));
    let (batches, upto) = batches(rows.query(range)?, upto)?;
    Ok(Survivors { batches, at, next: (upto < at).then_some(upto) })
}

/// Writes a commit and its receipt at the revision `rev`.
pub(super) fn append(db: &Connection, rev: Rev, commit: &Commit, known: &mut Known) -> rusqlite::Result<()> {
    for (seq, op) in (first_seq(rev)..).zip(commit.ops()) {
        let live = known.live(db, op.key())?;
        if live.is_none() && op.value().is_none() {
            continue;
        }
        let create_rev = live.map_or(rev, |live| live.create_rev);
        let row =
            Logged { seq, key: op.key().clone(), create_rev, value: op.value().cloned(), lease: op.lease() };
        row.insert(db)?;
        attached::moved(db, op.key(), live.and_then(|live| live.lease), op.lease())?;
    }
    Receipt { rev, op_id: commit.op_id(), digest: *commit.digest() }.insert(db)
}

/// Takes rows as batches until they are many bytes; says up to which revision all are there.
fn batches(mut rows: rusqlite::Rows<'_>, upto: Rev) -> rusqlite::Result<(Vec<Batch>, Rev)> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut length = 0;
    while let Some(row) = rows.next()? {
        let row = Logged::read(row)?;
        let rev = row.rev();
        let more = row.value.as_ref().map_or(0, |value| value.len());
        match batches.last_mut() {
            Some(batch) if batch.rev == rev => batch.events.push(row.into_event()),
            Some(batch) if length > PAGE_BYTES => {
                let upto = batch.rev;
                return Ok((batches, upto));
            }
            _ => batches.push(Batch { rev, events: vec![row.into_event()] }),
        }
        length += more;
    }
    Ok((batches, upto))
}

const NEWEST: &str =
    "SELECT seq, key, create_rev, value, lease, sum FROM log WHERE key = ?1 ORDER BY seq DESC LIMIT 1";

const ROW: &str = "SELECT seq, key, create_rev, value, lease, sum FROM log WHERE seq = ?1";

/// Forced along the log: by the index of keys it would sort the whole prefix first.
const STRETCH: &str = "SELECT seq, key, create_rev, value, lease, sum FROM log NOT INDEXED
    WHERE seq >= ?1 AND seq < ?2 AND key >= ?3 AND key < ?4 ORDER BY seq";

const SURVIVORS: &str = "SELECT seq, key, create_rev, value, lease, sum FROM log AS l NOT INDEXED
    WHERE seq >= ?1 AND seq < ?2 AND value IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM log WHERE key = l.key AND seq > l.seq AND seq < ?3) ORDER BY seq";

/// Bytes of values after which a page or stretch ends.
const PAGE_BYTES: usize = 1 << 20;

/// Revisions that one read of the log looks at, so that no read takes long.
const STRETCH_REVS: u64 = 4096;
