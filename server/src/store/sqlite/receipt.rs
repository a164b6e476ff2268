//! Receipts: what a commit leaves behind for its retries; the newest one is the head of the store.

use rusqlite::{Connection, OptionalExtension, Row};

use super::sum;
use crate::store::{OpId, Rev};

/// What a commit left behind for its retries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt {
    pub(super) rev: Rev,
    pub(super) op_id: OpId,
    pub(super) digest: [u8; 32],
}

impl Receipt {
    /// The receipt of an earlier commit under this id.
    pub(super) fn of(db: &Connection, op_id: OpId) -> rusqlite::Result<Option<Self>> {
        db.prepare_cached("SELECT rev, op_id, digest, sum FROM receipt WHERE op_id = ?1")?
            .query_row([blob(op_id)], Self::read)
            .optional()
    }

    /// Reads rev, op_id, digest and sum.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (op_id, sum) = (id(row.get(1)?), row.get(3)?);
        let receipt = Self { rev: row.get(0)?, op_id, digest: row.get(2)? };
        receipt.summed(|parts| sum::check("receipt", row.get(0).unwrap_or_default(), parts, sum))?;
        Ok(receipt)
    }

    /// Keeps the receipt; `false` when there is one under its id.
    pub(super) fn insert(&self, db: &Connection) -> rusqlite::Result<bool> {
        let sum = self.summed(|parts| sum::of("receipt", parts));
        let sql = "INSERT INTO receipt (rev, op_id, digest, sum) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (op_id) DO NOTHING";
        let added = db.prepare_cached(sql)?.execute((self.rev, blob(self.op_id), self.digest, sum))?;
        Ok(added > 0)
    }

    fn summed<T>(&self, sum: impl FnOnce(&[Option<&[u8]>]) -> T) -> T {
        sum(&[Some(&self.rev.0.to_be_bytes()), Some(&blob(self.op_id)), Some(&self.digest)])
    }
}

/// The newest revision.
pub(super) fn head(db: &Connection) -> rusqlite::Result<Rev> {
    let newest = db
        .prepare_cached("SELECT rev, op_id, digest, sum FROM receipt ORDER BY rev DESC LIMIT 1")?
        .query_row([], Receipt::read)
        .optional()?;
    Ok(newest.map_or(Rev::ZERO, |receipt| receipt.rev))
}

/// Forgets some receipts up to `upto`, but never the newest, which is the head.
pub(super) fn forget(db: &Connection, upto: Rev) -> rusqlite::Result<usize> {
    db.prepare_cached(
        "DELETE FROM receipt WHERE rev IN (
             SELECT rev FROM receipt WHERE rev <= ?1 AND rev < (SELECT max(rev) FROM receipt)
             ORDER BY rev LIMIT ?2)",
    )?
    .execute((upto, FORGET_ROWS))
}

fn blob(op_id: OpId) -> [u8; 32] {
    let mut blob = [0; 32];
    blob[..16].copy_from_slice(&op_id.principal);
    blob[16..].copy_from_slice(&op_id.id);
    blob
}

fn id(blob: [u8; 32]) -> OpId {
    let (mut principal, mut id) = ([0; 16], [0; 16]);
    principal.copy_from_slice(&blob[..16]);
    id.copy_from_slice(&blob[16..]);
    OpId { principal, id }
}

/// Receipts deleted in one transaction: more than it can add, so forgetting keeps up.
const FORGET_ROWS: u32 = 512;
