//! What the writer knows of keys without asking: it alone writes, so what it wrote or read last is what there is.

use std::collections::HashMap;

use rusqlite::Connection;

use super::{newest, row::Logged};
use crate::store::{Key, LeaseId, Rev};

/// The newest rows of some keys, values left out. What a transaction that fails has put in here must be forgotten.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<Key, Option<Tip>>);

/// The newest row of a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tip {
    pub(super) seq: i64,
    /// `None` when it is a delete.
    pub(super) live: Option<Live>,
}

/// A key that has a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    pub(super) create_rev: Rev,
    pub(super) mod_rev: Rev,
    pub(super) lease: Option<LeaseId>,
}

impl Known {
    /// The newest row of `key`; `None` when it has none.
    pub(super) fn tip(&mut self, db: &Connection, key: &Key) -> rusqlite::Result<Option<Tip>> {
        if let Some(known) = self.0.get(key) {
            return Ok(*known);
        }
        let tip = newest::row(db, key)?.map(|row| Tip::of(&row));
        self.0.insert(key.clone(), tip);
        Ok(tip)
    }

    /// When `key` was created and changed; `None` when it has no value.
    pub(super) fn live(&mut self, db: &Connection, key: &Key) -> rusqlite::Result<Option<Live>> {
        Ok(self.tip(db, key)?.and_then(|tip| tip.live))
    }

    /// Takes note of a row that was added to the log.
    pub(super) fn learn(&mut self, row: Logged) {
        let tip = Tip::of(&row);
        self.0.insert(row.key, Some(tip));
    }

    /// Begins anew once it knows many keys; what is still in use comes back by itself.
    pub(super) fn bound(&mut self) {
        if self.0.len() > KEYS {
            self.forget();
        }
    }

    pub(super) fn forget(&mut self) {
        self.0 = HashMap::new();
    }
}

impl Tip {
    fn of(row: &Logged) -> Self {
        let live = Live { create_rev: row.create_rev, mod_rev: row.rev(), lease: row.lease };
        Self { seq: row.seq, live: row.value.is_some().then_some(live) }
    }
}

/// Keys that are known between two groups: some MiB, with keys of the usual length.
const KEYS: usize = 16_384;
