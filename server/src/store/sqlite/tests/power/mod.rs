//! A disk whose power can be cut: what was not synced then is lost, in any part, down to single sectors.
//!
//! ```text
//! SQLite ──▶ vfs (counts, remembers what each unsynced write went over) ──▶ the system's own files
//!                 cut: every call fails ── all closed ── restore: each dirty sector is the new one or the old one
//! ```
//! With [`Loss::Nothing`] the same is kill -9 at a chosen call: what was written stays, nothing more is.

mod unsynced;
mod vfs;

use std::{
    collections::HashMap,
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use unsynced::Unsynced;

use crate::store::conformance::Chance;

/// The name under which SQLite knows it.
pub(super) const NAME: &str = "klnet-power";

/// A folder on such a disk.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_off: bool,
    fails_syncs: bool,
    /// Calls that change something until the power goes.
    left: Option<u64>,
    /// Such calls there have been.
    calls: u64,
    files: HashMap<PathBuf, Unsynced>,
}

/// What a cut costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Nothing that was written: only the process died.
    Nothing,
    /// Any part of what was not synced.
    Unsynced,
}

impl Disk {
    /// Puts a folder on the disk.
    pub(super) fn at(folder: &Path) -> Arc<Self> {
        vfs::register();
        let folder = folder.canonicalize().expect("the folder is there");
        let disk = Arc::new(Self { folder, state: Mutex::default() });
        DISKS.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&disk));
        disk
    }

    /// Cuts the power now.
    pub(super) fn cut(&self) {
        self.state().is_off = true;
    }

    /// Cuts the power after so many more calls that change something.
    pub(super) fn cut_after(&self, calls: u64) {
        self.state().left = Some(calls);
    }

    /// Lets every sync fail, or no more.
    pub(super) fn fail_syncs(&self, fails: bool) {
        self.state().fails_syncs = fails;
    }

    /// Whether the power is off.
    pub(super) fn is_off(&self) -> bool {
        self.state().is_off
    }

    /// Calls so far that changed something.
    pub(super) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Brings the power back, once everything is closed.
    pub(super) fn restore(&self, loss: Loss, chance: &mut Chance) {
        let mut state = self.state();
        for (path, unsynced) in state.files.drain() {
            if loss == Loss::Unsynced && path.exists() {
                let file = File::options().read(true).write(true).open(&path).expect("it is ours");
                unsynced.lose(&file, chance);
            }
        }
        state.is_off = false;
        state.left = None;
    }

    /// One more call that changes something; refused when the power is off.
    fn step(&self) -> Option<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.is_off |= state.left == Some(0);
        if state.is_off {
            return None;
        }
        state.left = state.left.map(|left| left - 1);
        state.calls += 1;
        Some(state)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The disk on which a path lies.
fn disk_of(path: &Path) -> Option<Arc<Disk>> {
    let disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
    disks.iter().rev().find(|disk| path.parent() == Some(&disk.folder)).cloned()
}

/// Few, and a test's process does not live long: none is taken out.
static DISKS: Mutex<Vec<Arc<Disk>>> = Mutex::new(Vec::new());
