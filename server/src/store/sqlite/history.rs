//! The one row of the table `store`: which history this is, and how much of it is left.

use rusqlite::{Connection, OptionalExtension};

use super::{damage::Damage, row::first_seq, sum};
use crate::store::{Incarnation, Rev};

/// Which history, and from where on it is whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct History {
    pub(super) incarnation: Incarnation,
    /// The oldest revision whose state can be read.
    pub(super) oldest: Rev,
    /// Up to this row of the log, what no state from `oldest` on needs is deleted.
    pub(super) swept: i64,
}

impl History {
    /// A new history, nothing of it forgotten.
    pub(super) fn new(incarnation: Incarnation, oldest: Rev) -> Self {
        Self { incarnation, oldest, swept: 0 }
    }

    pub(super) fn read(db: &Connection) -> rusqlite::Result<Self> {
        let row = db
            .prepare_cached("SELECT incarnation, oldest, swept, sum FROM store")?
            .query_row([], |row| {
                let incarnation = Incarnation(row.get(0)?);
                Ok((Self { incarnation, oldest: row.get(1)?, swept: row.get(2)? }, row.get(3)?))
            })
            .optional()?;
        let (history, sum) = row.ok_or(Damage::Nameless)?;
        history.summed(|parts| sum::check("store", 1, parts, sum))?;
        Ok(history)
    }

    /// Writes the row over the one there is.
    pub(super) fn write(&self, db: &Connection) -> rusqlite::Result<()> {
        let sum = self.summed(|parts| sum::of("store", parts));
        db.prepare_cached("UPDATE store SET incarnation = ?1, oldest = ?2, swept = ?3, sum = ?4")?
            .execute((self.incarnation.0, self.oldest, self.swept, sum))
            .map(drop)
    }

    /// Forgets what came before `oldest`; says whether anything is to be swept now.
    pub(super) fn forget(db: &Connection, oldest: Rev) -> rusqlite::Result<bool> {
        let history = Self::read(db)?;
        if oldest > history.oldest {
            Self { oldest, ..history }.write(db)?;
        }
        Ok(oldest > history.oldest || history.is_to_be_swept())
    }

    /// Whether rows are left that nobody can read any more.
    pub(super) fn is_to_be_swept(&self) -> bool {
        self.oldest > Rev::ZERO && self.swept < self.last()
    }

    /// The last row there can be of the oldest revision.
    pub(super) fn last(&self) -> i64 {
        first_seq(self.oldest.next()) - 1
    }

    fn summed<T>(&self, sum: impl FnOnce(&[Option<&[u8]>]) -> T) -> T {
        let (oldest, swept) = (self.oldest.0.to_be_bytes(), self.swept.to_be_bytes());
        sum(&[Some(&self.incarnation.0), Some(&oldest), Some(&swept)])
    }
}
