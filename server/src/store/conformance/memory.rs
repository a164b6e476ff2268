//! A backend in memory. It claims nothing of durability, and keeps every other rule.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{sync::watch as signal, time::Instant};

use super::{Factory, Specimen, oracle::Oracle};
use crate::store::{
    Batch, BoxFuture, Commit, CommitError, Entry, Incarnation, Key, LeaseError, LeaseId, OpId, Page, Prefix,
    Read, ReadError, Rev, Store, Survivors, Watch, WatchEnd, lease, watch::Follow,
};

/// Makes stores in memory.
pub(in crate::store) struct Memory;

/// The oracle behind a lock, and what it lacks: outcomes and time.
struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
    incarnation: Incarnation,
}

struct Inner {
    oracle: Oracle,
    outcomes: HashMap<OpId, ([u8; 32], Rev)>,
    leases: HashMap<LeaseId, (Duration, Instant)>,
    head: signal::Sender<Rev>,
}

struct Place {
    inner: Arc<Mutex<Inner>>,
    head: signal::Receiver<Rev>,
    prefix: Prefix,
    after: Rev,
}

impl Factory for Memory {
    fn fresh(&self) -> Box<dyn Specimen> {
        let inner = Inner {
            oracle: Oracle::default(),
            outcomes: HashMap::new(),
            leases: HashMap::new(),
            head: signal::Sender::new(Rev::ZERO),
        };
        let store = MemoryStore { inner: Arc::new(Mutex::new(inner)), incarnation: Incarnation::random() };
        Box::new(Arc::new(store))
    }
}

impl Specimen for Arc<MemoryStore> {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self) as Arc<dyn Store>
    }
}

impl Inner {
    fn apply(&mut self, commit: &Commit) -> Result<Rev, CommitError> {
        if let Some((digest, rev)) = self.outcomes.get(&commit.op_id()) {
            return if digest == commit.digest() {
                Ok(*rev)
            } else {
                Err(CommitError::Reused(commit.op_id()))
            };
        }
        let rev = self.oracle.commit(commit.guards(), commit.ops())?;
        self.outcomes.insert(commit.op_id(), (*commit.digest(), rev));
        self.head.send_replace(rev);
        Ok(rev)
    }

    fn end(&mut self, lease: LeaseId) -> Result<(), LeaseError> {
        self.leases.remove(&lease).ok_or(LeaseError::Gone(lease))?;
        self.oracle.end(lease);
        self.head.send_replace(self.oracle.head());
        Ok(())
    }
}

impl MemoryStore {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics")
    }

    fn snapshot(&self, at: Option<Rev>) -> Rev {
        at.unwrap_or_else(|| self.inner().oracle.head())
    }
}

/// Ends a lease once its deadline has passed, wherever that has moved meanwhile.
async fn end_when_over(inner: Arc<Mutex<Inner>>, lease: LeaseId) {
    loop {
        let deadline = inner.lock().expect("nobody panics").leases.get(&lease).map(|(_, deadline)| *deadline);
        let Some(deadline) = deadline else { return };
        tokio::time::sleep_until(deadline).await;
        let mut inner = inner.lock().expect("nobody panics");
        if inner.leases.get(&lease).is_some_and(|(_, deadline)| *deadline <= Instant::now()) {
            let _ = inner.end(lease);
        }
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Store for MemoryStore {
    fn apply(&self, commit: Commit) -> BoxFuture<'_, Result<Rev, CommitError>> {
        Box::pin(async move { self.inner().apply(&commit) })
    }

    fn get(&self, key: &Key, read: Read) -> BoxFuture<'_, Result<(Option<Entry>, Rev), ReadError>> {
        let inner = self.inner();
        let head = inner.oracle.head();
        ready(match read {
            Read::AtLeast(asked) if asked > head => Err(ReadError::Ahead { asked, head }),
            _ => Ok((inner.oracle.get(key), head)),
        })
    }

    fn scan(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: u32,
        at: Option<Rev>,
    ) -> BoxFuture<'_, Result<Page, ReadError>> {
        let at = self.snapshot(at);
        ready(self.inner().oracle.scan(prefix, at).map(|mut entries| {
            entries.retain(|(key, _)| after.is_none_or(|after| key > after));
            let more = entries.len() > limit.max(1) as usize;
            entries.truncate(limit.max(1) as usize);
            let next = entries.last().filter(|_| more).map(|(key, _)| key.clone());
            Page { entries, at, next }
        }))
    }

    fn watch(&self, prefix: Prefix, after: Rev) -> Watch {
        let head = self.inner().head.subscribe();
        Watch::new(Place { inner: Arc::clone(&self.inner), head, prefix, after })
    }

    fn survivors(&self, after: Rev, at: Option<Rev>) -> BoxFuture<'_, Result<Survivors, ReadError>> {
        let at = self.snapshot(at);
        ready(self.inner().oracle.survivors(after, at).map(|batches| Survivors { batches, at, next: None }))
    }

    fn grant_lease(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, LeaseError>> {
        Box::pin(async move {
            let (ttl, lease) = (lease::admit(ttl)?, LeaseId::random());
            let mut inner = self.inner();
            inner.leases.insert(lease, (ttl, Instant::now() + ttl));
            inner.oracle.grant(lease);
            tokio::spawn(end_when_over(Arc::clone(&self.inner), lease));
            Ok(lease)
        })
    }

    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), LeaseError>> {
        let mut inner = self.inner();
        let kept = inner.leases.get_mut(&lease).map(|(ttl, deadline)| *deadline = Instant::now() + *ttl);
        ready(kept.ok_or(LeaseError::Gone(lease)))
    }

    fn revoke_lease(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), LeaseError>> {
        ready(self.inner().end(lease))
    }

    fn compact(&self, oldest: Rev) -> BoxFuture<'_, Result<(), ReadError>> {
        ready(self.inner().oracle.compact(oldest))
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        ready(())
    }
}

impl Follow for Place {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, WatchEnd>> {
        Box::pin(async {
            loop {
                self.head.borrow_and_update();
                let batches =
                    self.inner.lock().expect("nobody panics").oracle.watch(&self.prefix, self.after)?;
                if let Some(batch) = batches.into_iter().next() {
                    self.after = batch.rev;
                    return Ok(batch);
                }
                self.head.changed().await.map_err(|_| WatchEnd::Lost { after: self.after })?;
            }
        })
    }
}
