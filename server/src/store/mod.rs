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
//! 10. **Lease**: its end deletes the keys attached to it in one commit that watches see; never before its TTL, counted
//!     from the last answer to its holder, and at most [`LEASE_LATENESS`] after it. A store that was opened again
//!     gives every lease its whole TTL anew.
//! 11. **Fencing**: the token of a lease's holder is the `mod_rev` of a key under it; see [`mod@lease`].
//! 12. **Limits** are the same everywhere and enforced here, above the backend: a backend only ever receives
//!     an admitted [`Commit`].
//! 13. **Backpressure**: every queue has a bound; beyond it the caller gets [`Unavailable::QueueFull`].
//! 14. **Cancel safety**: dropping the future of a commit is safe and leaves its outcome unknown.
//! 15. **Export and import** keep keys, values and their order of change, and make a new incarnation; what is under a
//!     lease is left out ([`mod@export`]).
//! 16. **Compaction** forgets states and events before a revision, never what has a value now. It happens by itself to
//!     what is older than [`HISTORY`], and earlier only when the disk is full.
//! 17. **Damage**: what was acknowledged is answered as it was written, or with [`Unavailable::Damaged`], or the store
//!     refuses to open; it is never answered otherwise.
//! 18. **Closed** means settled: what was accepted is answered, nothing more is, and another process may have the store.
//!
//! ```text
//!   commit ─▶ limits ─▶ [bounded queue] ─▶ writer thread ─▶ one transaction, one fsync ─▶ ack
//!                                                │ notices (rev, keys)
//!   get, scan ─▶ read connections      watch ◀───┘   values always come from the log
//! ```

mod commit;
mod entry;
pub mod export;
mod id;
mod key;
pub mod lease;
mod limits;
pub mod sqlite;
mod watch;

#[cfg(test)]
mod conformance;
#[cfg(test)]
pub(crate) mod forward;

use std::{future::Future, pin::Pin, time::Duration};

pub use self::{
    commit::{Commit, CommitError, FailedGuard, Guard, Op, Unavailable},
    entry::{Entry, Page, Read, ReadError, Survivors},
    id::{Incarnation, LeaseId, OpId, Rev},
    key::{Key, KeyError, Prefix},
    lease::{LEASE_LATENESS, LeaseError},
    limits::{LimitError, Limits},
    sqlite::{OpenError, SqliteStore},
    watch::{Batch, Event, Watch, WatchEnd},
};

/// A boxed future, so that the store can be shared as `Arc<dyn Store>`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How long at least a retry under the same [`OpId`] is recognised.
pub const OP_ID_WINDOW: Duration = Duration::from_secs(3600);

/// How long at least states and events can still be read, counted as [`OP_ID_WINDOW`] is.
pub const HISTORY: Duration = OP_ID_WINDOW;

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

    /// Reads what has a value in the order of its last change, after the commit `after`; pages as [`Store::scan`] does.
    ///
    /// # Errors
    /// As for [`Store::scan`].
    fn survivors(&self, after: Rev, at: Option<Rev>) -> BoxFuture<'_, Result<Survivors, ReadError>>;

    /// Grants a lease that lives for `ttl` unless it is kept alive.
    ///
    /// # Errors
    /// [`LeaseError`]; a lease that was granted without the caller hearing of it ends by itself.
    fn grant_lease(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, LeaseError>>;

    /// Gives a lease its whole TTL anew.
    ///
    /// # Errors
    /// `Gone`, `Unavailable`.
    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), LeaseError>>;

    /// Ends a lease now: deletes its keys in one commit.
    ///
    /// # Errors
    /// `Gone`; `Unavailable` when it may have ended or not: ask again.
    fn revoke_lease(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), LeaseError>>;

    /// Forgets states and events before `oldest`, which then is the oldest revision that can be read.
    ///
    /// # Errors
    /// `Ahead` of the store, `Unavailable`.
    fn compact(&self, oldest: Rev) -> BoxFuture<'_, Result<(), ReadError>>;

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
