//! Opening: one process, our own file, private, and checked after an unclean stop.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rusqlite::Connection;

use super::*;
use crate::store::{OpenError, ReadError, Unavailable};

#[tokio::test]
async fn second_server_on_one_file_is_refused_by_name() {
    let mut fixture = Fixture::new();
    let refused = SqliteStore::open(&fixture.path()).expect_err("the first one holds the lock");
    let expected = format!("store {} is in use by process {}", fixture.path().display(), std::process::id());
    assert_eq!(refused.to_string(), expected);
    fixture.reopen();
    fixture.put("a", "1").await;
}

#[tokio::test]
async fn files_of_the_store_are_readable_by_their_owner_alone() {
    let fixture = Fixture::new();
    fixture.put("a", "1").await;
    let mut names = Vec::new();
    for file in fs::read_dir(fixture.directory.path()).expect("the directory is there") {
        let file = file.expect("readable");
        let mode = file.metadata().expect("readable").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.file_name());
        names.push(file.file_name());
    }
    assert_eq!(names.len(), 5, "database, WAL, its index, the lock and the reserve: {names:?}");
}

#[tokio::test]
async fn a_closed_store_has_answered_what_it_took_and_another_may_have_the_file() {
    let fixture = Fixture::new();
    let mut watch = fixture.watch(Rev::ZERO);
    let committing = fixture.put("a", "1");
    let (rev, ()) = tokio::join!(committing, async { fixture.store().close().await });
    let (op_id, ops) = (OpId::random(), vec![put("a", "2")]);
    let refused = fixture.store().commit(op_id, Vec::new(), ops).await;
    assert_eq!(refused, Err(CommitError::Unavailable(Unavailable::Closed)));
    let read = fixture.store().get(&key("a"), Read::Linearizable).await;
    assert_eq!(read, Err(ReadError::Unavailable(Unavailable::Closed)));
    let ended = async { while watch.next().await.is_ok() {} };
    ended.await;
    let other = SqliteStore::open(&fixture.path()).expect("the first one has let go");
    let (entry, _) = other.get(&key("a"), Read::AtLeast(rev)).await.expect("it can be read");
    assert_eq!(entry.expect("it was acknowledged").value, "1");
    assert_eq!(fixture.store().close().await, (), "closing it again changes nothing");
    assert!(SqliteStore::open(&fixture.path()).is_err(), "the other one holds it");
}

#[tokio::test]
async fn a_store_in_use_can_be_asked_whether_this_version_could_open_it() {
    let mut fixture = Fixture::new();
    fixture.put("a", "1").await;
    SqliteStore::check(&fixture.path()).expect("it could");
    fixture.close();
    edit(&fixture.path(), "PRAGMA user_version = 99");
    assert!(matches!(SqliteStore::check(&fixture.path()), Err(OpenError::Newer { found: 99, .. })));
}

#[test]
fn incarnation_stays_with_the_file_and_differs_between_files() {
    let mut fixture = Fixture::new();
    let first = fixture.store().incarnation();
    fixture.reopen();
    assert_eq!(fixture.store().incarnation(), first);
    assert_ne!(Fixture::new().store().incarnation(), first);
}

#[test]
fn file_of_a_newer_schema_is_refused() {
    let mut fixture = Fixture::new();
    fixture.close();
    edit(&fixture.path(), "PRAGMA user_version = 99");
    let refused = SqliteStore::open(&fixture.path());
    assert!(matches!(refused, Err(OpenError::Newer { found: 99, known: 3, .. })), "{refused:?}");
}

#[test]
fn database_of_another_product_is_refused_and_left_alone() {
    let directory = TempDir::new().expect("a directory for the test");
    let path = directory.path().join(FILE);
    edit(&path, "CREATE TABLE theirs (x)");
    let refused = SqliteStore::open(&path);
    assert!(matches!(refused, Err(OpenError::Foreign { .. })), "{refused:?}");
    let tables = Connection::open(&path)
        .and_then(|db| db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, u32>(0)));
    assert_eq!(tables, Ok(1));
}

#[tokio::test]
async fn damage_is_found_when_the_store_is_opened() {
    let mut fixture = Fixture::new();
    for n in 0..200 {
        fixture.put(&format!("key {n}"), "value").await;
    }
    fixture.close();
    damage(&fixture.path());
    let refused = SqliteStore::open(&fixture.path());
    assert!(matches!(refused, Err(OpenError::Damaged { .. })), "{refused:?}");
}

#[tokio::test]
async fn store_that_lost_what_it_acknowledged_is_refused() {
    let mut fixture = Fixture::new();
    fixture.put("a", "1").await;
    fixture.close();
    let yesterday = fs::read(fixture.path()).expect("the file is there");
    fixture.reopen();
    fixture.put("a", "2").await;
    fixture.close();
    fs::write(fixture.path(), yesterday).expect("writable");
    let refused = SqliteStore::open(&fixture.path()).expect_err("it went back");
    assert!(refused.to_string().ends_with("revision 2 was acknowledged, the newest there is 1"), "{refused}");
}

fn edit(path: &Path, statement: &str) {
    let db = Connection::open(path).expect("a writable directory");
    db.execute_batch(statement).expect("a valid statement");
}

/// Overwrites the header of the last page, which belongs to the log or its index.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).expect("the file is there");
    let last = bytes.len() - 4096;
    bytes[last..last + 100].fill(0xa5);
    fs::write(path, bytes).expect("writable");
}
