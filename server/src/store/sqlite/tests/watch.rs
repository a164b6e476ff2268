//! Watches: nothing skipped, nothing repeated, nothing split.

use super::*;
use crate::store::WatchEnd;

#[tokio::test]
async fn watch_delivers_what_was_before_it_and_what_comes_after() {
    let fixture = Fixture::new();
    fixture.put("a", "1").await;
    let rev = fixture.put("b", "1").await;
    let mut watch = fixture.watch(Rev(1));
    assert_eq!(watch.next().await.expect("kept").rev, rev);
    let (live, _) = tokio::join!(watch.next(), fixture.delete("a"));
    let live = live.expect("store is open");
    assert_eq!((live.rev, live.events[0].entry.clone()), (Rev(3), None));
}

#[tokio::test]
async fn watch_of_a_prefix_sees_only_that_and_keeps_commits_whole() {
    let fixture = Fixture::new();
    let mut watch = fixture.store().watch(prefix("p/"), Rev::ZERO);
    fixture.put("q", "1").await;
    let ops = vec![put("p/b", "1"), put("q", "2"), put("p/a", "1")];
    let rev = fixture.commit(vec![], ops).await.expect("no guards");
    fixture.put("p/c", "1").await;
    let batch = watch.next().await.expect("kept");
    assert_eq!((batch.rev, keys_of(&batch)), (rev, vec!["p/b".to_owned(), "p/a".to_owned()]));
    assert_eq!(keys_of(&watch.next().await.expect("kept")), ["p/c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_beside_a_busy_writer_misses_and_repeats_nothing() {
    let fixture = Fixture::new();
    const COMMITS: u64 = 2000;
    let write = async {
        for n in 0..COMMITS {
            fixture.put(&format!("k{}", n % 7), "v").await;
        }
    };
    let follow = async |mut watch: Watch| {
        for n in 1..=COMMITS {
            assert_eq!(watch.next().await.expect("store is open").rev, Rev(n));
        }
    };
    tokio::join!(write, follow(fixture.watch(Rev::ZERO)), follow(fixture.watch(Rev::ZERO)));
}

#[tokio::test]
async fn watch_that_slept_through_more_than_the_notices_reads_the_log() {
    let fixture = Fixture::new();
    let mut watch = fixture.store().watch(prefix("p/"), Rev::ZERO);
    fixture.put("p/awake", "1").await;
    assert_eq!(watch.next().await.expect("kept").rev, Rev(1));
    fixture.put("p/asleep", "1").await;
    // Push that notice out; those that remain say nothing of the prefix until the last.
    for _ in 0..1200 {
        fixture.put("q", "1").await;
    }
    let last = fixture.put("p/last", "1").await;
    assert_eq!(watch.next().await.expect("kept").rev, Rev(2));
    assert_eq!(watch.next().await.expect("kept").rev, last);
}

#[tokio::test]
async fn scan_and_then_watch_at_its_revision_misses_and_repeats_nothing() {
    let fixture = Fixture::new();
    fixture.put("a", "1").await;
    let page = fixture.store().scan(&Prefix::all(), None, 10, None).await.expect("readable");
    let rev = fixture.put("b", "1").await;
    assert_eq!(fixture.watch(page.at).next().await.expect("kept").rev, rev);
}

#[tokio::test]
async fn cancelled_wait_loses_no_event() {
    let fixture = Fixture::new();
    let mut watch = fixture.watch(Rev::ZERO);
    for n in 1..=50 {
        // Whichever ends first drops the other at the place it has reached.
        let early = tokio::select! {
            batch = watch.next() => Some(batch),
            _ = fixture.put("a", "1") => None,
        };
        let batch = match early {
            Some(batch) => batch,
            None => watch.next().await,
        };
        assert_eq!(batch.expect("kept").rev, Rev(n));
    }
}

#[tokio::test]
async fn watch_of_compacted_events_ends_and_stays_ended() {
    let fixture = Fixture::new();
    fixture.put("a", "1").await;
    let rev = fixture.put("a", "2").await;
    fixture.store().compact(rev).await.expect("not ahead");
    let mut watch = fixture.watch(Rev::ZERO);
    for _ in 0..2 {
        assert_eq!(watch.next().await, Err(WatchEnd::Compacted { oldest: rev }));
    }
}

#[tokio::test]
async fn watch_ends_with_its_place_when_the_store_is_closed() {
    let mut fixture = Fixture::new();
    let rev = fixture.put("a", "1").await;
    let mut watch = fixture.watch(Rev::ZERO);
    assert_eq!(watch.next().await.expect("kept").rev, rev);
    fixture.close();
    assert_eq!(watch.next().await, Err(WatchEnd::Lost { after: rev }));
}
