//! Each rule of the contract against the SQLite store, and the faults it must survive.

mod broken;
mod conformance;
mod contents;
mod disk;
mod migration;
mod open;
mod power;
mod rules;
mod specimen;
mod sync;
mod watch;

use std::path::PathBuf;

use tempfile::TempDir;

use crate::store::{
    Batch, CommitError, Entry, Guard, Key, Op, OpId, Prefix, Read, Rev, SqliteStore, Store, Watch,
};

/// A store in a directory of its own.
struct Fixture {
    directory: TempDir,
    store: Option<SqliteStore>,
}

impl Fixture {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory for the test");
        let store = SqliteStore::open(&directory.path().join(FILE)).expect("an empty directory");
        Self { directory, store: Some(store) }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(FILE)
    }

    fn close(&mut self) {
        self.store = None;
    }

    fn reopen(&mut self) {
        self.close();
        self.store = Some(SqliteStore::open(&self.path()).expect("a store that was closed"));
    }

    /// The store as its users hold it.
    fn store(&self) -> &dyn Store {
        self.store.as_ref().expect("the store is open")
    }

    async fn commit(&self, guards: Vec<Guard>, ops: Vec<Op>) -> Result<Rev, CommitError> {
        self.store().commit(OpId::random(), guards, ops).await
    }

    async fn put(&self, key: &str, value: &str) -> Rev {
        self.commit(vec![], vec![put(key, value)]).await.expect("a put without guards")
    }

    async fn delete(&self, name: &str) -> Rev {
        self.commit(vec![], vec![Op::delete(key(name))]).await.expect("a delete without guards")
    }

    async fn entry(&self, name: &str) -> Option<Entry> {
        self.store().get(&key(name), Read::Linearizable).await.expect("a readable store").0
    }

    async fn value(&self, name: &str) -> Option<String> {
        self.entry(name).await.map(|entry| String::from_utf8(entry.value.to_vec()).expect("text"))
    }

    fn watch(&self, after: Rev) -> Watch {
        self.store().watch(Prefix::all(), after)
    }
}

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).expect("a short key")
}

fn put(name: &str, value: &str) -> Op {
    Op::put(key(name), value.to_owned())
}

fn prefix(name: &str) -> Prefix {
    Prefix::new(name.to_owned()).expect("a short prefix")
}

fn keys_of(batch: &Batch) -> Vec<String> {
    batch.events.iter().map(|event| event.key.to_string()).collect()
}

const FILE: &str = "store.db";
