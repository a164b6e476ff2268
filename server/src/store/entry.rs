//! What reading gives back.

use bytes::Bytes;

use super::{Batch, Key, LeaseId, Rev, Unavailable};

/// The value of a key, and the revisions that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// The commit that created the key, counted anew after a delete.
    pub create_rev: Rev,
    /// The commit that last changed it; the revision for [`super::Guard::ModRev`].
    pub mod_rev: Rev,
    /// The lease it ends with.
    pub lease: Option<LeaseId>,
}

/// One page of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Keys in byte order.
    pub entries: Vec<(Key, Entry)>,
    /// The revision of the snapshot; the next page is asked for at it.
    pub at: Rev,
    /// The key after which the next page begins; `None` on the last page.
    pub next: Option<Key>,
}

/// Some of what has a value, in the order in which it was last changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivors {
    /// What is left of each commit: only entries that no later commit up to `at` has changed or deleted.
    pub batches: Vec<Batch>,
    /// The revision of the snapshot; what follows is asked for at it.
    pub at: Rev,
    /// After which commit to go on; `None` when nothing follows.
    pub next: Option<Rev>,
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Sees every commit acknowledged before the call.
    Linearizable,
    /// Sees this revision or a later one; gives read-your-writes on any server.
    AtLeast(Rev),
}

/// Why a read failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The snapshot asked for is gone.
    #[error("revision {asked} is compacted, the oldest kept is {oldest}")]
    Compacted {
        /// The revision asked for.
        asked: Rev,
        /// The oldest revision that can still be read.
        oldest: Rev,
    },
    /// The revision lies in the future, or belongs to another incarnation.
    #[error("revision {asked} is ahead of the store at {head}")]
    Ahead {
        /// The revision asked for.
        asked: Rev,
        /// The newest revision.
        head: Rev,
    },
    /// The store cannot read now.
    #[error("store unavailable: {0}")]
    Unavailable(#[from] Unavailable),
}
