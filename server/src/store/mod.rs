//! The `Store`: everything the Administration Server must not lose, as keys, values and revisions.
//!
//! The contract, the same for every backend:
//! 1. **Atomic**: all operations of a commit or none; one [`Rev`] for the commit; no key twice in one commit.
//! 2. **Linearizable** commits and [`Read::Linearizable`]; [`Read::AtLeast`] never answers from an older state.
//! 3. **Durable on `Ok`**: an acknowledged commit survives kill -9 and power loss.
//! 4. **Three ways to fail**: [`CommitError::Conflict`] and [`CommitError::Unavailable`] were certainly not
//!    applied, [`CommitError::Unknown`] may have been. A retry under the same [`OpId`] returns the first
//!    revision; the store remembers an id for at least [`OP_ID_WINDOW`], counted on a monotonic clock that
//!    starts over when the store is opened (so never early).
//! 5. **Revisions** rise strictly and compare only inside one [`Incarnation`].
//! 6. An [`Entry`] knows the revision that created its key and the one that last changed it; delete and put
//!    again gives a new `create_rev`.
//! 7. **Scan** pages at one revision form a snapshot in byte order, or the call fails with
//!    [`ReadError::Compacted`].
//! 8. **Watch** after r: every event with rev > r under the prefix, in order, a commit never split, nothing
//!    uncommitted; a watch that cannot go on ends with a [`WatchEnd`], it never skips.
//! 9. A scan at r followed by a watch after r misses nothing and repeats nothing.
//! 10. **Limits** are the same everywhere and enforced here, above the backend: a backend only ever receives
//!     an admitted [`Commit`].
//! 11. **Backpressure**: every queue has a bound; beyond it the caller gets [`Unavailable::QueueFull`].
//! 12. **Cancel safety**: dropping the future of a commit is safe and leaves its outcome unknown.
//! 13. **Closed** means settled: what was accepted is answered, nothing more is, and another process may have the store.
//!
//! ```text
//!   commit ─▶ limits ─▶ [bounded queue] ─▶ writer thread ─▶ one transaction, one fsync ─▶ ack
//!                                                │ notices (rev, keys)
//!   get, scan ─▶ read connections      watch ◀───┘   values always come from the log
//! ```
//!
//! Leases, compaction and export belong to the contract but are not offered yet: an [`Op`] is made through
//! its constructors so that a put can gain a lease, and readers already refuse what a compaction would drop.

mod commit;
mod entry;
mod id;
mod key;
mod limits;
pub mod sqlite;
mod watch;

#[cfg(test)]
mod model;

use std::{future::Future, pin::Pin, time::Duration};

pub use self::{
    commit::{Commit, CommitError, FailedGuard, Guard, Op, Unavailable},
    entry::{Entry, Page, Read, ReadError},
    id::{Incarnation, OpId, Rev},
    key::{Key, KeyError, Prefix},
    limits::{LimitError, Limits},
    sqlite::{OpenError, SqliteStore},
    watch::{Batch, Event, Watch, WatchEnd},
};

/// A boxed future, so that the store can be shared as `Arc<dyn Store>`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How long at least a retry under the same [`OpId`] is recognised.
pub const OP_ID_WINDOW: Duration = Duration::from_secs(3600);

/// A transactional key-value store with revisions; the module names the rules it keeps.
pub trait Store: Send + Sync + 'static {
    /// Applies all `ops` if every guard holds, and returns the revision of the commit.
    ///
    /// # Errors
    /// [`CommitError`] says whether the commit can have been applied. After `Unknown` ask again with the same
    /// `op_id` and the same contents.
    fn commit(
        &self,
        op_id: OpId,
        guards: Vec<Guard>,
        ops: Vec<Op>,
    ) -> BoxFuture<'_, Result<Rev, CommitError>> {
        match Commit::admit(op_id, guards, ops, &self.limits()) {
            Ok(commit) => self.apply(commit),
            Err(error) => Box::pin(std::future::ready(Err(error.into()))),
        }
    }

    /// Applies a commit that is within the limits; callers use [`Store::commit`].
    ///
    /// # Errors
    /// As for [`Store::commit`].
    fn apply(&self, commit: Commit) -> BoxFuture<'_, Result<Rev, CommitError>>;

    /// Reads one key, and the revision at which it was read.
    ///
    /// # Errors
    /// `Ahead` when the store has not reached the revision asked for, `Unavailable` when it cannot read now.
    fn get(&self, key: &Key, read: Read) -> BoxFuture<'_, Result<(Option<Entry>, Rev), ReadError>>;

    /// Reads up to `limit` entries under `prefix` that come after the key `after`, in byte order.
    ///
    /// The first call passes no `at`; the next ones pass [`Page::next`] and [`Page::at`], so that all pages
    /// together are one snapshot. A page may be shorter than `limit` (it is also bounded in bytes).
    ///
    /// # Errors
    /// `Compacted` when the snapshot at `at` is gone, `Ahead` when it lies in the future, `Unavailable` when
    /// the store cannot read now.
    fn scan(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: u32,
        at: Option<Rev>,
    ) -> BoxFuture<'_, Result<Page, ReadError>>;

    /// Follows every change under `prefix` with a revision above `after`.
    fn watch(&self, prefix: Prefix, after: Rev) -> Watch;

    /// Names the history that this store's revisions belong to; a restore from backup makes a new one.
    fn incarnation(&self) -> Incarnation;

    /// Commits that wait to be judged; for whoever watches how busy the store is.
    fn waiting(&self) -> usize {
        0
    }

    /// Answers what was accepted, takes nothing more, ends every watch, and lets another process have the store.
    fn close(&self) -> BoxFuture<'_, ()>;

    /// The limits of a commit, the same for every backend.
    fn limits(&self) -> Limits {
        Limits::COMMON
    }
}
