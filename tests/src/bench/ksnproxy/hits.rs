//! What is known already, by datagrams: K1 to K4, and how long one query takes that is alone, K7.

use anyhow::Result;

use super::codec::{Plain, Sealed};
use super::dns::{self, Server, Zone};
use super::generator::{Flow, Make, Until, drive};
use super::keys::Draw;
use super::ours::{self, Ours};
use super::rig::Rig;
use super::{Bench, memcached};
use crate::bench::{Better, Report, Row, Samples, Subject, compare_each};

/// Ours, as it is asked.
pub(super) struct Side<'a> {
    pub(super) rig: &'a Rig,
    pub(super) ours: &'a Ours,
}

/// K1, K3 and K4.
pub(super) fn memcached(bench: &Bench) -> Result<Report> {
    let (rig, keys) = (Rig::new()?, bench.effort.keys);
    let ours = Ours::start_warm(&rig, keys)?;
    let side = Side { rig: &rig, ours: &ours };
    let process = memcached::start(&rig, 256)?;
    rig.ask(|| memcached::fill(&rig, keys))?;
    let to = (rig.at(memcached::PORT), process.id());
    let ask = || drive::<4>(&rig, to, MEMCACHED, WINDOW, &mut Draw::any(keys), bench.until());
    let peer = ("memcached", || ask().map(rates));
    let plain = ("ksnproxy, plain", || side.plain::<4>(bench, WINDOW).map(rates));
    let sealed = ("ksnproxy, sealed", || side.sealed::<4>(bench, WINDOW).map(rates));
    let mut rows = Vec::new();
    rows.extend(row(bench, "UDP hits, plain", "aim >= 1.45", plain, peer)?);
    rows.extend(row(bench, "UDP hits, sealed", "aim >= 1.35", sealed, peer)?);
    rows.extend(row(bench, "UDP hits, sealed beside plain", "aim >= 0.92", sealed, plain)?);
    Ok(Report { rows, notes: vec![DATAGRAMS.to_owned()] })
}

/// K2.
pub(super) fn resolvers(bench: &Bench) -> Result<Report> {
    let (rig, keys) = (Rig::new()?, bench.effort.keys);
    let ours = Ours::start_warm(&rig, keys)?;
    let side = Side { rig: &rig, ours: &ours };
    let (_zone, knot) = Zone::start(&rig, keys)?;
    let mut rows = Vec::new();
    for (server, aim) in
        [(Server::Unbound, "aim >= 1.20"), (Server::Dnsdist, "aim >= 1.12"), (Server::Knot, "aim >= 1.00")]
    {
        let cache = (server != Server::Knot).then(|| server.start_cache(&rig, keys)).transpose()?;
        let process = cache.as_ref().map_or(knot, crate::lab::Process::id);
        let plain = ("ksnproxy, plain", || side.plain::<4>(bench, WINDOW).map(rates));
        let peer = (server.name(), || dns::sample(&rig, server, process, &bench.effort).map(rates));
        rows.extend(row(bench, "UDP hits, plain", aim, plain, peer)?);
    }
    Ok(Report { rows, notes: vec![NAMES.to_owned()] })
}

/// K7.
pub(super) fn alone(bench: &Bench) -> Result<Report> {
    let (rig, keys) = (Rig::new()?, bench.effort.keys);
    let ours = Ours::start_warm(&rig, keys)?;
    let side = Side { rig: &rig, ours: &ours };
    let peer = memcached::start(&rig, 256)?;
    rig.ask(|| memcached::fill(&rig, keys))?;
    let to = (rig.at(memcached::PORT), peer.id());
    let whats = [("p50", "no aim"), ("p99", "aim <= 0.85"), ("p99.9", "aim <= 0.75")]
        .map(|(which, aim)| format!("UDP hits, one sealed query at a time: {which} ({aim})"));
    let subjects = whats.each_ref().map(|what| Subject { what, unit: "us", better: Better::Lower });
    let rows = compare_each(
        &bench.options,
        subjects,
        ("ksnproxy, sealed", || side.sealed::<1>(bench, 1).map(slow)),
        ("memcached", || drive::<1>(&rig, to, MEMCACHED, 1, &mut Draw::any(keys), bench.until()).map(slow)),
    )?;
    Ok(Report { rows, notes: Vec::new() })
}

impl Side<'_> {
    fn plain<const SOCKETS: usize>(&self, bench: &Bench, window: usize) -> Result<Flow> {
        self.drive::<SOCKETS>(bench, window, &Plain::prove)
    }

    pub(super) fn sealed<const SOCKETS: usize>(&self, bench: &Bench, window: usize) -> Result<Flow> {
        self.drive::<SOCKETS>(bench, window, &|_| Ok(Sealed::under(&self.ours.ticket(self.rig)?)))
    }

    fn drive<const SOCKETS: usize>(&self, bench: &Bench, window: usize, make: Make<'_>) -> Result<Flow> {
        let to = (self.rig.at(ours::UDP), self.ours.process.id());
        drive::<SOCKETS>(self.rig, to, make, window, &mut Draw::any(bench.effort.keys), bench.until())
    }
}

impl Bench {
    const fn until(&self) -> Until {
        Until::Time(self.effort)
    }
}

/// Answers a second, and the server's CPU time for each.
pub(super) fn row(
    bench: &Bench,
    what: &str,
    aim: &str,
    ours: (&str, impl FnMut() -> Result<Samples<2>>),
    peer: (&str, impl FnMut() -> Result<Samples<2>>),
) -> Result<Vec<Row>> {
    let whats = [format!("{what}: answers ({aim})"), format!("{what}: server CPU for each")];
    let subjects = [
        Subject { what: &whats[0], unit: "answers/s", better: Better::Higher },
        Subject { what: &whats[1], unit: "ns", better: Better::Lower },
    ];
    compare_each(&bench.options, subjects, ours, peer)
}

pub(super) fn rates(flow: Flow) -> Samples<2> {
    Samples { figures: [flow.rate, flow.cost()], cpu: flow.cpu }
}

fn slow(flow: Flow) -> Samples<3> {
    Samples { figures: [500.0, 990.0, 999.0].map(|permille| flow.within(permille)), cpu: flow.cpu }
}

const MEMCACHED: Make<'static> = &|_| Ok(Box::new(memcached::Datagrams));

/// Queries of a socket that are on their way.
pub(super) const WINDOW: usize = 32;

const DATAGRAMS: &str = "\
Datagrams: two machines and one veth whose devices segment (UDP_SEGMENT crosses it whole), the server with one worker on \
core 0, one generator for everybody on core 1: four sockets with 32 queries each, recvmmsg and sendmmsg of 64, 20,000 \
keys, every answer checked. Queries have 48 bytes plain, 64 sealed, 56 with memcached and 52 with DNS; each server is bound to the \
address it is asked at. CPU is the server's process, in which are the generator's receiving stack and, for our answers to \
one socket, one packet for many.";
const NAMES: &str = "\
DNS: Knot answers from its zone, unbound and dnsdist from what they have asked Knot for before; one thread each.";
