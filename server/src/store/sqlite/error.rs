//! Why a store's file cannot be opened.

use std::io;
use std::path::{Path, PathBuf};

use super::damage::is_damage;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another server runs on this file.
    #[error("store {} is in use by process {holder}", path.display())]
    Locked {
        /// The database file.
        path: PathBuf,
        /// Process id of the other server.
        holder: String,
    },
    /// The file or its directory cannot be used.
    #[error("store file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A reader keeps what an unclean stop has left from being settled.
    #[error("store {} is being read, by a backup perhaps; try again when that is done", path.display())]
    BeingRead {
        /// The database file.
        path: PathBuf,
    },
    /// What is stored is not what was written.
    #[error("store {} is damaged: {finding}", path.display())]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What was found first.
        finding: String,
    },
    /// A later version wrote the file.
    #[error("store {} has schema {found}, this server knows up to {known}", path.display())]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Schema of the file.
        found: u32,
        /// Newest schema of this server.
        known: u32,
    },
    /// An earlier version wrote the file, and no server of this one has opened it yet.
    #[error("store {} has schema {found}; a start of this server brings it to {known}", path.display())]
    Older {
        /// The database file.
        path: PathBuf,
        /// Schema of the file.
        found: u32,
        /// Schema of this server.
        known: u32,
    },
    /// A database, but not of this product.
    #[error("{} is not a klnet store", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The SQLite library is too old to trust.
    #[error("sqlite {found} is older than 3.51.3 and can corrupt a store under load")]
    OldSqlite {
        /// Version of the library.
        found: &'static str,
    },
    /// SQLite refuses.
    #[error("store {}: {source}", path.display())]
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// SQLite's error.
        source: rusqlite::Error,
    },
}

pub(super) fn failed(path: &Path, source: rusqlite::Error) -> OpenError {
    match is_damage(&source) {
        true => OpenError::Damaged { path: path.into(), finding: source.to_string() },
        false => OpenError::Sqlite { path: path.into(), source },
    }
}
