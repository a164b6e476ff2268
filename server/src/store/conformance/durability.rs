//! Power cuts and damage: what was acknowledged is there, what was not is there whole or not at all, and what is not as it
//! was written is noticed.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio::task::JoinSet;

use super::{Chance, Factory, Specimen, Verdict, commit, entry, holds, key};
use crate::store::{Entry, Guard, Key, Op, OpId, Prefix, Read, Rev, Store, Watch};

/// What a writer was told: its count, and the revision.
pub(super) type Acknowledged = (u64, Rev);

/// Whether no acknowledged commit is lost by so many power cuts; says how many were acknowledged.
///
/// # Errors
/// How the contract is broken.
pub(in crate::store) fn survives_power_cuts(
    factory: &dyn Factory,
    cuts: u64,
    seed: u64,
) -> Result<usize, String> {
    let mut specimen = factory.fresh();
    let (mut chance, mut total) = (Chance::new(seed), 0);
    for cut in 0..cuts {
        let acknowledged = write_until_cut(&mut *specimen, 1 + chance.below(60));
        total += acknowledged.iter().map(Vec::len).sum::<usize>();
        let durable = specimen.durable().ok_or("the backend claims no durability")?;
        durable.restore_power(&mut chance).map_err(|error| format!("cut {cut}: {error}"))?;
        let newest: Vec<_> = acknowledged.iter().map(|all| all.last().copied()).collect();
        let compared = super::block_on(compare(specimen.store(), &newest));
        compared.map_err(|error| format!("cut {cut}: {error}"))?;
    }
    Ok(total)
}

/// Whether every one of so many damaged copies refuses to open, or to answer, or answers as if nothing had happened.
/// Says how many were noticed.
///
/// # Errors
/// How the contract is broken.
pub(in crate::store) fn notices_damage(
    factory: &dyn Factory,
    copies: u64,
    seed: u64,
) -> Result<usize, String> {
    let mut specimen = factory.fresh();
    let contents = super::block_on(fill(specimen.store()))?;
    let (mut chance, mut noticed) = (Chance::new(seed), 0);
    for copy in 0..copies {
        let damaged = specimen.durable().ok_or("the backend claims no durability")?.damaged_copy(&mut chance);
        noticed += match damaged {
            Err(_) => 1,
            Ok(damaged) => {
                let answered = super::block_on(ask(damaged.store(), &contents));
                usize::from(answered.map_err(|error| format!("copy {copy}: {error}"))?)
            }
        };
    }
    Ok(noticed)
}

/// Counts up a pair of keys of each writer until the power is cut, which is after so many answers.
fn write_until_cut(specimen: &mut dyn Specimen, answers: u64) -> Vec<Vec<Acknowledged>> {
    let told = Arc::new(Mutex::new(vec![Vec::new(); WRITERS]));
    let count = Arc::new(AtomicUsize::new(0));
    super::block_on(async {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (store, told, count) = (specimen.store(), Arc::clone(&told), Arc::clone(&count));
            writers.spawn(async move {
                count_up(&*store, writer, |acknowledged| {
                    told.lock().expect("nobody panics")[writer].push(acknowledged);
                    count.fetch_add(1, SeqCst);
                })
                .await;
            });
        }
        // A writer that stops before the cut was refused, which the comparison is about.
        while (count.load(SeqCst) as u64) < answers && !writers.is_empty() {
            while writers.try_join_next().is_some() {}
            tokio::task::yield_now().await;
        }
        specimen.durable().into_iter().for_each(|durable| durable.cut_power());
        writers.join_all().await;
    });
    let told = told.lock().expect("nobody panics");
    told.clone()
}

/// Counts up two keys in one commit, each time guarded by the revision of the last, until the store does not answer.
pub(super) async fn count_up(store: &dyn Store, writer: usize, mut told: impl FnMut(Acknowledged)) {
    let (left, right) = pair(writer);
    let Ok((mut last, _)) = store.get(&left, Read::Linearizable).await else { return };
    loop {
        let count = last.as_ref().map_or(0, number) + 1;
        let guard = match &last {
            Some(entry) => Guard::ModRev(left.clone(), entry.mod_rev),
            None => Guard::Absent(left.clone()),
        };
        let value = count.to_string().into_bytes();
        let ops = vec![Op::put(left.clone(), value.clone()), Op::put(right.clone(), value.clone())];
        let Ok(rev) = store.commit(OpId::random(), vec![guard], ops).await else { return };
        told((count, rev));
        last = Some(Entry { value: value.into(), create_rev: rev, mod_rev: rev, lease: None });
    }
}

/// Whether each writer's pair is as new as the newest it was told of.
pub(super) async fn compare(store: Arc<dyn Store>, newest: &[Option<Acknowledged>]) -> Verdict {
    for (writer, newest) in newest.iter().enumerate() {
        let (left, right) = pair(writer);
        let (left, right) = (entry(&*store, &left).await?, entry(&*store, &right).await?);
        let values = [&left, &right].map(|entry| entry.as_ref().map(|entry| (&entry.value, entry.mod_rev)));
        holds(values[0] == values[1], || format!("the commit of writer {writer} is split: {values:?}"))?;
        let Some((count, rev)) = *newest else { continue };
        let entry = left.ok_or_else(|| format!("writer {writer}: {count} was acknowledged and is lost"))?;
        // One more may have been committed, and not yet said.
        let kept = (count..=count + 1).contains(&number(&entry)) && entry.mod_rev >= rev;
        holds(kept, || format!("writer {writer}: {count} at {rev} was acknowledged, there is {entry:?}"))?;
    }
    Ok(())
}

async fn fill(store: Arc<dyn Store>) -> Result<Vec<(Key, Option<Entry>)>, String> {
    let lease =
        store.grant_lease(std::time::Duration::from_secs(86_400)).await.map_err(|error| error.to_string())?;
    let name = |n: usize| key(format!("devices/{n:03}"));
    for n in 0..KEYS * 2 {
        let value = vec![b'0' + u8::try_from(n % 10).expect("a digit"); 10 + n * 7 % 600];
        let put = match n % 17 {
            0 => Op::put_leased(name(n % KEYS), value, lease),
            _ => Op::put(name(n % KEYS), value),
        };
        commit(&*store, vec![put, Op::delete(name((n + 5) % KEYS))]).await?;
    }
    let mut contents = Vec::new();
    for n in 0..KEYS {
        contents.push((name(n), entry(&*store, &name(n)).await?));
    }
    Ok(contents)
}

/// Asks for everything in every way; says whether some answer was refused.
async fn ask(store: Arc<dyn Store>, contents: &[(Key, Option<Entry>)]) -> Result<bool, String> {
    let mut noticed = false;
    for (key, expected) in contents {
        match store.get(key, Read::Linearizable).await {
            Err(_) => noticed = true,
            Ok((entry, _)) => holds(entry == *expected, || format!("{key} reads as {entry:?}"))?,
        }
    }
    let there: Vec<_> =
        contents.iter().filter_map(|(key, entry)| Some((key.clone(), entry.clone()?))).collect();
    match super::scan(&*store, &Prefix::all()).await {
        Err(_) => noticed = true,
        Ok((scanned, _)) => holds(scanned == there, || "a scan differs".into())?,
    }
    if let Ok((_, head)) = store.get(&contents[0].0, Read::Linearizable).await {
        match super::contents(&*store, vec![Prefix::all()], head).await {
            Err(_) => noticed = true,
            Ok(all) => holds(all == there, || "the contents differ".into())?,
        }
    }
    let mut watch = store.watch(Prefix::all(), Rev::ZERO);
    noticed |= replay(&mut watch, &there).await?;
    Ok(noticed)
}

/// Reads a watch until it shows what is there now, or ends.
async fn replay(watch: &mut Watch, there: &[(Key, Entry)]) -> Result<bool, String> {
    let last = there.iter().map(|(_, entry)| entry.mod_rev).max().unwrap_or(Rev::ZERO);
    let mut state = std::collections::BTreeMap::new();
    loop {
        let Ok(batch) = watch.next().await else { return Ok(true) };
        for event in batch.events {
            match event.entry {
                Some(entry) => state.insert(event.key, entry),
                None => state.remove(&event.key),
            };
        }
        if batch.rev >= last {
            let same = state.iter().eq(there.iter().map(|(key, entry)| (key, entry)));
            return holds(same, || "a watch differs".into()).map(|()| false);
        }
    }
}

pub(super) fn pair(writer: usize) -> (Key, Key) {
    (key(format!("left/{writer}")), key(format!("right/{writer}")))
}

fn number(entry: &Entry) -> u64 {
    std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
}

pub(super) const WRITERS: usize = 6;
const KEYS: usize = 120;
