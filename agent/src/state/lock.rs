//! One agent per state folder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};

use super::{Folder, StateError};

/// Held while a process uses a state folder; freed by the system when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Folder {
    /// Takes the folder for this process, and makes it when it is not there.
    ///
    /// # Errors
    /// [`StateError::Locked`] while another process has it.
    pub fn lock(&self) -> Result<Lock, StateError> {
        fs::create_dir_all(&self.path).map_err(|error| StateError::Io { path: self.path.clone(), error })?;
        let mut file = self.open_lock(OpenOptions::new().write(true).create(true).truncate(false))?;
        match file.try_lock() {
            Ok(()) => {
                // For the message of whoever comes next; nothing depends on it.
                let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                Ok(Lock { _file: file })
            }
            Err(TryLockError::WouldBlock) => Err(self.locked()),
            Err(TryLockError::Error(error)) => Err(self.io(error)),
        }
    }

    /// Whether an agent uses the folder now.
    ///
    /// # Errors
    /// [`StateError::Io`] when this user may not know.
    pub fn is_locked(&self) -> Result<bool, StateError> {
        let file = match self.open_lock(OpenOptions::new().read(true)) {
            Err(StateError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(self.io(error)),
        }
    }

    /// Follows no link and waits for no pipe: root enrols in a folder whose files are a service account's.
    fn open_lock(&self, options: &mut OpenOptions) -> Result<File, StateError> {
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
        options.open(self.file(LOCK)).map_err(|error| self.io(error))
    }

    fn locked(&self) -> StateError {
        StateError::Locked { path: self.path.clone(), holder: self.holder() }
    }

    /// The process that uses the folder, or did last, as it has written down itself.
    pub fn holder(&self) -> Option<String> {
        let mut holder = String::new();
        let read = self.open_lock(OpenOptions::new().read(true)).map(|file| file.take(16));
        let read = read.is_ok_and(|mut file| file.read_to_string(&mut holder).is_ok());
        (read && !holder.is_empty()).then_some(holder)
    }

    fn io(&self, error: io::Error) -> StateError {
        StateError::Io { path: self.file(LOCK), error }
    }
}

const LOCK: &str = "lock";
