//! One row of the log: an operation as it was applied, never taken without its checksum.

use bytes::Bytes;
use rusqlite::{
    Connection, Row, ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, Type, ValueRef},
};

use super::sum;
use crate::store::{Entry, Event, Key, LeaseId, Rev};

/// What one operation left in the log; a delete has no value.
#[derive(Clone, Debug)]
pub(super) struct Logged {
    pub(super) seq: i64,
    pub(super) key: Key,
    pub(super) create_rev: Rev,
    pub(super) value: Option<Bytes>,
    pub(super) lease: Option<LeaseId>,
    /// The row before it of the same key, which may have been swept.
    pub(super) prev: Option<i64>,
}

impl Logged {
    /// Reads the columns [`COLUMNS`].
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let key = key(row, 1)?;
        let value = row.get_ref(3)?.as_blob_or_null()?.map(Bytes::copy_from_slice);
        let (seq, create_rev, lease, prev) = (row.get(0)?, row.get(2)?, row.get(4)?, row.get(5)?);
        let (logged, sum) = (Self { seq, key, create_rev, value, lease, prev }, row.get(6)?);
        logged.summed(|parts| sum::check("log", seq, parts, sum))?;
        Ok(logged)
    }

    /// Adds the row to the log.
    pub(super) fn insert(&self, db: &Connection) -> rusqlite::Result<()> {
        let sql = "INSERT INTO log (seq, key, create_rev, value, lease, prev, sum)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let (value, sum) = (self.value.as_deref(), self.sum());
        let row = (self.seq, self.key.as_bytes(), self.create_rev, value, self.lease, self.prev, sum);
        db.prepare_cached(sql)?.execute(row).map(drop)
    }

    /// The checksum of the row.
    pub(super) fn sum(&self) -> i64 {
        self.summed(|parts| sum::of("log", parts))
    }

    pub(super) const fn rev(&self) -> Rev {
        rev_of(self.seq)
    }

    /// What the key holds from this row on.
    pub(super) fn entry(&self) -> Option<Entry> {
        let value = self.value.clone()?;
        Some(Entry { value, create_rev: self.create_rev, mod_rev: self.rev(), lease: self.lease })
    }

    pub(super) fn into_event(self) -> Event {
        Event { entry: self.entry(), key: self.key }
    }

    fn summed<T>(&self, sum: impl FnOnce(&[Option<&[u8]>]) -> T) -> T {
        let (seq, create_rev) = (self.seq.to_be_bytes(), self.create_rev.0.to_be_bytes());
        let lease = self.lease.as_ref().map(|lease| &lease.0[..]);
        let prev = self.prev.map(i64::to_be_bytes);
        let (prev, key) = (prev.as_ref().map(|prev| &prev[..]), Some(self.key.as_bytes()));
        sum(&[Some(&seq), Some(&create_rev), lease, prev, key, self.value.as_deref()])
    }
}

/// Reads a column as a key.
pub(super) fn key(row: &Row<'_>, column: usize) -> rusqlite::Result<Key> {
    Key::new(row.get_ref(column)?.as_blob()?.to_vec())
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(error)))
}

/// The row of the first operation of a commit.
pub(super) fn first_seq(rev: Rev) -> i64 {
    // No store lives to see revision 2^55, but a caller may name it.
    const LAST: i64 = i64::MAX >> PLACE_BITS;
    i64::try_from(rev.0).map_or(LAST, |rev| rev.min(LAST)) << PLACE_BITS
}

/// The commit of a row; none of ours is negative, and what a damaged file says is found out elsewhere.
pub(super) const fn rev_of(seq: i64) -> Rev {
    Rev((seq >> PLACE_BITS).unsigned_abs())
}

impl ToSql for Rev {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        i64::try_from(self.0)
            .map(ToSqlOutput::from)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
    }
}

impl FromSql for Rev {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = i64::column_result(value)?;
        u64::try_from(number).map(Self).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

impl ToSql for LeaseId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(&self.0[..]))
    }
}

impl FromSql for LeaseId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        <[u8; 16]>::column_result(value).map(Self)
    }
}

/// The columns of [`Logged::read`], in its order.
pub(super) const COLUMNS: &str = "seq, key, create_rev, value, lease, prev, sum";

/// Bits of a row number for the place in the commit; `Limits::ops` needs six.
const PLACE_BITS: u32 = 8;
