//! The snapshot a proxy answers from: loaded at the start, and again whenever the file is another one.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use klnet_wire::signed::PublicKey;
use tokio_util::sync::CancellationToken;

use super::snapshot_file::SnapshotFile;
use super::version::FileVersion;
use crate::responder::Shared;
use crate::snapshot::{Snapshot, SnapshotError};

/// A snapshot's file, as it was when it was loaded.
#[derive(Debug)]
pub(super) struct Local {
    path: PathBuf,
    trusted: Vec<PublicKey>,
    seen: Option<FileVersion>,
}

/// Why a snapshot cannot be answered from.
#[derive(Debug, thiserror::Error)]
#[error("snapshot {}: {error}", .path.display())]
pub struct LoadError {
    path: PathBuf,
    error: SnapshotError,
}

impl Local {
    /// Loads the file, so that the first query is answered from it. The second value is whether that was done: a file
    /// that is replicated may not be there yet, or is mended.
    ///
    /// # Errors
    /// [`LoadError`] when it cannot be read, or nobody who is trusted has signed it.
    pub(super) fn open(file: &SnapshotFile, shared: &Shared) -> Result<(Self, bool), LoadError> {
        let mut local = Self { path: file.path.clone(), trusted: file.trusted.clone(), seen: None };
        match local.reload(shared) {
            Ok(()) => Ok((local, true)),
            Err(error) if file.replicated.is_some() => {
                if local.seen.is_some() {
                    tracing::warn!(%error, "the snapshot is replicated anew");
                }
                Ok((local, false))
            }
            Err(error) => Err(error),
        }
    }

    /// Looks for another file until shutdown. One that is not usable changes nothing.
    pub(super) async fn follow(mut self, shared: Arc<Shared>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = shutdown.cancelled() => return,
            }
            if FileVersion::of(&self.path) == self.seen {
                continue;
            }
            let shared = Arc::clone(&shared);
            let loading = tokio::task::spawn_blocking(move || {
                match self.reload(&shared) {
                    Ok(()) => {
                        tracing::info!(path = %self.path.display(), "another snapshot is answered from")
                    }
                    Err(error) => tracing::warn!(%error, "the snapshot before is answered from"),
                }
                self
            });
            // A reload does not panic, and is not cancelled.
            let Ok(loaded) = loading.await else { return };
            self = loaded;
        }
    }

    fn reload(&mut self, shared: &Shared) -> Result<(), LoadError> {
        self.seen = FileVersion::of(&self.path);
        let loaded = File::open(&self.path).map_err(SnapshotError::from);
        let loaded = loaded.and_then(|file| Snapshot::load(file, &self.trusted));
        let failed = |error| LoadError { path: self.path.clone(), error };
        shared.snapshot.store(Some(Arc::new(loaded.map_err(failed)?)));
        Ok(())
    }
}

/// How soon another snapshot is answered from.
const INTERVAL: Duration = Duration::from_secs(2);
