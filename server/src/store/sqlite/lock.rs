//! The lock file beside the database: one server per state file, and how the last one stopped.

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

/// Held while the database is open.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

/// How the last holder let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastStop {
    Clean,
    Unclean,
}

impl Lock {
    /// Locks the database file `path` against other processes.
    pub(super) fn take(path: &Path) -> Result<(Self, LastStop), OpenError> {
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
                let holder = read_state(&mut file).unwrap_or_default();
                return Err(OpenError::Locked { path: path.into(), holder });
            }
            Err(errno) => return Err(io(errno.into())),
        };
        let last = if state.is_empty() || state == CLEAN { LastStop::Clean } else { LastStop::Unclean };
        write_state(&file, &std::process::id().to_string()).map_err(io)?;
        file.sync_all().map_err(io)?;
        Ok((Self { file }, last))
    }

    /// Lets go after the database was closed in order.
    pub(super) fn release(self) {
        // When this cannot be written the next start checks a database that needed none.
        if let Err(error) = write_state(&self.file, CLEAN) {
            tracing::debug!(%error, "clean stop not recorded");
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
    let mut state = String::new();
    file.take(STATE_WIDTH as u64).read_to_string(&mut state)?;
    Ok(state.trim_end().to_owned())
}

/// Writes over the old state at the same width, so that a full disk does not stand in the way.
fn write_state(file: &File, state: &str) -> io::Result<()> {
    let padded = format!("{state:<width$}\n", width = STATE_WIDTH - 1);
    file.write_all_at(padded.as_bytes(), 0)
}

/// What the file says after a clean stop; while the database is open it names the holder's process.
const CLEAN: &str = "clean";

/// A process id of ten digits and the end of the line.
const STATE_WIDTH: usize = 11;
