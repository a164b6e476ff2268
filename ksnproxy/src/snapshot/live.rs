//! The snapshot that is answered from now, and changing it under a running server.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use klnet_wire::signed::PublicKey;

use super::lookup::Snapshot;
use super::store::{SnapshotStore, StoreError};

/// The current snapshot of a store. Whoever holds one keeps it until done: a change fails no lookup.
pub struct Live {
    store: SnapshotStore,
    trusted: Vec<PublicKey>,
    snapshot: ArcSwap<Snapshot>,
    /// The file that was looked at last, good or not.
    seen: Mutex<Option<FileId>>,
}

/// What tells one file from another of the same name: its inode, size, and time in nanoseconds.
type FileId = (u64, u64, i64, i64);

/// What looking for another snapshot came to.
#[derive(Debug)]
pub enum Refreshed {
    /// It is the one that is answered from.
    Same,
    /// Another one is answered from.
    Changed,
    /// Another one is there, cannot be used, and was left alone.
    Refused(StoreError),
}

impl Live {
    /// Loads the store's snapshot, or its previous one; then the second value says what is wrong with the current.
    ///
    /// # Errors
    /// [`StoreError`] when neither can be used.
    pub fn open(
        store: SnapshotStore,
        trusted: Vec<PublicKey>,
    ) -> Result<(Self, Option<StoreError>), StoreError> {
        let seen = Mutex::new(file_id(&store));
        let (snapshot, wrong) = store.load(&trusted)?;
        Ok((Self { store, trusted, snapshot: ArcSwap::from_pointee(snapshot), seen }, wrong))
    }

    /// The snapshot to answer from.
    pub fn snapshot(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Looks whether another snapshot was published, loads it and answers from it. Call it off the threads that answer.
    pub fn refresh(&self) -> Refreshed {
        let Ok(mut seen) = self.seen.lock() else { return Refreshed::Same };
        let now = file_id(&self.store);
        if now == *seen {
            return Refreshed::Same;
        }
        *seen = now;
        match self.store.load_current(&self.trusted) {
            Ok(snapshot) => {
                self.snapshot.store(Arc::new(snapshot));
                Refreshed::Changed
            }
            Err(error) => Refreshed::Refused(error),
        }
    }
}

fn file_id(store: &SnapshotStore) -> Option<FileId> {
    let about = fs::metadata(store.current()).ok()?;
    Some((about.ino(), about.size(), about.mtime(), about.mtime_nsec()))
}
