//! Watches beside busy writers: every batch once, whole and in order, or an end that says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::{sync::watch, task::JoinSet};

use super::{Chance, Factory, Verdict, commit, holds, key, prefix, scan};
use crate::store::{Batch, Key, Op, Prefix, Rev, Store, WatchEnd};

/// What each commit changed, by the answers of the store: the value, or a delete.
type Changes = BTreeMap<Rev, Vec<(Key, Option<Vec<u8>>)>>;

/// Whether watches from the beginning, from a scan and from behind a compaction miss and repeat nothing.
pub(in crate::store) fn miss_and_repeat_nothing(factory: &dyn Factory, rounds: u64) -> Verdict {
    (0..rounds).try_for_each(|round| {
        let specimen = factory.fresh();
        let store = specimen.store();
        super::block_on(watched(store, round)).map_err(|why| format!("round {round}: {why}"))
    })
}

async fn watched(store: Arc<dyn Store>, round: u64) -> Verdict {
    let begun = commit(&*store, vec![op(0, 0)]).await?;
    let slow = store.watch(Prefix::all(), Rev::ZERO);
    let (progress, mut reached) = watch::channel(Rev::ZERO);
    let mut followers = JoinSet::new();
    for under in PREFIXES {
        followers.spawn(follow(Arc::clone(&store), prefix(under), begun));
    }
    let writing = tokio::spawn(write(Arc::clone(&store), round, progress));
    // In the middle of it: what a scan shows, and what follows it, is everything.
    let half = reached.wait_for(|rev| rev.0 >= COMMITS).await.map(|rev| *rev).map_err(|_| "nobody writes")?;
    let (entries, at) = scan(&*store, &Prefix::all()).await?;
    let late = tokio::spawn(follow(Arc::clone(&store), Prefix::all(), at));
    let mut changes = writing.await.map_err(|_| "a writer panicked")??;
    // After the scan, so that every watch has something to come.
    let last =
        commit(&*store, PREFIXES.map(|under| Op::put(key(format!("{under}z")), "last")).into()).await?;
    changes.insert(last, PREFIXES.map(|under| (key(format!("{under}z")), Some(b"last".to_vec()))).into());
    changes.insert(begun, vec![change(0, 0)]);
    drop_idle_deletes(&mut changes);
    let shown: Vec<_> = entries.into_iter().map(|(key, entry)| (key, entry.value.to_vec())).collect();
    holds(shown == state(&changes, at), || format!("a scan at {at} shows {shown:?}"))?;
    let (under, seen) = late.await.map_err(|_| "a follower panicked")??;
    expected(&seen, &changes, &under, at)?;
    while let Some(followed) = followers.join_next().await {
        let (under, seen) = followed.map_err(|_| "a follower panicked")??;
        expected(&seen, &changes, &under, begun)?;
    }
    store.compact(half).await.map_err(|error| format!("a compaction: {error}"))?;
    behind(slow, &changes, half).await
}

/// Several writers at once; gives what each commit changed.
async fn write(store: Arc<dyn Store>, round: u64, progress: watch::Sender<Rev>) -> Result<Changes, String> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, progress) = (Arc::clone(&store), progress.clone());
        let mut chance = Chance::new(round * WRITERS + writer);
        writers.spawn(async move {
            let mut changes = Changes::new();
            for n in 1..=COMMITS {
                let keys = [chance.below(KEYS), chance.below(KEYS) + KEYS];
                let number = writer * COMMITS + n;
                let rev = commit(&*store, keys.map(|key| op(key, number)).into()).await?;
                changes.insert(rev, keys.map(|key| change(key, number)).into());
                progress.send_replace(rev);
            }
            Ok::<_, String>(changes)
        });
    }
    let mut all = Changes::new();
    for changes in writers.join_all().await {
        all.extend(changes?);
    }
    Ok(all)
}

/// Reads a watch up to the last commit.
async fn follow(store: Arc<dyn Store>, under: Prefix, after: Rev) -> Result<(Prefix, Vec<Batch>), String> {
    let mut watch = store.watch(under.clone(), after);
    let mut seen: Vec<Batch> = Vec::new();
    loop {
        let batch =
            watch.next().await.map_err(|end| format!("a watch that was read at once ended: {end}"))?;
        let last = batch.events.iter().any(|event| event.key.as_bytes().ends_with(b"z"));
        seen.push(batch);
        if last {
            return Ok((under, seen));
        }
    }
}

/// A watch that nobody read for long: it goes on where it was, and may end, but never goes on past a gap.
async fn behind(mut slow: crate::store::Watch, changes: &Changes, compacted: Rev) -> Verdict {
    let mut expected = batches(changes, &Prefix::all(), Rev::ZERO).into_iter();
    loop {
        match slow.next().await {
            Ok(batch) => {
                let next = expected.next();
                holds(Some(plain(&batch)) == next, || {
                    format!("a slow watch gave {batch:?} instead of {next:?}")
                })?;
                if expected.len() == 0 {
                    return Ok(());
                }
            }
            Err(WatchEnd::Compacted { oldest }) => {
                let again = slow.next().await == Err(WatchEnd::Compacted { oldest });
                return holds(oldest == compacted && again, || {
                    format!("compacted at {oldest}, not {compacted}")
                });
            }
            Err(end) => return Err(format!("a slow watch ended: {end}")),
        }
    }
}

fn expected(seen: &[Batch], changes: &Changes, under: &Prefix, after: Rev) -> Verdict {
    let (seen, expected): (Vec<_>, _) = (seen.iter().map(plain).collect(), batches(changes, under, after));
    let differs = seen.iter().zip(&expected).find(|(seen, expected)| seen != expected);
    holds(seen == expected, || {
        format!(
            "a watch of {under:?} after {after} gave {} of {} batches, {differs:?}",
            seen.len(),
            expected.len()
        )
    })
}

type Plain = (Rev, Vec<(Key, Option<Vec<u8>>)>);

fn plain(batch: &Batch) -> Plain {
    let events = batch.events.iter();
    (
        batch.rev,
        events.map(|event| (event.key.clone(), event.entry.as_ref().map(|e| e.value.to_vec()))).collect(),
    )
}

fn batches(changes: &Changes, under: &Prefix, after: Rev) -> Vec<Plain> {
    let late = changes.range(after.next()..);
    late.map(|(rev, events)| (*rev, events.iter().filter(|(key, _)| under.contains(key)).cloned().collect()))
        .filter(|(_, events): &Plain| !events.is_empty())
        .collect()
}

/// A delete of what is not there is no event.
fn drop_idle_deletes(changes: &mut Changes) {
    let mut there = BTreeSet::new();
    for events in changes.values_mut() {
        events.retain(|(key, value)| match value {
            Some(_) => {
                there.insert(key.clone());
                true
            }
            None => there.remove(key),
        });
    }
}

/// What all commits up to `at` leave.
fn state(changes: &Changes, at: Rev) -> Vec<(Key, Vec<u8>)> {
    let mut state = BTreeMap::new();
    for (key, value) in changes.range(..=at).flat_map(|(_, events)| events) {
        match value {
            Some(value) => state.insert(key.clone(), value.clone()),
            None => state.remove(key),
        };
    }
    state.into_iter().collect()
}

/// Key and value, or a delete of it by every third commit.
fn change(n: u64, number: u64) -> (Key, Option<Vec<u8>>) {
    let under = if n.is_multiple_of(2) { "a/" } else { "b/" };
    (key(format!("{under}{n}")), (number % 3 != 2).then(|| number.to_string().into_bytes()))
}

fn op(n: u64, number: u64) -> Op {
    match change(n, number) {
        (key, Some(value)) => Op::put(key, value),
        (key, None) => Op::delete(key),
    }
}

const PREFIXES: [&str; 2] = ["a/", "b/"];
const WRITERS: u64 = 3;
const COMMITS: u64 = 60;
const KEYS: u64 = 8;
