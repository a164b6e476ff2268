//! The cache alone: how often it hits, and what an entry takes: K15 and K16.

use std::time::Instant;

use anyhow::{Context, Result};
use klnet_ksnproxy::cache::{Cache, Cached};
use klnet_ksnproxy::verdict::{Category, Reputation};
use quick_cache::sync::Cache as QuickCache;

use super::effort::Effort;
use super::keys::key;
use super::rig::Rig;
use super::{Bench, memcached};
use crate::bench::{Better, Report, Sample, Samples, Subject, compare, compare_each};
use crate::lab::cpu_time;
use crate::sim::Rng;
use crate::system;

/// K15.
pub(super) fn hits(bench: &Bench) -> Result<Report> {
    let (keys, _) = bench.effort.zipf;
    let (draws, capacity) = (zipf(&bench.effort), usize::try_from(keys / 10)?);
    let what = format!("cache, Zipf 0.99 of {keys} keys, a tenth fits");
    let whats = [format!("{what}: hits (aim >= 0.98)"), format!("{what}: time of a query")];
    let subjects = [
        Subject { what: &whats[0], unit: "%", better: Better::Higher },
        Subject { what: &whats[1], unit: "ns", better: Better::Lower },
    ];
    let ours = || {
        let cache = Cache::new(capacity * ENTRY, [7; 16]);
        replay(&draws, |number| {
            let key = key(number);
            let found = cache.find(&key).is_some();
            if !found {
                cache.insert(&key, &CACHED);
            }
            found
        })
    };
    let peer = || {
        let cache = QuickCache::new(capacity);
        replay(&draws, |number| {
            let key = key(number);
            let found = cache.get(&key).is_some();
            if !found {
                cache.insert(key, CACHED);
            }
            found
        })
    };
    let rows = compare_each(&bench.options, subjects, ("ksnproxy's cache", ours), ("quick_cache", peer))?;
    Ok(Report { rows, notes: vec![HITS.to_owned()] })
}

/// Per cent of the draws that `ask` found, and nanoseconds of each.
fn replay(draws: &[u32], mut ask: impl FnMut(u32) -> bool) -> Result<Samples<2>> {
    let (cpu, begun) = (system::own_cpu_time()?, Instant::now());
    let hits = draws.iter().filter(|number| ask(**number)).count();
    let took = begun.elapsed().as_secs_f64() * 1e9;
    let figures = [100.0 * hits as f64 / draws.len() as f64, took / draws.len() as f64];
    Ok(Samples { figures, cpu: system::own_cpu_time()?.saturating_sub(cpu) })
}

/// Draws of ranks, the probability of which goes with 1 / rank^0.99.
fn zipf(effort: &Effort) -> Vec<u32> {
    let (keys, draws) = effort.zipf;
    let mut sum = 0.0;
    let sums = (1..=keys).map(|rank| {
        sum += f64::from(rank).powf(-0.99);
        sum
    });
    let (sums, mut rng): (Vec<f64>, _) = (sums.collect(), Rng::new(1));
    let all = sums.last().copied().unwrap_or_default();
    let draw = |_| {
        let point = rng.bits() as f64 / u64::MAX as f64 * all;
        u32::try_from(sums.partition_point(|sum| *sum < point)).unwrap_or(0)
    };
    (0..draws).map(draw).collect()
}

/// K16.
pub(super) fn memory(bench: &Bench) -> Result<Report> {
    let (rig, entries) = (Rig::new()?, bench.effort.entries);
    let what = format!("{entries} verdicts kept: memory of each (aim <= 0.55)");
    let subject = Subject { what: &what, unit: "bytes", better: Better::Lower };
    let ours = || -> Result<Sample> {
        let (cpu, before) = (system::own_cpu_time()?, resident(std::process::id())?);
        let cache = Cache::new(usize::try_from(entries)? * ENTRY, [7; 16]);
        (0..entries).for_each(|number| cache.insert(&key(number), &CACHED));
        let grown = resident(std::process::id())?.saturating_sub(before);
        let figures = [grown as f64 / cache.len() as f64];
        Ok(Samples { figures, cpu: system::own_cpu_time()?.saturating_sub(cpu) })
    };
    let peer = || -> Result<Sample> {
        let process = memcached::start(&rig, 4096)?;
        let before = resident(process.id())?;
        rig.ask(|| memcached::fill(&rig, entries))?;
        let grown = resident(process.id())?.saturating_sub(before);
        Ok(Samples { figures: [grown as f64 / f64::from(entries)], cpu: cpu_time(process.id())? })
    };
    let row = compare(&bench.options, subject, ("ksnproxy's cache", ours), ("memcached", peer))?;
    Ok(Report { rows: vec![row], notes: vec![MEMORY.to_owned()] })
}

/// Bytes of memory that a process has now.
fn resident(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

const CACHED: Cached = Cached {
    reputation: Reputation::Malicious,
    category: Category::Malware,
    confidence: 90,
    partial: false,
    source: 1,
    tenth: 8640,
    expires: 86_400,
    said: 0,
    asked: 0,
};

/// Bytes of the cache for each entry.
const ENTRY: usize = 44;

const HITS: &str = "\
Cache: both get the same draws, with capacities that are equal in entries, in one thread; time includes making the key out of \
its number.";
const MEMORY: &str = "\
Memory is what the resident memory grows by, divided by the entries that are there then: sets of ours that are full throw away \
what others would have room for.";
