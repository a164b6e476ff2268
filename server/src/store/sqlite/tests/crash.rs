//! kill -9 while writing: what was acknowledged is there, what was not is there whole or not at all.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use tokio::task::JoinSet;

use super::*;

#[test]
fn no_acknowledged_commit_is_lost_by_kill_nine() {
    let mut fixture = Fixture::new();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut total = 0;
    for kill in 0..kills() {
        fixture.close();
        // Uneven places in the life of the process: in the first group, and after checkpoints.
        let acknowledged = run_and_kill(&fixture.path(), 1 + (kill * 37) % 400);
        fixture.reopen();
        runtime.block_on(compare(&fixture, &acknowledged, kill));
        total += acknowledged.len();
    }
    println!("{} kills, {total} acknowledged commits, 0 lost", kills());
}

/// The process that is killed: does nothing unless the test above started it.
#[test]
fn process_that_writes_until_it_is_killed() {
    let Ok(path) = env::var(CHILD) else {
        return;
    };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(Path::new(&path)).expect("a healthy store"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            writers.spawn(write_forever(Arc::clone(&store), writer));
        }
        writers.join_all().await;
    });
}

/// Counts up two keys in one commit, each time guarded by the revision of the last, and says so once acknowledged.
async fn write_forever(store: Arc<dyn Store>, writer: usize) {
    let (left, right) = pair(writer);
    let mut last = store.get(&left, Read::Linearizable).await.expect("readable").0;
    loop {
        let count = last.as_ref().map_or(0, count) + 1;
        let guard = match &last {
            Some(entry) => Guard::ModRev(left.clone(), entry.mod_rev),
            None => Guard::Absent(left.clone()),
        };
        let value = count.to_string().into_bytes();
        let ops = vec![Op::put(left.clone(), value.clone()), Op::put(right.clone(), value)];
        let rev = store.commit(OpId::random(), vec![guard], ops).await.expect("nobody else writes");
        // One write call each, past the test harness, so that a line is whole or absent.
        let line = format!("{ACK} {writer} {count} {rev}\n");
        std::io::stdout().write_all(line.as_bytes()).expect("the parent reads");
        last = store.get(&left, Read::Linearizable).await.expect("readable").0;
    }
}

/// Runs the writing process until it has acknowledged so many commits, kills it, and returns all of them.
fn run_and_kill(path: &Path, after: usize) -> Vec<[u64; 3]> {
    let mut child = start(path);
    let mut acknowledged = Vec::new();
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    for line in output.lines() {
        let line = line.expect("text");
        let Some((_, numbers)) = line.split_once(ACK) else {
            continue;
        };
        let numbers: Vec<_> = numbers.split_whitespace().map_while(|number| number.parse().ok()).collect();
        // The kill can cut the last line off.
        let Ok(numbers) = numbers.try_into() else {
            break;
        };
        acknowledged.push(numbers);
        if acknowledged.len() == after {
            child.kill().expect("it runs");
        }
    }
    child.wait().expect("it was killed");
    assert!(acknowledged.len() >= after, "the writing process ended by itself");
    acknowledged
}

fn start(path: &Path) -> Child {
    Command::new(env::current_exe().expect("this test"))
        .args(["process_that_writes_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("this test runs")
}

async fn compare(fixture: &Fixture, acknowledged: &[[u64; 3]], kill: usize) {
    for writer in 0..WRITERS {
        let (left, right) = pair(writer);
        let (left, right) = (fixture.entry(&left.to_string()).await, fixture.entry(&right.to_string()).await);
        assert_eq!(left, right, "kill {kill}: commit of writer {writer} is split");
        let newest = acknowledged.iter().rev().find(|[by, ..]| *by == writer as u64);
        let Some([_, acked, rev]) = newest else {
            continue;
        };
        let entry = left.expect("acknowledged and lost");
        // One more may have been committed, and not yet said.
        assert!((*acked..=acked + 1).contains(&count(&entry)), "kill {kill}: {acked} lost, at {entry:?}");
        assert!(entry.mod_rev >= Rev(*rev), "kill {kill}: revision {rev} went back, at {entry:?}");
    }
}

fn pair(writer: usize) -> (Key, Key) {
    (key(&format!("left/{writer}")), key(&format!("right/{writer}")))
}

fn count(entry: &Entry) -> u64 {
    std::str::from_utf8(&entry.value).expect("text").parse().expect("a count")
}

fn kills() -> usize {
    if env::var("KLNET_LONG").is_ok_and(|long| long == "1") { 1000 } else { 20 }
}

/// Names the store to the process that is killed.
const CHILD: &str = "KLNET_STORE_CRASH";

const ACK: &str = "acknowledged:";

const WRITERS: usize = 8;
