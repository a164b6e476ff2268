//! What the store lies on. In the product there is one; tests put it on a disk whose power can be cut.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};

use crate::store::HISTORY;

/// How files are reached, and how far they are trusted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Medium {
    /// Name of SQLite's way to the files; `None`: the system's own.
    pub(super) vfs: Option<&'static str>,
    /// SQLite's `synchronous`: what is less than `FULL` loses acknowledged commits.
    pub(super) synchronous: &'static str,
    /// Bytes put aside for a full disk.
    pub(super) reserve: u64,
    /// How long at least receipts and history are kept.
    pub(super) history: Duration,
}

impl Medium {
    /// What every server uses.
    pub(super) const DISK: Self = Self { vfs: None, synchronous: "FULL", reserve: RESERVE, history: HISTORY };

    pub(super) fn connect(self, path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
        match self.vfs {
            Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs),
            None => Connection::open_with_flags(path, flags),
        }
    }
}

/// 16 MiB: half of what a WAL grows to, and thousands of small commits.
const RESERVE: u64 = 16 << 20;
