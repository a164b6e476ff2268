//! Stores of an older schema are brought up to date, and a kill or power cut at any moment leaves the old or the new.

use std::{path::Path, sync::Arc};

use rusqlite::Connection;
use tempfile::TempDir;

use super::{
    FILE, key,
    power::{self, Disk, Loss},
};
use crate::store::{
    OpId, Prefix, Read, Rev, SqliteStore, Store,
    conformance::{Chance, block_on},
    sqlite::{medium::Medium, schema::FIRST},
};

#[test]
fn store_of_the_first_schema_keeps_everything() {
    let (folder, medium, _) = old_store();
    let store = SqliteStore::open_on(&folder.path().join(FILE), medium).expect("an older store");
    block_on(check(&store));
}

#[test]
fn kill_or_power_cut_at_any_moment_of_a_migration_leaves_the_old_or_the_new() {
    let calls = {
        let (folder, medium, disk) = old_store();
        drop(SqliteStore::open_on(&folder.path().join(FILE), medium).expect("an older store"));
        disk.calls()
    };
    let mut chance = Chance::new(4);
    for (loss, cut) in
        [Loss::Nothing, Loss::Unsynced].into_iter().flat_map(|loss| (0..calls).map(move |n| (loss, n)))
    {
        let (folder, medium, disk) = old_store();
        let path = folder.path().join(FILE);
        disk.cut_after(cut);
        drop(SqliteStore::open_on(&path, medium));
        disk.restore(loss, &mut chance);
        let store = SqliteStore::open_on(&path, medium);
        let store = store.unwrap_or_else(|error| panic!("{loss:?} at call {cut} of {calls}: {error}"));
        block_on(check(&store));
    }
    println!("{calls} calls, each cut off twice");
}

/// A store as the first schema had it: two commits and a delete, by ids without a principal.
fn old_store() -> (TempDir, Medium, Arc<Disk>) {
    let folder = TempDir::new().expect("a folder for the test");
    write_old(&folder.path().canonicalize().expect("it is there").join(FILE));
    let disk = Disk::at(folder.path());
    let medium = Medium { vfs: Some(power::NAME), reserve: 4096, ..Medium::DISK };
    (folder, medium, disk)
}

fn write_old(path: &Path) {
    let db = Connection::open(path).expect("an empty folder");
    db.execute_batch("PRAGMA journal_mode = WAL").expect("a file system with locks");
    db.execute_batch(FIRST).expect("the first schema");
    db.execute_batch(
        "PRAGMA application_id = 0x6b6c7374; PRAGMA user_version = 1;
         INSERT INTO store VALUES (x'11111111111111111111111111111111', 0);
         INSERT INTO log VALUES (256, x'61', 1, x'31'), (257, x'62', 1, x'31'),
             (512, x'61', 1, x'32'), (768, x'62', 1, NULL);",
    )
    .expect("what the first version wrote");
    for rev in 1..=3_u8 {
        db.execute("INSERT INTO receipt VALUES (?1, ?2, ?3)", (rev, [rev; 16], [rev; 32]))
            .expect("a receipt");
    }
}

async fn check(store: &SqliteStore) {
    let (entry, head) = store.get(&key("a"), Read::Linearizable).await.expect("readable");
    let entry = entry.expect("it was put");
    assert_eq!(
        (&entry.value[..], entry.create_rev, entry.mod_rev, head),
        (&b"2"[..], Rev(1), Rev(2), Rev(3))
    );
    let page = store.scan(&Prefix::all(), None, 10, Some(Rev(1))).await.expect("nothing is compacted");
    assert_eq!(page.entries.len(), 2);
    let mut watch = store.watch(Prefix::all(), Rev::ZERO);
    for rev in 1..=3 {
        assert_eq!(watch.next().await.expect("kept").rev, Rev(rev));
    }
    let reused = store.commit(OpId { principal: [0; 16], id: [2; 16] }, vec![], vec![]).await;
    assert!(
        reused.is_err_and(|error| error.to_string().contains("already committed")),
        "ids are the server's own"
    );
}
