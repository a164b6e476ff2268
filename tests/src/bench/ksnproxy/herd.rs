//! A thousand who ask for one key that nobody has yet: K13.

use std::cell::Cell;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use klnet_wire::identity::Role;

use super::Bench;
use super::nginx::{self, Nginx};
use super::ours::{self, Ours};
use super::pipeline::{Dialect, Lane};
use super::rig::Rig;
use super::streams::Frames;
use crate::bench::percentile::percentile;
use crate::bench::{Better, Report, Samples, Subject, compare_each, measure_each};
use crate::lab::cpu_time;
use crate::system;

/// Who is asked, and what the one behind it saw.
pub(super) struct Asked<'a> {
    pub(super) server: SocketAddr,
    pub(super) process: u32,
    pub(super) dialect: &'a (dyn Fn() -> Box<dyn Dialect> + Sync),
    /// How often the one behind it was asked.
    pub(super) requests: &'a (dyn Fn() -> u64 + Sync),
    /// When it answered last.
    pub(super) answered: &'a (dyn Fn() -> Option<Instant> + Sync),
}

pub(super) fn misses(bench: &Bench) -> Result<Report> {
    let rig = Rig::new()?;
    // A sixteenth of them is for one address.
    let ours = Ours::start_with(&rig, "limits.connections = 32768\n")?;
    ours.cloud.delay(DELAY);
    let nginx = Nginx::start(&rig, &ours.fabric.issue(Role::Server, rig.address())?)?;
    nginx.origin.delay(DELAY);
    let asked = Asked {
        server: rig.at(ours::TCP),
        process: ours.process.id(),
        dialect: &Frames::dialect,
        requests: &|| ours.cloud.keys(),
        answered: &|| ours.cloud.answered(),
    };
    let peer = Asked {
        server: rig.at(nginx::PORT),
        process: nginx.process.id(),
        dialect: &|| nginx.dialect(),
        requests: &|| nginx.origin.requests(),
        answered: &|| nginx.origin.answered(),
    };
    // No key is asked for in two rounds.
    let key = Cell::new(0);
    let next = || key.replace(key.get() + 1);
    let what = |shape: &str, figure: &str| format!("1,000 ask for one unknown key, {shape}: {figure}");
    let few = "20 connections";
    let whats = [what(few, REQUESTS), what(few, LATE)];
    let mut rows =
        measure_each(&bench.options, subjects(&whats), ("ksnproxy", || asked.herd::<20>(&rig, next())))?;
    let many = "1,000 connections";
    let whats = [what(many, REQUESTS), what(many, LATE)];
    rows.extend(compare_each(
        &bench.options,
        subjects(&whats),
        ("ksnproxy", || asked.herd::<1000>(&rig, next())),
        ("nginx, proxy_cache_lock", || peer.herd::<1000>(&rig, next())),
    )?);
    Ok(Report { rows, notes: vec![NOTE.to_owned()] })
}

impl Asked<'_> {
    /// A thousand queries for one key, on so many connections: how often the one behind was asked, and in what time after its
    /// answer 99 % had theirs.
    fn herd<const CONNECTIONS: usize>(&self, rig: &Rig, key: u32) -> Result<Samples<2>> {
        let (before, cpu) = ((self.requests)(), cpu_time(self.process)?);
        let answers = rig.ask(|| self.ask::<CONNECTIONS>(key))?;
        let answered = (self.answered)().context("the one behind was asked")?;
        let mut late: Vec<_> = answers.iter().map(|at| at.saturating_duration_since(answered)).collect();
        let late = percentile(&mut late, 99).as_secs_f64() * 1e3;
        let requests = u32::try_from((self.requests)() - before)?;
        let cpu = cpu_time(self.process)?.saturating_sub(cpu);
        Ok(Samples { figures: [f64::from(requests), late], cpu })
    }

    /// When each answer came.
    fn ask<const CONNECTIONS: usize>(&self, key: u32) -> Result<Vec<Instant>> {
        let depth = QUERIES / CONNECTIONS;
        let lanes = (0..CONNECTIONS).map(|_| Lane::connect(self.server, (self.dialect)(), depth));
        let mut lanes = lanes.collect::<Result<Vec<_>>>()?;
        lanes.iter_mut().try_for_each(|lane| lane.ask(|| key))?;
        let mut lanes: [Lane; CONNECTIONS] = lanes.try_into().ok().context("as many as were made")?;
        let mut answers = Vec::new();
        while answers.len() < QUERIES {
            let sockets = lanes.each_ref().map(|lane| lane.stream.as_fd());
            let ready = system::wait_readable(sockets, Some(PATIENCE))?;
            ensure!(ready.contains(&true), "only {} are answered", answers.len());
            for lane in lanes.iter_mut().zip(ready).filter_map(|(lane, ready)| ready.then_some(lane)) {
                let (count, now) = (lane.take()?, Instant::now());
                answers.extend((0..count).map(|_| now));
            }
        }
        Ok(answers)
    }
}

fn subjects(whats: &[String; 2]) -> [Subject<'_>; 2] {
    let [requests, late] = whats;
    [
        Subject { what: requests, unit: "requests", better: Better::Lower },
        Subject { what: late, unit: "ms", better: Better::Lower },
    ]
}

const QUERIES: usize = 1000;
const REQUESTS: &str = "requests upstream (aim 1)";
const LATE: &str = "99 % of answers after the upstream's within (aim <= 1)";

/// Long enough that everybody has asked before the upstream answers.
const DELAY: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(10);

const NOTE: &str = "\
Misses: the upstream answers 200 ms after it was asked, and time counts from there; between it and our proxy is TLS, between it and \
nginx HTTP. On 1,000 connections most of the time is that of 1,000 writes and reads.";
