//! A failing sync: the commit is neither acknowledged nor refused, and a retry after a restart tells.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

use super::{
    power::{self, Disk, Loss},
    *,
};
use crate::store::{conformance::Chance, sqlite::medium::Medium};

#[tokio::test]
async fn commit_whose_sync_fails_is_unknown_and_a_retry_settles_it() {
    let mut fixture = Fixture::new();
    fixture.close();
    let Some(output) = run_with_failing_syncs(&fixture.path()) else {
        println!("skipped: strace cannot inject faults here");
        return;
    };
    let acknowledged = output.lines().filter(|line| line.starts_with(ACK)).count();
    assert!(acknowledged > 0, "no commit before the first fault: {output}");
    assert!(output.lines().any(|line| line.starts_with(UNKNOWN)), "sync failed unnoticed: {output}");

    fixture.reopen();
    let numbers = 0..u8::try_from(acknowledged).expect("few commits");
    for n in numbers.clone() {
        assert!(fixture.entry(&n.to_string()).await.is_some(), "acknowledged commit {n} is lost");
    }
    let settled = commit(fixture.store(), numbers.end).await.expect("the disk works again");
    assert_eq!(fixture.entry(&numbers.end.to_string()).await.expect("retried").mod_rev, settled);
    assert_eq!(commit(fixture.store(), numbers.end).await, Ok(settled));
}

#[tokio::test]
async fn nothing_is_acknowledged_after_a_failed_sync_before_the_wal_was_written_anew() {
    let folder = TempDir::new().expect("a folder for the test");
    let path = folder.path().canonicalize().expect("it is there").join(FILE);
    let (disk, medium) =
        (Disk::at(folder.path()), Medium { vfs: Some(power::NAME), reserve: 4096, ..Medium::DISK });
    let store = SqliteStore::open_on(&path, medium).expect("an empty folder");
    commit(&store, 1).await.expect("the disk works");
    disk.fail_syncs(true);
    assert!(matches!(commit(&store, 2).await, Err(CommitError::Unknown { .. })));
    for _ in 0..3 {
        assert!(matches!(commit(&store, 3).await, Err(CommitError::Unavailable(_))));
    }
    disk.fail_syncs(false);
    let third = commit(&store, 3).await.expect("the disk works again");
    let second = commit(&store, 2).await.expect("a retry settles it");
    disk.cut();
    drop(store);
    // What the failed syncs were to write may be lost; nothing that was acknowledged is in there.
    disk.restore(Loss::Unsynced, &mut Chance::new(1));
    let store = SqliteStore::open_on(&path, medium).expect("a healthy store");
    for (n, rev) in [(1, Rev(1)), (2, second), (3, third)] {
        let (entry, _) = store.get(&key(&n.to_string()), Read::Linearizable).await.expect("readable");
        assert_eq!(entry.map(|entry| entry.mod_rev), Some(rev), "acknowledged commit {n}");
    }
}

/// The process under strace: does nothing unless the test above started it.
#[tokio::test]
async fn process_that_writes_until_a_sync_fails() {
    let Ok(path) = env::var(CHILD) else {
        return;
    };
    let store = SqliteStore::open(Path::new(&path)).expect("a healthy store");
    for n in 0..100 {
        match commit(&store, n).await {
            Ok(rev) => println!("\n{ACK} {rev}"),
            Err(CommitError::Unknown { reason }) => return println!("\n{UNKNOWN} {reason}"),
            Err(other) => return println!("\nrefused: {other}"),
        }
    }
}

/// Runs the process above; from its 10th on every sync of a thread fails. `None` without a working strace.
fn run_with_failing_syncs(path: &Path) -> Option<String> {
    let works =
        Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        return None;
    }
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"])
        .args(["-e", "inject=fsync,fdatasync:error=EIO:when=10+"])
        .arg(env::current_exe().expect("this test"))
        .args(["process_that_writes_until_a_sync_fails", "--nocapture"])
        .env(CHILD, path)
        .output()
        .expect("strace runs");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Commit number `n`, the same under the same id each time.
async fn commit(store: &dyn Store, n: u8) -> Result<Rev, CommitError> {
    store.commit(OpId { principal: [0; 16], id: [n; 16] }, vec![], vec![put(&n.to_string(), "value")]).await
}

/// Names the store to the process under strace.
const CHILD: &str = "KLNET_STORE_SYNC";

const ACK: &str = "acknowledged:";

const UNKNOWN: &str = "unknown:";
