//! How verdicts come back to who waits for them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::oneshot;

use crate::verdict::Verdict;

/// Who waits for one key.
#[derive(Debug)]
pub(super) enum Waiter {
    /// A query in a worker's table.
    Worker {
        /// Which worker.
        worker: usize,
        /// Where in its table.
        entry: u64,
        /// Which key of the query.
        place: u8,
    },
    /// A task of the runtime.
    Task(oneshot::Sender<Verdict>),
}

/// A verdict that a worker waits for.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) entry: u64,
    pub(super) place: u8,
    pub(super) verdict: Verdict,
}

/// Where a worker looks for letters. There are never more than there are waiters, whose number the core limits.
#[derive(Debug)]
pub(super) struct Inbox {
    letters: Receiver<Letter>,
    bell: Arc<OwnedFd>,
}

/// Puts letters into the inbox of one worker.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    letters: Sender<Letter>,
    bell: Arc<OwnedFd>,
}

/// An inbox and its slot.
///
/// # Errors
/// What the system says.
pub(super) fn inbox() -> io::Result<(Inbox, Slot)> {
    let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let (sender, receiver) = channel();
    Ok((Inbox { letters: receiver, bell: Arc::clone(&bell) }, Slot { letters: sender, bell }))
}

impl Inbox {
    /// What became readable when somebody rang.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Makes the bell silent until it is rung again.
    pub(super) fn silence(&self) {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
    }

    /// The next letter.
    pub(super) fn take(&self) -> Option<Letter> {
        self.letters.try_recv().ok()
    }
}

impl Slot {
    /// Puts a letter in; a worker that has ended gets none.
    pub(super) fn put(&self, letter: Letter) {
        let _ = self.letters.send(letter);
    }

    /// Wakes the worker.
    pub(super) fn ring(&self) {
        // Full only after 2^64 - 1 rings, and then it is awake.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }
}
