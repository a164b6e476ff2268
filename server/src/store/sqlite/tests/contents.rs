//! Everything under prefixes at once, read along the log.

use tokio::sync::mpsc;

use super::{Fixture, key, prefix};
use crate::store::{Entry, Key, Op, OpId, Prefix, ReadError, Rev, Unavailable, conformance::contents};

#[tokio::test]
async fn contents_are_those_of_a_scan_however_far_apart_their_rows_lie() {
    let fixture = Fixture::new();
    let old = fill(&fixture).await;
    for first in (0..DEVICES).step_by(300) {
        let changed = (first..first + 30).map(|n| super::put(&device(n), "new"));
        let deleted = (first + 30..first + 60).map(|n| Op::delete(key(&device(n))));
        fixture.commit(vec![], changed.chain(deleted).collect()).await.expect("no guards");
    }
    let head = fixture.put("last", "x").await;
    for at in [old, head] {
        for prefixes in [vec![prefix("device/")], vec![prefix("rare/"), prefix("device/")], vec![]] {
            let mut expected = Vec::new();
            for prefix in &prefixes {
                expected.extend(scanned(&fixture, prefix, at).await);
            }
            expected.sort_by(|(a, _), (b, _)| a.cmp(b));
            let found = contents(fixture.store(), prefixes, at).await.expect("readable");
            assert!(found == expected, "{} instead of {}", found.len(), expected.len());
        }
    }
}

#[tokio::test]
async fn row_that_is_gone_is_damage_and_not_an_older_state() {
    let fixture = Fixture::new();
    for value in ["enrolled", "revoked"] {
        fixture.put("device/1", value).await;
    }
    let head = fixture.put("device/2", "x").await;
    let raw = rusqlite::Connection::open(fixture.path()).expect("a database");
    raw.execute("DELETE FROM log WHERE value = ?1", [b"revoked"]).expect("writable");
    let found = contents(fixture.store(), vec![prefix("device/")], head).await;
    assert!(matches!(found, Err(ReadError::Unavailable(Unavailable::Damaged(_)))), "{found:?}");
}

#[tokio::test]
async fn contents_that_nobody_takes_in_hold_up_nothing() {
    let mut fixture = Fixture::new();
    let at = fill(&fixture).await;
    let (batches, mut ready) = mpsc::channel(1);
    let read = fixture.store().contents(vec![Prefix::all()], at, batches);
    let (read, first) = tokio::join!(read, async {
        let first = ready.recv().await;
        ready.close();
        first
    });
    assert_eq!((read, first.is_some()), (Ok(()), true));
    fixture.close();
}

/// Many devices, with much of something else between them, and something rare.
async fn fill(fixture: &Fixture) -> Rev {
    let mut last = Rev::ZERO;
    for first in (0..DEVICES).step_by(30) {
        let put = |n: usize| super::put(&device(n * 7919 % DEVICES), &n.to_string());
        last = fixture.commit(vec![], (first..first + 30).map(put).collect()).await.expect("no guards");
        if first % 600 == 0 {
            fixture.put(&format!("rare/{first}"), "x").await;
            audit(fixture).await;
        }
    }
    last
}

async fn audit(fixture: &Fixture) {
    for _ in 0..20 {
        let op = Op::put(key("audit"), vec![0; 100]);
        fixture.store().commit(OpId::random(), vec![], vec![op]).await.expect("no guards");
    }
}

fn device(n: usize) -> String {
    format!("device/{n:05}")
}

async fn scanned(fixture: &Fixture, prefix: &Prefix, at: Rev) -> Vec<(Key, Entry)> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = fixture.store().scan(prefix, after.as_ref(), 1000, Some(at)).await.expect("readable");
        all.extend(page.entries);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

/// More than a batch, and a multiple of what one commit holds.
const DEVICES: usize = 2400;
