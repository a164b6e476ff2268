//! A few read connections, used on blocking threads.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::Connection;
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{medium::Medium, open, receipt, unavailable};
use crate::store::{ReadError, Unavailable};

/// Read connections, all of them open from the start: the store holds as many descriptors busy as idle.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    medium: Medium,
    idle: Mutex<Vec<Connection>>,
    busy: Arc<Semaphore>,
    line: Semaphore,
}

impl Readers {
    pub(super) fn open(path: &Path, medium: Medium) -> rusqlite::Result<Self> {
        let warm = |_| {
            let db = open::reader(path, medium)?;
            receipt::head(&db)?; // SQLite opens its files with the first read
            Ok(db)
        };
        let idle: rusqlite::Result<Vec<_>> = (0..CONNECTIONS).map(warm).collect();
        Ok(Self {
            path: path.into(),
            medium,
            idle: Mutex::new(idle?),
            busy: Arc::new(Semaphore::new(CONNECTIONS)),
            line: Semaphore::new(WAITING),
        })
    }

    /// Runs `work` in one read transaction, so that all it reads is of one moment.
    pub(super) async fn read<T, F>(self: &Arc<Self>, work: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<Result<T, ReadError>> + Send + 'static,
    {
        let _place = self.line.try_acquire().map_err(|_| Unavailable::QueueFull)?;
        let busy = Arc::clone(&self.busy).acquire_owned().await.map_err(|_| Unavailable::Closed)?;
        let readers = Arc::clone(self);
        let done = spawn_blocking(move || {
            // Held to the end of the work even when the caller stops waiting.
            let _busy = busy;
            readers.run(work)
        });
        let result = done.await.map_err(|error| Unavailable::Fault(error.to_string()))?;
        result.map_err(|error| unavailable(&error))?
    }

    /// Waits for the reads under way, and closes every connection; no read begins any more.
    pub(super) async fn close(&self) {
        // An error means that they are closed already.
        let _all = self.busy.acquire_many(ALL).await;
        self.busy.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn run<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<Result<T, ReadError>>,
    ) -> rusqlite::Result<Result<T, ReadError>> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let db = match idle {
            Some(db) => db,
            None => open::reader(&self.path, self.medium)?,
        };
        let result = {
            let snapshot = db.unchecked_transaction()?;
            work(&snapshot)
        };
        // A connection that failed is dropped instead: a fresh one knows nothing of the fault.
        if result.is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(db);
        }
        result
    }
}

/// Reads at a time: SQLite's readers do not wait for each other, but they share the machine's cores.
const CONNECTIONS: usize = 4;
const ALL: u32 = 4;

/// Reads that may wait or run; beyond it callers get `QueueFull`.
const WAITING: usize = 4096;
