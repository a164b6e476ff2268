//! A backup: an export read from the file by a connection of its own, beside whoever has the store.

use std::{io::Write, path::Path};

use super::{OpenError, error::failed, history::History, log, medium::Medium, open, receipt::head, schema};
use crate::store::{
    Rev,
    export::{Encoder, Header},
};

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The backup cannot be written.
    #[error("the backup cannot be written: {0}")]
    Io(#[from] std::io::Error),
}

/// What was backed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Whose history, and at which revision.
    pub header: Header,
    /// Keys and values.
    pub entries: u64,
}

/// Exports the store at `path`, which another process may be using: a reader waits for nobody, and nobody for it. While
/// it reads, the WAL grows by what is committed.
///
/// # Errors
/// [`BackupError`]; what was written until then is no backup.
pub fn backup(path: &Path, output: impl Write) -> Result<Backup, BackupError> {
    let failed = |source| failed(path, source);
    let db = open::reader(path, Medium::DISK).map_err(failed)?;
    schema::check_newest(path, &db)?;
    let snapshot = db.unchecked_transaction().map_err(failed)?;
    let (at, incarnation) =
        (head(&snapshot).map_err(failed)?, History::read(&snapshot).map_err(failed)?.incarnation);
    let header = Header { incarnation, at };
    let mut encoder = Encoder::new(output, header)?;
    let mut after = Some(Rev::ZERO);
    while let Some(from) = after {
        let page = log::survivors(&snapshot, from, at).map_err(failed)?;
        page.batches.iter().try_for_each(|batch| encoder.batch(batch))?;
        after = page.next;
    }
    Ok(Backup { header, entries: encoder.finish()? })
}
