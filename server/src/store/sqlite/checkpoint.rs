//! Folding the WAL back into the database beside the writer, which would otherwise stop for it.
//!
//! ```text
//! writer ── every few MiB ──▶ this thread: PASSIVE checkpoint, on a connection of its own
//!    └── WAL at its bound: folds what is left itself, which is little, and begins the WAL anew
//! ```
//! Only the writer can begin the WAL anew, and only when all of it is folded, which it never is for this thread while
//! commits go on. What a sync of the writer's has failed to write is not in the WAL's index, so it is not folded here.

use std::{io, path::Path, sync::mpsc, thread};

use rusqlite::Connection;

use super::{medium::Medium, open};

/// The thread; dropping it waits until it has ended.
#[derive(Debug)]
pub(super) struct Checkpointer {
    /// `None` once it is being ended.
    asked: Option<mpsc::SyncSender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    /// Bytes committed since it was last asked.
    bytes: usize,
}

impl Checkpointer {
    /// Starts the thread on a connection of its own.
    pub(super) fn start(db: Connection) -> io::Result<Self> {
        let (asked, asks) = mpsc::sync_channel(1);
        let thread =
            thread::Builder::new().name("store-checkpoint".into()).spawn(move || fold(&db, &asks))?;
        Ok(Self { asked: Some(asked), thread: Some(thread), bytes: 0 })
    }

    /// Takes note of what was committed, and folds once it is much.
    pub(super) fn note(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= FOLD_BYTES {
            self.bytes = 0;
            // When it is still busy it is asked already.
            let _ = self.asked.as_ref().map(|asked| asked.try_send(()));
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.asked = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("store checkpointer panicked");
        }
    }
}

/// A connection for it.
pub(super) fn connect(path: &Path, medium: Medium) -> rusqlite::Result<Connection> {
    let db = open::reader(path, medium)?;
    db.pragma_update(None, "query_only", false)?;
    db.pragma_update(None, "synchronous", medium.synchronous)?;
    Ok(db)
}

fn fold(db: &Connection, asks: &mpsc::Receiver<()>) {
    while asks.recv().is_ok() {
        // What fails here is left to the writer, which meets the same fault.
        if let Err(error) = db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            tracing::debug!(%error, "the WAL was not folded");
        }
    }
}

/// Bytes of keys and values between two folds: a quarter of what the WAL grows to, or more with what goes with them.
const FOLD_BYTES: usize = 4 << 20;
