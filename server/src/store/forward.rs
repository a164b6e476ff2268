//! A store in front of another: lets everything through but what a fault changes. For tests.

use std::{sync::Arc, time::Duration};

use super::{
    BoxFuture, Commit, CommitError, Entry, Incarnation, Key, LeaseError, LeaseId, Page, Prefix, Read,
    ReadError, Rev, Store, Survivors, Watch,
};

/// A store with a fault.
pub(crate) struct Forward<F> {
    pub(crate) sound: Arc<dyn Store>,
    pub(crate) fault: Arc<F>,
}

/// What is wrong; each method does what is right until it is written otherwise.
pub(crate) trait Fault: Send + Sync + 'static {
    fn apply<'a>(&'a self, sound: &'a dyn Store, commit: Commit) -> BoxFuture<'a, Result<Rev, CommitError>> {
        sound.apply(commit)
    }

    fn get<'a>(
        &'a self,
        sound: &'a dyn Store,
        key: &Key,
        read: Read,
    ) -> BoxFuture<'a, Result<(Option<Entry>, Rev), ReadError>> {
        sound.get(key, read)
    }

    fn watch(&self, sound: Watch) -> Watch {
        sound
    }

    /// The life that is granted when `ttl` is asked for.
    fn ttl(&self, ttl: Duration) -> Duration {
        ttl
    }
}

impl<F: Fault> Store for Forward<F> {
    fn apply(&self, commit: Commit) -> BoxFuture<'_, Result<Rev, CommitError>> {
        self.fault.apply(&*self.sound, commit)
    }

    fn get(&self, key: &Key, read: Read) -> BoxFuture<'_, Result<(Option<Entry>, Rev), ReadError>> {
        self.fault.get(&*self.sound, key, read)
    }

    fn scan(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: u32,
        at: Option<Rev>,
    ) -> BoxFuture<'_, Result<Page, ReadError>> {
        self.sound.scan(prefix, after, limit, at)
    }

    fn watch(&self, prefix: Prefix, after: Rev) -> Watch {
        self.fault.watch(self.sound.watch(prefix, after))
    }

    fn survivors(&self, after: Rev, at: Option<Rev>) -> BoxFuture<'_, Result<Survivors, ReadError>> {
        self.sound.survivors(after, at)
    }

    fn grant_lease(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, LeaseError>> {
        self.sound.grant_lease(self.fault.ttl(ttl))
    }

    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), LeaseError>> {
        self.sound.keep_alive(lease)
    }

    fn revoke_lease(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), LeaseError>> {
        self.sound.revoke_lease(lease)
    }

    fn compact(&self, oldest: Rev) -> BoxFuture<'_, Result<(), ReadError>> {
        self.sound.compact(oldest)
    }

    fn incarnation(&self) -> Incarnation {
        self.sound.incarnation()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.sound.close()
    }
}
