//! The conformance suite: what the contract promises, asked of any backend.
//!
//! A backend is tested through a [`Factory`]; it says nothing of durability unless its specimens are [`Durable`].
//!
//! | part | asks |
//! |---|---|
//! | [`histories`] | random steps answer as an oracle does: commits, retries, scans and contents at old revisions, leases, compaction |
//! | [`registers`] | concurrent commits and reads have one order (Wing and Gong's search, for each key) |
//! | [`watches`] | rules 8 and 9, with a slow reader and compaction |
//! | [`holders`] | rules 10 and 11: no lease early, none late, no zombie's write |
//! | [`edges`] | limits at and one past each, cancellation, reused ids |
//! | [`transfer`] | export and import keep what they must |
//! | [`durability`] | kill -9, power cuts, flipped bits, truncation |
//!
//! Deliberately broken backends (`sqlite/tests/broken.rs`) must each fail the part that is about them.

mod chance;
pub(super) mod durability;
pub(super) mod edges;
pub(super) mod histories;
pub(super) mod holders;
pub(super) mod kill;
pub(super) mod memory;
mod oracle;
pub(super) mod paused;
pub(super) mod registers;
pub(super) mod transfer;
pub(super) mod watches;

use std::sync::Arc;

use tokio::sync::mpsc;

pub(super) use self::chance::Chance;
use super::{Entry, Key, Op, OpId, Prefix, Read, ReadError, Rev, Store};

/// Makes stores of one backend.
pub(super) trait Factory: Send + Sync {
    /// A new store in a place of its own.
    fn fresh(&self) -> Box<dyn Specimen>;
}

/// A store under test.
pub(super) trait Specimen: Send {
    /// The store as its users hold it.
    fn store(&self) -> Arc<dyn Store>;

    /// What it can be put through; `None` when the backend claims no durability.
    fn durable(&mut self) -> Option<&mut dyn Durable> {
        None
    }
}

/// A store that claims to survive. Nobody else holds it while it is put through something.
pub(super) trait Durable {
    /// Closes it in order and opens it again.
    fn reopen(&mut self);

    /// Cuts the power: every call from now on fails.
    fn cut_power(&mut self);

    /// Opens it again after a cut, which may have lost any part of what was not synced.
    ///
    /// # Errors
    /// In words, when the store refuses to open.
    fn restore_power(&mut self, chance: &mut Chance) -> Result<(), String>;

    /// Opens a copy of its files in which `chance` has flipped a bit or cut something off.
    ///
    /// # Errors
    /// In words, when the store refuses to open.
    fn damaged_copy(&mut self, chance: &mut Chance) -> Result<Box<dyn Specimen>, String>;
}

/// What a part found: nothing, or how the contract is broken.
pub(super) type Verdict = Result<(), String>;

/// Turns a broken promise into a verdict.
pub(super) fn holds(condition: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if condition { Ok(()) } else { Err(otherwise()) }
}

/// Runs a part on threads of its own.
pub(super) fn block_on<T>(part: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(part)
}

/// The short count usually, the long one under `KLNET_LONG=1`.
pub(super) fn scale<T>(short: T, long: T) -> T {
    if std::env::var("KLNET_LONG").is_ok_and(|long| long == "1") { long } else { short }
}

pub(super) fn key(name: impl Into<bytes::Bytes>) -> Key {
    Key::new(name).expect("a sound key")
}

pub(super) fn prefix(name: &'static str) -> Prefix {
    Prefix::new(name).expect("a sound prefix")
}

/// Commits operations without guards.
async fn commit(store: &dyn Store, ops: Vec<Op>) -> Result<Rev, String> {
    store.commit(OpId::random(), Vec::new(), ops).await.map_err(|error| format!("a plain commit: {error}"))
}

async fn entry(store: &dyn Store, key: &Key) -> Result<Option<Entry>, String> {
    let read = store.get(key, Read::Linearizable).await;
    read.map(|(entry, _)| entry).map_err(|error| format!("a plain read: {error}"))
}

/// Everything under a prefix, and the revision of the snapshot.
async fn scan(store: &dyn Store, prefix: &Prefix) -> Result<(Vec<(Key, Entry)>, Rev), String> {
    let (mut entries, mut after, mut at) = (Vec::new(), None, None);
    loop {
        let page =
            store.scan(prefix, after.as_ref(), 100, at).await.map_err(|error| format!("a scan: {error}"))?;
        entries.extend(page.entries);
        (at, after) = (Some(page.at), page.next);
        if after.is_none() {
            return Ok((entries, page.at));
        }
    }
}

/// The same for several prefixes, read at once and put into byte order.
pub(super) async fn contents(
    store: &dyn Store,
    prefixes: Vec<Prefix>,
    at: Rev,
) -> Result<Vec<(Key, Entry)>, ReadError> {
    let (batches, mut ready) = mpsc::channel(1);
    let gathered = async {
        let mut all: Vec<(Key, Entry)> = Vec::new();
        while let Some(batch) = ready.recv().await {
            all.extend(batch);
        }
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    };
    let (read, gathered) = tokio::join!(store.contents(prefixes, at, batches), gathered);
    read.map(|()| gathered)
}
