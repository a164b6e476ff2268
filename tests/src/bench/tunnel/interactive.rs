//! Sessions of people beside one bulk flow: what a relay that is busy does to whoever types.

use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::setpriority_process;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at};

use super::Bench;
use super::load::{Direction, Load};
use super::product::{Pair, Product, open};
use super::site::{LOAD_CORE, Site};
use super::{haproxy, relay};
use crate::bench::percentile::percentile;
use crate::bench::place::Place;
use crate::bench::server::block_on;
use crate::bench::{Better, Report, Samples, Subject, compare_each};

/// Round trips of many sessions with and without the bulk flow, through a relay alone.
pub(super) fn sessions(bench: &Bench, site: &Site) -> Result<Report> {
    let (mut ours, mut peer) = (relay::Relay::start(site)?, haproxy::start(site)?);
    let whats = [
        format!("{SESSIONS} sessions beside one bulk flow: added p99 (aim <= 1.0)"),
        format!("{SESSIONS} sessions beside one bulk flow: p99"),
        format!("{SESSIONS} sessions beside one bulk flow: the bulk flow meanwhile"),
    ];
    let subject = |what, unit, better| Subject { what, unit, better };
    let subjects = [
        subject(&whats[0], "us", Better::Lower),
        subject(&whats[1], "us", Better::Lower),
        subject(&whats[2], "Gbit/s", Better::Higher),
    ];
    let rows = compare_each(
        &bench.options,
        subjects,
        ("klserver", || bench.quiet.run(|| measure(bench, site, &mut ours))),
        ("haproxy", || bench.quiet.run(|| measure(bench, site, &mut peer))),
    )?;
    let note = "Sessions: 64 bytes there and back every 50 ms, measured at the highest priority on the load's core; \
                both relays on core 0, added is with the bulk flow minus without.";
    Ok(Report { rows, notes: vec![note.to_owned()] })
}

fn measure(bench: &Bench, site: &Site, product: &mut dyn Product) -> Result<Samples<3>> {
    let mut pairs = open(product, &site.operator, SESSIONS + 1)?;
    let cpu = product.cpu()?;
    let bulk = pairs.split_off(SESSIONS);
    let alone = probe(bench, site, &pairs)?;
    let load = Load::start(bulk, Direction::Up, Some(LOAD_CORE));
    std::thread::sleep(bench.effort.warm_up);
    let (begun, moved) = (Instant::now(), load.moved());
    let beside = probe(bench, site, &pairs)?;
    let rate = (load.moved() - moved) as f64 * 8e-9 / begun.elapsed().as_secs_f64();
    let cpu = product.cpu()?.saturating_sub(cpu);
    // A difference below what the clock of a busy machine can tell is none; zero would make no ratio.
    let added = beside.saturating_sub(alone).max(Duration::from_micros(1));
    Ok(Samples { figures: [added.as_secs_f64() * 1e6, beside.as_secs_f64() * 1e6, rate], cpu })
}

/// The 99th percentile of all sessions' round trips.
fn probe(bench: &Bench, site: &Site, pairs: &[Pair]) -> Result<Duration> {
    let until = Instant::now() + bench.effort.measured * 2;
    let mut times = Place::on_core(&site.operator, LOAD_CORE).run(|| {
        // Whoever measures goes first: what is asked is how long the relay keeps a session waiting.
        setpriority_process(None, HIGHEST_PRIORITY)?;
        block_on(exchange(pairs, until))
    })?;
    Ok(percentile(&mut times, 99))
}

async fn exchange(pairs: &[Pair], until: Instant) -> Result<Vec<Duration>> {
    let (mut echoes, mut sessions) = (JoinSet::new(), JoinSet::new());
    for (number, pair) in (0..).zip(pairs) {
        echoes.spawn(echo(shared(&pair.far)?));
        // Spread over the period, as people are.
        let first = Instant::now() + PERIOD * number / u32::try_from(SESSIONS)?;
        sessions.spawn(session(shared(&pair.near)?, first, until));
    }
    let mut times = Vec::new();
    while let Some(session) = sessions.join_next().await {
        times.extend(session??);
    }
    Ok(times)
}

async fn session(mut stream: TcpStream, first: Instant, until: Instant) -> Result<Vec<Duration>> {
    let (mut message, mut times) = ([7; MESSAGE], Vec::new());
    let mut pace = interval_at(first.into(), PERIOD);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while pace.tick().await.into_std() < until {
        let begun = Instant::now();
        stream.write_all(&message).await?;
        stream.read_exact(&mut message).await?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

async fn echo(mut stream: TcpStream) -> Result<()> {
    let mut message = [0; MESSAGE];
    loop {
        stream.read_exact(&mut message).await?;
        stream.write_all(&message).await?;
    }
}

/// The same socket for this runtime; it stays open when the runtime has gone.
fn shared(stream: &std::net::TcpStream) -> Result<TcpStream> {
    let shared = stream.try_clone()?;
    shared.set_nodelay(true)?;
    shared.set_nonblocking(true)?;
    Ok(TcpStream::from_std(shared)?)
}

const SESSIONS: usize = 64;
/// Bytes of a keystroke and its echo, encrypted.
const MESSAGE: usize = 64;
/// A fast typist with key repeat.
const PERIOD: Duration = Duration::from_millis(50);
const HIGHEST_PRIORITY: i32 = -20;
