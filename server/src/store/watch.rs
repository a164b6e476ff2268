//! Following changes.

use std::fmt;

use super::{BoxFuture, Entry, Key, Rev};

/// A stream of changes under a prefix, in the order of their revisions.
///
/// Events wait in the store's log, not in memory, so a slow reader costs nothing and loses nothing while
/// the log is kept.
pub struct Watch(Box<dyn Follow>);

/// A backend's place in its own log.
pub(super) trait Follow: Send {
    /// As [`Watch::next`].
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, WatchEnd>>;
}

/// All events of one commit under the watched prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The commit.
    pub rev: Rev,
    /// At least one event, in the order of the commit's operations.
    pub events: Vec<Event>,
}

/// What became of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The key.
    pub key: Key,
    /// Its new value; `None` when it was deleted.
    pub entry: Option<Entry>,
}

/// Why a watch ended; it never skips instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// Events after the watch's place are compacted: scan again and watch from there.
    #[error("events before revision {oldest} are compacted")]
    Compacted {
        /// The oldest revision that can still be read.
        oldest: Rev,
    },
    /// The store is gone or cannot be read: watch again after this revision.
    #[error("watch lost after revision {after}")]
    Lost {
        /// Every event up to here was delivered.
        after: Rev,
    },
}

impl Watch {
    pub(super) fn new(place: impl Follow + 'static) -> Self {
        Self(Box::new(place))
    }

    /// Waits for the next commit that touches the prefix. Safe to cancel; once ended, always ended.
    ///
    /// # Errors
    /// The end of the watch.
    pub async fn next(&mut self) -> Result<Batch, WatchEnd> {
        self.0.next().await
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
