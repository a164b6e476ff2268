//! Commits, reads and scans.

use std::{future::Future, pin::pin, sync::Arc, task::Context, time::Duration};

use tokio::task::JoinSet;

use super::*;
use crate::store::{
    FailedGuard, LimitError, ReadError, Unavailable,
    sqlite::{inspect, medium::Medium},
};

#[tokio::test]
async fn commit_applies_all_its_operations_at_one_revision() {
    let fixture = Fixture::new();
    fixture.put("gone", "x").await;
    let ops = vec![put("a", "1"), Op::delete(key("gone")), put("b", "2")];
    let rev = fixture.commit(vec![], ops).await.expect("no guards");
    assert_eq!(fixture.entry("a").await.expect("put").mod_rev, rev);
    assert_eq!(fixture.entry("b").await.expect("put").mod_rev, rev);
    assert_eq!(fixture.entry("gone").await, None);
}

#[tokio::test]
async fn conflict_names_each_failed_guard_and_applies_nothing() {
    let fixture = Fixture::new();
    let rev = fixture.put("a", "1").await;
    let guards = vec![
        Guard::Absent(key("a")),
        Guard::Present(key("a")),
        Guard::Present(key("b")),
        Guard::ModRev(key("a"), Rev(rev.0 + 1)),
    ];
    let refused = fixture.commit(guards, vec![put("b", "2")]).await;
    let failed = |guard, current| FailedGuard { guard, current };
    let expected = vec![failed(0, Some(rev)), failed(2, None), failed(3, Some(rev))];
    assert_eq!(refused, Err(CommitError::Conflict(expected)));
    assert_eq!(fixture.value("b").await, None);
}

#[tokio::test]
async fn revisions_rise_with_every_commit_and_across_restarts() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.put("a", "1").await, Rev(1));
    assert_eq!(fixture.delete("a").await, Rev(2));
    assert_eq!(fixture.delete("never there").await, Rev(3));
    fixture.reopen();
    assert_eq!(fixture.put("a", "2").await, Rev(4));
}

#[tokio::test]
async fn key_created_again_after_a_delete_has_a_new_create_revision() {
    let fixture = Fixture::new();
    let first = fixture.put("a", "1").await;
    fixture.put("a", "2").await;
    assert_eq!(fixture.entry("a").await.expect("put").create_rev, first);
    fixture.delete("a").await;
    let again = fixture.put("a", "1").await;
    let entry = fixture.entry("a").await.expect("put again");
    assert_eq!((entry.create_rev, entry.mod_rev), (again, again));
}

#[tokio::test]
async fn retry_under_the_same_id_returns_the_first_revision() {
    let mut fixture = Fixture::new();
    let id = OpId::random();
    let guards = || vec![Guard::Absent(key("token"))];
    let first = fixture.store().commit(id, guards(), vec![put("token", "used")]).await;
    let retry = fixture.store().commit(id, guards(), vec![put("token", "used")]).await;
    fixture.reopen();
    let late = fixture.store().commit(id, guards(), vec![put("token", "used")]).await;
    assert_eq!((first, retry, late), (Ok(Rev(1)), Ok(Rev(1)), Ok(Rev(1))));
    assert_eq!(fixture.put("next", "").await, Rev(2));
}

#[tokio::test]
async fn parallel_retries_apply_once_and_all_learn_the_revision() {
    let fixture = Fixture::new();
    let id = OpId::random();
    let store: Arc<dyn Store> = Arc::new(fixture.store.expect("open"));
    let mut retries = JoinSet::new();
    for _ in 0..100 {
        let store = Arc::clone(&store);
        retries
            .spawn(async move { store.commit(id, vec![Guard::Absent(key("a"))], vec![put("a", "1")]).await });
    }
    assert_eq!(retries.join_all().await, vec![Ok(Rev(1)); 100]);
}

#[tokio::test]
async fn same_id_with_other_contents_is_refused() {
    let fixture = Fixture::new();
    let id = OpId::random();
    fixture.store().commit(id, vec![], vec![put("a", "1")]).await.expect("fresh id");
    let other = fixture.store().commit(id, vec![], vec![put("a", "2")]).await;
    assert_eq!(other, Err(CommitError::Reused(id)));
    assert_eq!(fixture.value("a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn id_of_a_refused_commit_can_be_used_again() {
    let fixture = Fixture::new();
    let id = OpId::random();
    let commit = || fixture.store().commit(id, vec![Guard::Present(key("a"))], vec![put("a", "2")]);
    assert!(matches!(commit().await, Err(CommitError::Conflict(_))));
    fixture.put("a", "1").await;
    assert_eq!(commit().await, Ok(Rev(2)));
}

#[tokio::test]
async fn commit_beyond_a_limit_is_refused_and_one_at_the_limit_is_kept() {
    let fixture = Fixture::new();
    let large = |length| vec![Op::put(key("large"), vec![7; length])];
    let refused = fixture.commit(vec![], large((256 << 10) + 1)).await;
    assert!(matches!(refused, Err(CommitError::TooLarge(LimitError::Value { .. }))));
    fixture.commit(vec![], large(256 << 10)).await.expect("at the limit");
    assert_eq!(fixture.entry("large").await.expect("put").value.len(), 256 << 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_one_of_a_thousand_conditional_writers_wins() {
    let fixture = Fixture::new();
    let Fixture { directory: _directory, store } = fixture;
    let store: Arc<dyn Store> = Arc::new(store.expect("open"));
    let mut writers = JoinSet::new();
    for n in 0..1000 {
        let store = Arc::clone(&store);
        let guards = vec![Guard::Absent(key("token"))];
        let ops = vec![put("token", &n.to_string())];
        writers.spawn(async move { (n, store.commit(OpId::random(), guards, ops).await) });
    }
    let (won, lost): (Vec<_>, Vec<_>) =
        writers.join_all().await.into_iter().partition(|(_, end)| end.is_ok());
    assert_eq!((won.len(), lost.len()), (1, 999));
    let conflict = CommitError::Conflict(vec![FailedGuard { guard: 0, current: Some(Rev(1)) }]);
    assert!(lost.iter().all(|(_, end)| end.as_ref() == Err(&conflict)));
    let (entry, head) = store.get(&key("token"), Read::Linearizable).await.expect("readable");
    assert_eq!(entry.expect("one won").value, won[0].0.to_string());
    assert_eq!(head, Rev(1));
}

#[tokio::test]
async fn conflict_does_not_fail_the_commits_it_shares_a_transaction_with() {
    let fixture = Fixture::new();
    let ends = tokio::join!(
        fixture.commit(vec![], vec![put("a", "1")]),
        fixture.commit(vec![Guard::Present(key("missing"))], vec![put("b", "1")]),
        fixture.commit(vec![Guard::Present(key("a"))], vec![put("c", "1")]),
    );
    assert!(matches!(ends, (Ok(Rev(1)), Err(CommitError::Conflict(_)), Ok(Rev(2)))));
}

#[tokio::test]
async fn dropped_commit_is_applied_or_not_and_a_retry_tells() {
    let fixture = Fixture::new();
    let id = OpId::random();
    poll_once(fixture.store().commit(id, vec![], vec![put("a", "1")]));
    let retry = fixture.store().commit(id, vec![], vec![put("a", "1")]).await;
    assert_eq!(retry, Ok(Rev(1)));
    assert_eq!(fixture.put("b", "1").await, Rev(2));
}

#[tokio::test]
async fn waiting_commits_are_bounded_and_served_again_once_the_engine_is_free() {
    let fixture = Fixture::new();
    let other = rusqlite::Connection::open(fixture.path()).expect("the file is there");
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody writes yet");
    let large = |n: usize| vec![Op::put(key(&format!("{n}")), vec![0; 256 << 10])];
    let mut waiting: Vec<_> = (0..200).map(|n| Box::pin(fixture.commit(vec![], large(n)))).collect();
    let full = Err(CommitError::Unavailable(Unavailable::QueueFull));
    let refused = waiting.iter_mut().filter_map(poll_once).filter(|end| *end == full).count();
    assert!(refused > 0, "200 commits of 256 KiB found room in a queue of 32 MiB");
    other.execute_batch("ROLLBACK").expect("a transaction is open");
    drop(waiting);
    fixture.reaches_writable().await;
}

#[tokio::test]
async fn read_ahead_of_the_store_is_refused() {
    let fixture = Fixture::new();
    let rev = fixture.put("a", "1").await;
    let ahead = ReadError::Ahead { asked: Rev(2), head: rev };
    let read = |rev| Read::AtLeast(rev);
    assert!(fixture.store().get(&key("a"), read(rev)).await.is_ok());
    assert_eq!(fixture.store().get(&key("a"), read(Rev(2))).await, Err(ahead.clone()));
    assert_eq!(fixture.store().scan(&Prefix::all(), None, 1, Some(Rev(2))).await, Err(ahead));
}

#[tokio::test]
async fn pages_of_a_scan_are_one_snapshot_while_commits_go_on() {
    let fixture = Fixture::new();
    for name in ["p/a", "p/b", "p/c", "q"] {
        fixture.put(name, "old").await;
    }
    let first = fixture.store().scan(&prefix("p/"), None, 2, None).await.expect("readable");
    fixture.put("p/c", "new").await;
    fixture.put("p/d", "new").await;
    fixture.delete("p/a").await;
    let second =
        fixture.store().scan(&prefix("p/"), first.next.as_ref(), 2, Some(first.at)).await.expect("kept");
    let seen: Vec<_> = first.entries.iter().chain(&second.entries).collect();
    let names: Vec<_> = seen.iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!(names, ["p/a", "p/b", "p/c"]);
    assert!(seen.iter().all(|(_, entry)| entry.value == "old"));
    assert_eq!(second.next, None);
}

#[tokio::test]
async fn page_ends_early_when_its_values_are_many_bytes() {
    let fixture = Fixture::new();
    for n in 0..8 {
        let op = Op::put(key(&format!("{n}")), vec![0; 256 << 10]);
        fixture.commit(vec![], vec![op]).await.expect("within limits");
    }
    let page = fixture.store().scan(&Prefix::all(), None, 100, None).await.expect("readable");
    assert_eq!(page.entries.len(), 5, "pages end after 1 MiB");
    let rest = fixture.store().scan(&Prefix::all(), page.next.as_ref(), 100, Some(page.at)).await;
    assert_eq!(rest.expect("kept").entries.len(), 3);
}

#[tokio::test]
async fn scan_of_a_compacted_snapshot_is_refused() {
    let fixture = Fixture::new();
    fixture.put("a", "1").await;
    let rev = fixture.put("a", "2").await;
    fixture.store().compact(rev).await.expect("not ahead");
    let scan = |at| fixture.store().scan(&Prefix::all(), None, 1, Some(at));
    assert_eq!(scan(Rev(1)).await, Err(ReadError::Compacted { asked: Rev(1), oldest: rev }));
    assert_eq!(scan(rev).await.expect("the oldest kept").entries.len(), 1);
}

#[tokio::test]
async fn history_is_forgotten_by_itself_and_its_rows_are_swept() {
    let folder = TempDir::new().expect("a folder for the test");
    let path = folder.path().join(FILE);
    let medium = Medium { history: Duration::ZERO, ..Medium::DISK };
    let store = SqliteStore::open_on(&path, medium).expect("an empty folder");
    let commit = async |op| store.commit(OpId::random(), vec![], vec![op]).await.expect("no guards");
    for n in 0..1000 {
        commit(put("a", &n.to_string())).await;
        commit(put("gone", "x")).await;
        commit(Op::delete(key("gone"))).await;
    }
    let scan = store.scan(&Prefix::all(), None, 1, Some(Rev(1))).await;
    assert!(matches!(scan, Err(ReadError::Compacted { asked: Rev(1), .. })), "{scan:?}");
    store.close().await;
    let left = inspect(&path).expect("a healthy store");
    assert!(left.is_sound(), "{:?}", left.findings);
    // Sweeping goes on between commits, a few hundred rows behind at most.
    assert!(left.rows < 1500 && left.keys == 1, "{left:?}");
}

impl Fixture {
    /// Commits until one is taken; each attempt waits for the answers before it.
    async fn reaches_writable(&self) {
        for _ in 0..1000 {
            if self.commit(vec![], vec![put("again", "1")]).await.is_ok() {
                return;
            }
        }
        panic!("the store does not write again");
    }
}

fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}
