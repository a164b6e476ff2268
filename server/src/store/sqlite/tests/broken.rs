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
    Batch, BoxFuture, Commit, CommitError, Entry, Key, OpId, Read, ReadError, Rev, Store, Watch, WatchEnd,
    conformance::{Factory, Specimen, histories, holders, registers, watches},
    forward::{Fault, Forward},
    watch::Follow,
};

#[test]
fn backend_whose_watch_skips_is_found_out() {
    fails("a watch", watches::miss_and_repeat_nothing(&Broken(Wrong::SkippingWatch), 4));
}

#[test]
fn backend_that_reads_what_is_stale_is_found_out() {
    fails("no order", registers::have_one_order(&Broken(Wrong::StaleRead), 20));
    fails("a read", histories::answer_as_the_oracle(&Broken(Wrong::StaleRead), 200));
}

#[test]
fn backend_whose_leases_end_early_is_found_out() {
    fails("a lease of 1s ended after", holders::end_in_time(&Broken(Wrong::EarlyLease)));
}

#[test]
fn backend_that_does_not_judge_guards_is_found_out() {
    fails("no order", registers::have_one_order(&Broken(Wrong::NoGuards), 20));
    fails("two hold the lock", holders::are_fenced(&Broken(Wrong::NoGuards)));
}

#[test]
fn backend_that_forgets_outcomes_is_found_out() {
    fails("a retry", histories::answer_as_the_oracle(&Broken(Wrong::NoOutcomes), 200));
}

fn fails(expected: &str, verdict: Result<(), String>) {
    let found = verdict.expect_err("a broken backend passes");
    assert!(found.contains(expected), "found for another reason: {found}");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    SkippingWatch,
    StaleRead,
    EarlyLease,
    NoGuards,
    NoOutcomes,
}

/// Makes SQLite stores with a fault.
struct Broken(Wrong);

struct Place {
    sound: Box<dyn Specimen>,
    store: Arc<Forward<Faulty>>,
}

struct Faulty {
    fault: Wrong,
    /// What was read of a key first.
    stale: Mutex<HashMap<Key, (Option<Entry>, Rev)>>,
    reads: AtomicU64,
}

impl Factory for Broken {
    fn fresh(&self) -> Box<dyn Specimen> {
        let sound = SQLITE.fresh();
        let faulty = Faulty { fault: self.0, stale: Mutex::default(), reads: AtomicU64::new(0) };
        let store = Arc::new(Forward { sound: sound.store(), fault: Arc::new(faulty) });
        Box::new(Place { sound, store })
    }
}

impl Specimen for Place {
    fn store(&self) -> Arc<dyn Store> {
        let _ = &self.sound; // the folder lives as long as this
        Arc::clone(&self.store) as Arc<dyn Store>
    }
}

impl Fault for Faulty {
    fn apply<'a>(&'a self, sound: &'a dyn Store, commit: Commit) -> BoxFuture<'a, Result<Rev, CommitError>> {
        let (guards, ops) = (commit.guards().to_vec(), commit.ops().to_vec());
        match self.fault {
            Wrong::NoGuards => sound.commit(commit.op_id(), Vec::new(), ops),
            Wrong::NoOutcomes => sound.commit(OpId::random(), guards, ops),
            _ => sound.apply(commit),
        }
    }

    fn get<'a>(
        &'a self,
        sound: &'a dyn Store,
        key: &Key,
        read: Read,
    ) -> BoxFuture<'a, Result<(Option<Entry>, Rev), ReadError>> {
        let key = key.clone();
        Box::pin(async move {
            let fresh = sound.get(&key, read).await?;
            if self.fault != Wrong::StaleRead || self.reads.fetch_add(1, SeqCst).is_multiple_of(3) {
                self.stale.lock().expect("nobody panics").insert(key, fresh.clone());
                return Ok(fresh);
            }
            Ok(self.stale.lock().expect("nobody panics").entry(key).or_insert(fresh).clone())
        })
    }

    fn watch(&self, sound: Watch) -> Watch {
        match self.fault {
            Wrong::SkippingWatch => Watch::new(Skipping { sound, delivered: 0 }),
            _ => sound,
        }
    }

    fn ttl(&self, ttl: Duration) -> Duration {
        if self.fault == Wrong::EarlyLease { ttl / 2 } else { ttl }
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
