//! Space put aside for the day the disk is full: SQLite needs some even to delete.
//!
//! ```text
//! held ──disk full──▶ given up: small commits and cleaning up go on, others are refused
//!   ▲                     │
//!   └─ twice the space is free again
//! ```

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// A file beside the database that is worth nothing but its size.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The file is there.
    Held,
    /// It was never there: the disk is too small, or too full already.
    Absent,
    /// It was given up for a full disk.
    GivenUp,
}

impl Reserve {
    /// Puts `bytes` aside beside the database `path`, when the disk has twice that.
    pub(super) fn beside(path: &Path, bytes: u64) -> Self {
        let mut name = OsString::from(path);
        name.push(".reserve");
        let mut reserve = Self { path: name.into(), bytes, state: State::Absent };
        match reserve.hold() {
            Ok(true) => {}
            Ok(false) => tracing::warn!(bytes, "no room for the store's reserve: a full disk will find none"),
            Err(error) => tracing::warn!(%error, "the store's reserve cannot be made"),
        }
        reserve
    }

    /// Gives the space back to the disk; `false` when there is none.
    pub(super) fn give_up(&mut self) -> bool {
        let held = self.state == State::Held && fs::remove_file(&self.path).is_ok();
        if held {
            self.state = State::GivenUp;
        }
        held
    }

    /// Whether the disk was full and has not recovered.
    pub(super) fn is_given_up(&self) -> bool {
        self.state == State::GivenUp
    }

    /// Puts the space aside again if there is enough; says whether the disk has recovered.
    pub(super) fn take_back(&mut self) -> bool {
        self.hold().unwrap_or(false)
    }

    fn hold(&mut self) -> io::Result<bool> {
        if !self.path.try_exists()? {
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let disk = statvfs(folder.unwrap_or(Path::new(".")))?;
            if disk.f_bavail.saturating_mul(disk.f_frsize) < self.bytes.saturating_mul(2) {
                return Ok(false);
            }
        }
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
        if let Err(error) = self.fill(&file) {
            fs::remove_file(&self.path)?;
            return Err(error);
        }
        self.state = State::Held;
        Ok(true)
    }

    fn fill(&self, file: &File) -> io::Result<()> {
        fallocate(file, FallocateFlags::empty(), 0, self.bytes)?;
        file.set_len(self.bytes)
    }
}
