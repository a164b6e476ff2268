//! The lock file beside the database: one server per state file, how the last one stopped, and how far it had come.
//!
//! The revision in it is written after each commit, and never synced: it is at most as new as what is durable. A database
//! that ends before it has lost what was acknowledged, by a damaged WAL, say, which SQLite cuts off in silence.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::error::OpenError;
use crate::store::Rev;

/// Held while the database is open.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    head: Rev,
}

/// What the last holder left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) stop: LastStop,
    /// The newest revision it is known to have acknowledged.
    pub(super) head: Rev,
}

/// How the last holder let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastStop {
    Clean,
    Unclean,
}

impl Lock {
    /// Locks the database file `path` against other processes.
    pub(super) fn take(path: &Path) -> Result<(Self, Last), OpenError> {
        let beside = beside(path);
        let io = |source| OpenError::Io { path: beside.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&beside)
            .map_err(io)?;
        let state = match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => read_state(&mut file).map_err(io)?,
            Err(Errno::WOULDBLOCK) => {
                let state = read_state(&mut file).unwrap_or_default();
                let holder = state.split(' ').next().unwrap_or_default().to_owned();
                return Err(OpenError::Locked { path: path.into(), holder });
            }
            Err(errno) => return Err(io(errno.into())),
        };
        let last = Last::read(&state);
        let lock = Self { file, head: last.head };
        lock.write(&std::process::id().to_string()).map_err(io)?;
        lock.file.sync_all().map_err(io)?;
        Ok((lock, last))
    }

    /// Remembers that everything up to `head` is durable.
    pub(super) fn note(&mut self, head: Rev) {
        if std::mem::replace(&mut self.head, head) == head {
            return;
        }
        // When this cannot be written a later damage may go unnoticed; nothing else.
        if let Err(error) = self.write(&std::process::id().to_string()) {
            tracing::debug!(%error, "head not recorded");
        }
    }

    /// Begins anew at `head`, with another store in the place of the one there was.
    pub(super) fn begin(&mut self, head: Rev) -> io::Result<()> {
        self.head = head;
        self.write(&std::process::id().to_string())?;
        self.file.sync_all()
    }

    /// Lets go after the database was closed in order.
    pub(super) fn release(self) {
        // When this cannot be written the next start takes longer than it needs to.
        if let Err(error) = self.write(CLEAN) {
            tracing::debug!(%error, "clean stop not recorded");
        }
    }

    /// Writes over the old state at the same width, so that a full disk does not stand in the way.
    fn write(&self, holder: &str) -> io::Result<()> {
        let state = format!("{holder} {}", self.head);
        let padded = format!("{state:<width$}\n", width = STATE_WIDTH - 1);
        self.file.write_all_at(padded.as_bytes(), 0)
    }
}

impl Last {
    /// What a lock file says; of a damaged one only that the stop was not clean.
    fn read(state: &str) -> Self {
        let (holder, head) = state.split_once(' ').unwrap_or((state, ""));
        let head = head.trim().parse().map_or(Rev::ZERO, Rev);
        let stop = if holder.is_empty() || holder == CLEAN { LastStop::Clean } else { LastStop::Unclean };
        Self { stop, head }
    }

    /// What the lock file of the database `path` says, whoever holds it.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        match File::open(beside(path)) {
            Ok(mut file) => Ok(Self::read(&read_state(&mut file)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::read("")),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would leave the lock to a child process that is just being started and has not yet
        // dropped its copies of our files. A failure leaves it to the close.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".lock");
    name.into()
}

fn read_state(file: &mut File) -> io::Result<String> {
    let mut state = Vec::new();
    file.take(STATE_WIDTH as u64).read_to_end(&mut state)?;
    Ok(String::from_utf8_lossy(&state).trim_end().to_owned())
}

/// What the file says after a clean stop; while the database is open it names the holder's process.
const CLEAN: &str = "clean";

/// A process id of ten digits, a revision of twenty, and what ends each.
const STATE_WIDTH: usize = 32;
