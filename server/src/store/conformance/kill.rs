//! kill -9 while writing, from another process: this test's own program, started again for one test that does nothing
//! else.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use tokio::task::JoinSet;

use super::{
    Chance,
    durability::{Acknowledged, WRITERS, compare, count_up},
};
use crate::store::{Rev, Store};

/// Opens a backend's store at a path.
pub(in crate::store) type Open = fn(&Path) -> Arc<dyn Store>;

/// Whether no acknowledged commit is lost by so many kills of the process that runs `test`; says how many there were.
///
/// # Errors
/// How the contract is broken.
pub(in crate::store) fn loses_nothing(
    test: &str,
    path: &Path,
    open: Open,
    kills: u64,
) -> Result<usize, String> {
    let (mut chance, mut total) = (Chance::new(9), 0);
    for kill in 0..kills {
        // Uneven places in the life of the process: in the first group, and after checkpoints.
        let acknowledged = run_and_kill(test, path, 1 + chance.below(400))?;
        total += acknowledged.len();
        let newest: Vec<Option<Acknowledged>> = (0..WRITERS)
            .map(|writer| acknowledged.iter().rev().find(|(by, _)| *by == writer).map(|(_, told)| *told))
            .collect();
        let store = open(path);
        super::block_on(compare(Arc::clone(&store), &newest))
            .map_err(|error| format!("kill {kill}: {error}"))?;
        super::block_on(store.close());
    }
    Ok(total)
}

/// What the process does that is killed; nothing unless it was started for that.
pub(in crate::store) fn write_until_killed(open: Open) {
    let Some(path) = env::var_os(PLACE).map(PathBuf::from) else { return };
    let store = open(&path);
    super::block_on(async {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let store = Arc::clone(&store);
            writers.spawn(async move {
                count_up(&*store, writer, |(count, Rev(rev))| {
                    // One write call each, past the test harness, so that a line is whole or absent.
                    let line = format!("{ACK} {writer} {count} {rev}\n");
                    std::io::stdout().write_all(line.as_bytes()).expect("the parent reads");
                })
                .await;
            });
        }
        writers.join_all().await;
    });
}

/// Runs the writing process until it has acknowledged so many commits, kills it, and returns all of them.
fn run_and_kill(test: &str, path: &Path, after: u64) -> Result<Vec<(usize, Acknowledged)>, String> {
    let mut child = start(test, path);
    let mut acknowledged = Vec::new();
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    for line in output.lines().map_while(Result::ok) {
        let Some((_, numbers)) = line.split_once(ACK) else { continue };
        let numbers: Vec<u64> = numbers.split_whitespace().map_while(|number| number.parse().ok()).collect();
        // The kill can cut the last line off.
        let [writer, count, rev] = numbers[..] else { break };
        acknowledged.push((usize::try_from(writer).expect("few"), (count, Rev(rev))));
        if acknowledged.len() as u64 == after {
            child.kill().expect("it runs");
        }
    }
    child.wait().expect("it was killed");
    super::holds(acknowledged.len() as u64 >= after, || "the writing process ended by itself".into())?;
    Ok(acknowledged)
}

/// This test's own program, for one test alone; [`PLACE`] tells it that it was started for that.
pub(super) fn start(test: &str, path: &Path) -> Child {
    Command::new(env::current_exe().expect("this test"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(PLACE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("this test runs")
}

/// Names the store, or any other place, to the process that is started.
pub(super) const PLACE: &str = "KLNET_STORE_CRASH";

const ACK: &str = "acknowledged:";
