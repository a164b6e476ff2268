//! The store in one SQLite file: WAL, `synchronous=FULL`, one writer thread, one that folds the WAL beside it, a few
//! read connections.
//!
//! Commits that wait together share a transaction and its fsync, and are answered only after COMMIT.
//! Guards are judged before the first write of a commit, so a conflict leaves nothing to undo and its
//! neighbours in the transaction go through. Every row has a checksum, and what follows it is read only with it.

mod append;
mod attached;
mod backup;
mod checkpoint;
mod damage;
mod desk;
mod error;
mod group;
mod history;
mod inspect;
mod job;
mod known;
mod leases;
mod lock;
mod log;
mod medium;
mod newest;
mod open;
mod readers;
mod receipt;
mod replace;
mod reserve;
mod row;
mod schema;
mod sum;
mod sweep;
mod tail;
mod window;
mod writer;

#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc, time::Duration};

use rusqlite::ErrorCode;
use tokio::{sync::broadcast, task::spawn_blocking};

pub use self::{
    backup::{Backup, BackupError, backup},
    error::OpenError,
    inspect::{FINDINGS, Inspection, inspect},
    replace::replace,
};
use self::{
    checkpoint::Checkpointer, desk::Desk, history::History, job::Errand, medium::Medium, readers::Readers,
    receipt::head, reserve::Reserve, tail::Tail, window::Window, writer::Writer,
};
use super::{
    BoxFuture, Commit, CommitError, Entry, Incarnation, Key, LeaseError, LeaseId, Page, Prefix, Read,
    ReadError, Rev, Store, Survivors, Unavailable, Watch, lease,
};

/// The embedded store. Dropping it waits for the commits already accepted, and ends every watch.
#[derive(Debug)]
pub struct SqliteStore {
    incarnation: Incarnation,
    // Before the writer, so that the last connection to close is the one that can fold the WAL back.
    readers: Arc<Readers>,
    writer: Arc<Writer>,
}

impl SqliteStore {
    /// Opens the store in the file `path`, or makes it there with mode 0600; blocks.
    ///
    /// The file is checked first, which takes time with its size.
    ///
    /// # Errors
    /// [`OpenError`], which names the file: locked by another process, damaged, of a newer schema, not ours.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_on(path, Medium::DISK)
    }

    fn open_on(path: &Path, medium: Medium) -> Result<Self, OpenError> {
        let failed = |source| error::failed(path, source);
        let (db, lock) = open::writer(path, medium)?;
        let incarnation = History::read(&db).map_err(failed)?.incarnation;
        let readers = Readers::open(path, medium).map_err(failed)?;
        let (notices, _) = broadcast::channel(NOTICES);
        let weak = notices.downgrade();
        let (reserve, window) = (Reserve::beside(path, medium.reserve), Window::new(medium.history));
        let io = |source| OpenError::Io { path: path.into(), source };
        let checkpointer = checkpoint::connect(path, medium).map_err(failed)?;
        let checkpointer = Checkpointer::start(checkpointer).map_err(io)?;
        let desk = Desk::new(db, lock, reserve, window, checkpointer, notices).map_err(failed)?;
        let writer = Writer::start(desk, weak).map_err(io)?;
        Ok(Self { incarnation, readers: Arc::new(readers), writer: Arc::new(writer) })
    }

    /// Whether this version could open the store at `path`, which another process may be using; blocks.
    ///
    /// # Errors
    /// [`OpenError`] as from [`SqliteStore::open`], as far as it can be known without changing anything.
    pub fn check(path: &Path) -> Result<(), OpenError> {
        let db = open::reader(path, Medium::DISK).map_err(|source| error::failed(path, source))?;
        schema::check(path, &db).map(drop)
    }

    /// Reads a snapshot: `at`, or the newest one.
    async fn snapshot<T: Send + 'static>(
        &self,
        at: Option<Rev>,
        read: impl FnOnce(&rusqlite::Connection, Rev) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ReadError> {
        let snapshot = move |db: &rusqlite::Connection| {
            let (head, oldest) = (head(db)?, History::read(db)?.oldest);
            match at.unwrap_or(head) {
                asked if asked > head => Ok(Err(ReadError::Ahead { asked, head })),
                asked if asked < oldest => Ok(Err(ReadError::Compacted { asked, oldest })),
                at => read(db, at).map(Ok),
            }
        };
        self.readers.read(snapshot).await
    }
}

impl Store for SqliteStore {
    fn apply(&self, commit: Commit) -> BoxFuture<'_, Result<Rev, CommitError>> {
        Box::pin(self.writer.commit(commit))
    }

    fn get(&self, key: &Key, read: Read) -> BoxFuture<'_, Result<(Option<Entry>, Rev), ReadError>> {
        let key = key.clone();
        Box::pin(self.readers.read(move |db| {
            // A read transaction sees every acknowledged commit, so each read is linearizable.
            let head = head(db)?;
            match read {
                Read::AtLeast(asked) if asked > head => Ok(Err(ReadError::Ahead { asked, head })),
                _ => Ok(Ok((log::entry(db, &key)?, head))),
            }
        }))
    }

    fn scan(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: u32,
        at: Option<Rev>,
    ) -> BoxFuture<'_, Result<Page, ReadError>> {
        let (prefix, after) = (prefix.clone(), after.cloned());
        Box::pin(self.snapshot(at, move |db, at| log::page(db, &prefix, after.as_ref(), limit, at)))
    }

    fn watch(&self, prefix: Prefix, after: Rev) -> Watch {
        Watch::new(Tail::new(prefix, after, self.writer.notices(), &self.readers))
    }

    fn survivors(&self, after: Rev, at: Option<Rev>) -> BoxFuture<'_, Result<Survivors, ReadError>> {
        Box::pin(self.snapshot(at, move |db, at| log::survivors(db, after, at)))
    }

    fn grant_lease(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, LeaseError>> {
        Box::pin(async move {
            let ttl = lease::admit(ttl)?;
            self.writer.run(|answer| Errand::Grant(ttl, answer)).await
        })
    }

    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), LeaseError>> {
        Box::pin(self.writer.run(move |answer| Errand::KeepAlive(lease, answer)))
    }

    fn revoke_lease(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), LeaseError>> {
        Box::pin(self.writer.run(move |answer| Errand::Revoke(lease, answer)))
    }

    fn compact(&self, oldest: Rev) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(self.writer.run(move |answer| Errand::Compact(oldest, answer)))
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    fn waiting(&self) -> usize {
        self.writer.waiting()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.readers.close().await;
            let writer = Arc::clone(&self.writer);
            if let Err(error) = spawn_blocking(move || writer.stop()).await {
                tracing::error!(%error, "the store's writer could not be stopped");
            }
        })
    }
}

/// What an error of the engine means for a caller whose transaction was certainly not committed.
fn unavailable(error: &rusqlite::Error) -> Unavailable {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Unavailable::DiskFull,
        _ if damage::is_damage(error) => Unavailable::Damaged(error.to_string()),
        _ => Unavailable::Fault(error.to_string()),
    }
}

/// Notices a watch may fall behind before it reads the log instead.
const NOTICES: usize = 1024;
