//! The store in one SQLite file: WAL, `synchronous=FULL`, one writer thread, a few read connections.
//!
//! Commits that wait together share a transaction and its fsync, and are answered only after COMMIT.
//! Guards are judged before the first write of a commit, so a conflict leaves nothing to undo and its
//! neighbours in the transaction go through.

mod error;
mod lock;
mod log;
mod open;
mod readers;
mod schema;
mod tail;
mod window;
mod writer;

#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

use rusqlite::ErrorCode;
use tokio::task::spawn_blocking;

pub use self::error::OpenError;
pub(super) use self::tail::Tail;
use self::{readers::Readers, writer::Writer};
use super::{
    BoxFuture, Commit, CommitError, Entry, Incarnation, Key, Page, Prefix, Read, ReadError, Rev, Store,
    Unavailable, Watch,
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
    /// After a stop that was not clean the file is checked first, which takes time with its size.
    ///
    /// # Errors
    /// [`OpenError`], which names the file: locked by another process, damaged, of a newer schema, not ours.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let (db, lock) = open::writer(path)?;
        let incarnation = schema::incarnation(&db).map_err(|source| error::failed(path, source))?;
        let readers = Readers::open(path).map_err(|source| error::failed(path, source))?;
        let writer = Writer::start(db, lock).map_err(|source| OpenError::Io { path: path.into(), source })?;
        Ok(Self { incarnation, readers: Arc::new(readers), writer: Arc::new(writer) })
    }
}

impl SqliteStore {
    /// Whether this version could open the store at `path`, which another process may be using; blocks.
    ///
    /// # Errors
    /// [`OpenError`] as from [`SqliteStore::open`], as far as it can be known without changing anything.
    pub fn check(path: &Path) -> Result<(), OpenError> {
        let db = open::reader(path).map_err(|source| error::failed(path, source))?;
        schema::check(path, &db).map(drop)
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
            let head = log::head(db)?;
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
        let prefix = prefix.clone();
        let after = after.cloned();
        Box::pin(self.readers.read(move |db| {
            let (head, oldest) = (log::head(db)?, log::oldest(db)?);
            match at.unwrap_or(head) {
                asked if asked > head => Ok(Err(ReadError::Ahead { asked, head })),
                asked if asked < oldest => Ok(Err(ReadError::Compacted { asked, oldest })),
                at => log::page(db, &prefix, after.as_ref(), limit, at).map(Ok),
            }
        }))
    }

    fn watch(&self, prefix: Prefix, after: Rev) -> Watch {
        Watch(Tail::new(prefix, after, self.writer.notices(), &self.readers))
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
        _ => Unavailable::Fault(error.to_string()),
    }
}
