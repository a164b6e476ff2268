//! Backends that break one rule each: the suite must fail every one of them, or it says nothing of those that pass.
//! The one that acknowledges before its sync is in `conformance`.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use super::specimen::SQLITE;
use crate::store::{
    Batch, BoxFuture, Commit, CommitError, Entry, Incarnation, Key, LeaseError, LeaseId, Page, Prefix, Read,
    ReadError, Rev, Store, Survivors, Watch, WatchEnd,
    conformance::{Factory, Specimen, histories, holders, registers, watches},
    watch::Follow,
};

#[test]
fn backend_whose_watch_skips_is_found_out() {
    fails("a watch", watches::miss_and_repeat_nothing(&Broken(Fault::SkippingWatch), 4));
}

#[test]
fn backend_that_reads_what_is_stale_is_found_out() {
    fails("no order", registers::have_one_order(&Broken(Fault::StaleRead), 20));
    fails("a read", histories::answer_as_the_oracle(&Broken(Fault::StaleRead), 200));
}

#[test]
fn backend_whose_leases_end_early_is_found_out() {
    fails("a lease of 1s ended after", holders::end_in_time(&Broken(Fault::EarlyLease)));
}

#[test]
fn backend_that_does_not_judge_guards_is_found_out() {
    fails("no order", registers::have_one_order(&Broken(Fault::NoGuards), 20));
    fails("two hold the lock", holders::are_fenced(&Broken(Fault::NoGuards)));
}

#[test]
fn backend_that_forgets_outcomes_is_found_out() {
    fails("a retry", histories::answer_as_the_oracle(&Broken(Fault::NoOutcomes), 200));
}

fn fails(expected: &str, verdict: Result<(), String>) {
    let found = verdict.expect_err("a broken backend passes");
    assert!(found.contains(expected), "found for another reason: {found}");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    SkippingWatch,
    StaleRead,
    EarlyLease,
    NoGuards,
    NoOutcomes,
}

/// Makes SQLite stores with a fault.
struct Broken(Fault);

struct Place {
    sound: Box<dyn Specimen>,
    store: Arc<Faulty>,
}

struct Faulty {
    fault: Fault,
    sound: Arc<dyn Store>,
    /// What was read of a key first.
    stale: Mutex<HashMap<Key, (Option<Entry>, Rev)>>,
    reads: AtomicU64,
}

impl Factory for Broken {
    fn fresh(&self) -> Box<dyn Specimen> {
        let sound = SQLITE.fresh();
        let store = sound.store();
        let faulty =
            Faulty { fault: self.0, sound: store, stale: Mutex::default(), reads: AtomicU64::new(0) };
        Box::new(Place { sound, store: Arc::new(faulty) })
    }
}

impl Specimen for Place {
    fn store(&self) -> Arc<dyn Store> {
        let _ = &self.sound; // the folder lives as long as this
        Arc::clone(&self.store) as Arc<dyn Store>
    }
}

impl Store for Faulty {
    fn apply(&self, commit: Commit) -> BoxFuture<'_, Result<Rev, CommitError>> {
        let (guards, ops) = (commit.guards().to_vec(), commit.ops().to_vec());
        match self.fault {
            Fault::NoGuards => self.sound.commit(commit.op_id(), Vec::new(), ops),
            Fault::NoOutcomes => self.sound.commit(crate::store::OpId::random(), guards, ops),
            _ => self.sound.apply(commit),
        }
    }

    fn get(&self, key: &Key, read: Read) -> BoxFuture<'_, Result<(Option<Entry>, Rev), ReadError>> {
        let key = key.clone();
        Box::pin(async move {
            let fresh = self.sound.get(&key, read).await?;
            if self.fault != Fault::StaleRead || self.reads.fetch_add(1, SeqCst).is_multiple_of(3) {
                self.stale.lock().expect("nobody panics").insert(key, fresh.clone());
                return Ok(fresh);
            }
            Ok(self.stale.lock().expect("nobody panics").entry(key).or_insert(fresh).clone())
        })
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
        let sound = self.sound.watch(prefix, after);
        match self.fault {
            Fault::SkippingWatch => Watch::new(Skipping { sound, delivered: 0 }),
            _ => sound,
        }
    }

    fn survivors(&self, after: Rev, at: Option<Rev>) -> BoxFuture<'_, Result<Survivors, ReadError>> {
        self.sound.survivors(after, at)
    }

    fn grant_lease(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, LeaseError>> {
        self.sound.grant_lease(if self.fault == Fault::EarlyLease { ttl / 2 } else { ttl })
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

/// Leaves out every fifth batch, when another is there to be given instead.
struct Skipping {
    sound: Watch,
    delivered: u64,
}

impl Follow for Skipping {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, WatchEnd>> {
        Box::pin(async {
            self.delivered += 1;
            let batch = self.sound.next().await?;
            let last = batch.events.iter().any(|event| event.key.as_bytes().ends_with(b"z"));
            if self.delivered.is_multiple_of(5) && !last {
                return self.sound.next().await;
            }
            Ok(batch)
        })
    }
}
