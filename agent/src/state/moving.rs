//! A second identity beside the one in use: staged, taken on trial, kept, or given up for the one before.
//!
//! ```text
//! next/ whole ──take──▶ in use, the one before in previous/, `trial` says until when
//!                          │ the new server welcomes it            │ it does not in time
//!                          ▼ keep: previous/ and `trial` go        ▼ go back: previous/ is in use again
//! ```
//! `agent.json` is the last file that is written and the first that goes, in every folder: a crash leaves each step
//! to be done again, never half an identity in use.

use std::fs;
use std::io;
use std::time::Duration;

use klnet_wire::identity::state::{AGENT, CHAIN, CRLS, KEY, KEYS, TRUST};

use super::sync::SYNC;
use super::{Folder, SERVERS, StateError};
use crate::unix::unix_now;

/// What a folder's identities were found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The identity is the device's.
    Kept,
    /// The identity is on trial for so long.
    OnTrial(Duration),
}

impl Folder {
    /// Where the next identity is put together, as a folder of its own.
    pub fn next(&self) -> Self {
        self.part(NEXT)
    }

    /// Where it is before that: enrolled, and not tried yet.
    pub fn draft(&self) -> Self {
        self.part(DRAFT)
    }

    /// Finishes what was begun with the folder's identities: a next one that is whole is taken on trial, a trial that is
    /// over is given up. To be called by whoever holds the folder's lock.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn settle(&self) -> Result<Settled, StateError> {
        if self.next().is_enrolled() {
            self.take_next()?;
        }
        let Some(until) = self.trial() else { return Ok(Settled::Kept) };
        let left = until.saturating_sub(unix_now()).min(TRIAL.as_secs());
        if left == 0 || !self.is_enrolled() {
            self.go_back()?;
            return Ok(Settled::Kept);
        }
        Ok(Settled::OnTrial(Duration::from_secs(left)))
    }

    /// The new server has welcomed the device: there is no way back any more.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn keep(&self) -> Result<(), StateError> {
        self.remove(TRIAL_FILE)?;
        self.remove_all(PREVIOUS)
    }

    /// The identity before is in use again; without one the one on trial stays.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn go_back(&self) -> Result<(), StateError> {
        let previous = self.part(PREVIOUS);
        if previous.is_enrolled() {
            self.copy_from(&previous)?;
        }
        self.keep()
    }

    fn take_next(&self) -> Result<(), StateError> {
        // With a trial this was begun before, or the one in use is on trial itself: previous/ is whole.
        if self.trial().is_none() && self.is_enrolled() {
            self.remove_all(PREVIOUS)?;
            self.part(PREVIOUS).copy_from(self)?;
        }
        self.write(TRIAL_FILE, (unix_now() + TRIAL.as_secs()).to_string().as_bytes())?;
        self.copy_from(&self.next())?;
        self.remove_all(NEXT)
    }

    /// No identity is staged, on trial, or to be gone back to.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn forget_others(&self) -> Result<(), StateError> {
        self.remove_all(NEXT)?;
        self.keep()
    }

    /// Removes the folder and all that is in it.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn discard(&self) -> Result<(), StateError> {
        let path = self.path.clone();
        fs::remove_dir_all(&path).map_err(|error| StateError::Io { path, error })
    }

    /// Copies another folder's identity; what belongs to one and is not there goes.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn copy_from(&self, other: &Self) -> Result<(), StateError> {
        self.remove(AGENT)?;
        for name in IDENTITY {
            match fs::read(other.file(name)) {
                Ok(content) => self.write(name, &content)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.remove(name)?,
                Err(error) => return Err(StateError::Io { path: other.file(name), error }),
            }
        }
        Ok(())
    }

    /// Until when the identity is on trial, Unix seconds.
    fn trial(&self) -> Option<u64> {
        Some(self.read(TRIAL_FILE).ok()?.trim().parse().unwrap_or(0))
    }

    /// Removes one of the other identities, first the file that makes it whole.
    fn remove_all(&self, name: &str) -> Result<(), StateError> {
        Self::new(self.file(name)).remove(AGENT)?;
        let path = self.file(name);
        match fs::remove_dir_all(&path).and_then(|()| self.sync_names()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StateError::Io { path, error }),
            _ => Ok(()),
        }
    }
}

const NEXT: &str = "next";
const DRAFT: &str = "draft";
const PREVIOUS: &str = "previous";
const TRIAL_FILE: &str = "trial";
/// Every file of an identity; the one that makes it whole comes last.
const IDENTITY: [&str; 8] = [KEY, CHAIN, TRUST, KEYS, SERVERS, CRLS, SYNC, AGENT];
/// How long a new server has to welcome the device: several rounds of the agent's patience.
pub const TRIAL: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_next_identity_is_taken_on_trial_and_kept() {
        let (_place, folder) = folder("old");
        identity(&folder.next(), "new");
        assert!(matches!(folder.settle().unwrap(), Settled::OnTrial(left) if left <= TRIAL));
        assert_eq!(name_of(&folder), "new");
        assert!(matches!(folder.settle().unwrap(), Settled::OnTrial(_)), "also after a restart");
        folder.keep().unwrap();
        assert_eq!((folder.settle().unwrap(), name_of(&folder)), (Settled::Kept, "new".to_owned()));
    }

    #[test]
    fn a_trial_that_is_over_leads_back() {
        let (_place, folder) = folder("old");
        fs::write(folder.file(TRUST), "of the old one").unwrap();
        identity(&folder.next(), "new");
        folder.settle().unwrap();
        assert!(!folder.file(TRUST).exists(), "what the new one has not is gone");
        folder.write(TRIAL_FILE, b"1").unwrap();
        assert_eq!((folder.settle().unwrap(), name_of(&folder)), (Settled::Kept, "old".to_owned()));
        assert_eq!(fs::read_to_string(folder.file(TRUST)).unwrap(), "of the old one");
    }

    #[test]
    fn a_step_that_was_interrupted_is_done_again() {
        let (_place, folder) = folder("old");
        identity(&folder.next(), "new");
        // Previous is whole, and the first files of the next one are in place.
        folder.part(PREVIOUS).copy_from(&folder).unwrap();
        folder.remove(AGENT).unwrap();
        folder.write(KEY, b"new").unwrap();
        assert!(matches!(folder.settle().unwrap(), Settled::OnTrial(_)));
        assert_eq!(name_of(&folder), "new");
        // On the way back.
        folder.remove(AGENT).unwrap();
        assert_eq!((folder.settle().unwrap(), name_of(&folder)), (Settled::Kept, "old".to_owned()));
    }

    #[test]
    fn a_crash_when_the_next_one_is_in_its_place_leaves_the_way_back() {
        let (_place, folder) = folder("old");
        identity(&folder.next(), "new");
        folder.settle().unwrap();
        // next/ was not gone yet.
        identity(&folder.next(), "new");
        assert!(matches!(folder.settle().unwrap(), Settled::OnTrial(_)));
        folder.write(TRIAL_FILE, b"1").unwrap();
        assert_eq!((folder.settle().unwrap(), name_of(&folder)), (Settled::Kept, "old".to_owned()));
    }

    fn folder(name: &str) -> (tempfile::TempDir, Folder) {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path());
        identity(&folder, name);
        (place, folder)
    }

    /// Something in place of each file that an identity must have.
    fn identity(folder: &Folder, name: &str) {
        [KEY, CHAIN, KEYS, SERVERS, AGENT]
            .iter()
            .for_each(|file| folder.write(file, name.as_bytes()).unwrap());
    }

    /// What every file of the identity says.
    fn name_of(folder: &Folder) -> String {
        let read = |file: &&str| folder.read(file).unwrap();
        let names: Vec<_> = [KEY, CHAIN, KEYS, SERVERS, AGENT].iter().map(read).collect();
        assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
        names[0].clone()
    }
}
