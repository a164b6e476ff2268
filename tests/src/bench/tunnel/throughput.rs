//! Bulk through a relay alone, and through a whole product.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Bench;
use super::klsctunnel::Readiness;
use super::load::{Direction, Load};
use super::product::{Product, open};
use super::rathole::Transport;
use super::site::{LOAD_CORE, Site, Wires};
use super::{direct, haproxy, klsctunnel, rathole, relay, ssh};
use crate::bench::{Better, Report, Row, Samples, Subject, compare_each};
use crate::fleet::PATIENCE;
use crate::lab::wait_until;

/// One way to load a product.
#[derive(Clone, Copy, Debug)]
struct Case {
    streams: usize,
    direction: Direction,
    /// Where generators and sinks run.
    core: Option<usize>,
}

/// A relay alone against haproxy's: Gbit/s and CPU seconds per GB of the same runs.
pub(super) fn relays(bench: &Bench, site: &Site) -> Result<Report> {
    let (mut ours, mut peer) = (relay::Relay::start(site)?, haproxy::start(site)?);
    let mut rows = Vec::new();
    for case in cases(bench, site.wires, Some(LOAD_CORE)) {
        let what = format!("relay alone, {}", case.words(site.wires));
        rows.extend(case.compare(bench, site, &what, ["aim >= 1.0", "aim <= 0.95"], &mut ours, &mut peer)?);
    }
    Ok(Report { rows, notes: vec![RELAYS.to_owned()] })
}

/// Our whole product, encrypted from end to end, against others' on the loopback.
pub(super) fn products(bench: &Bench, site: &Site) -> Result<Report> {
    let mut ours = klsctunnel::start(site, Readiness::Warm)?;
    let peers = [
        (rathole::start(site, Transport::Plain)?, "aim <= 0.65"),
        (rathole::start(site, Transport::Noise)?, "no aim"),
        (ssh::start(site)?, "no aim"),
    ];
    let mut rows = Vec::new();
    for (mut peer, aim) in peers {
        // More than a grant's connections would be refused.
        for case in cases(bench, site.wires, None).into_iter().filter(|case| case.streams <= 8) {
            let what = format!("whole product, {}", case.words(site.wires));
            rows.extend(case.compare(bench, site, &what, ["no aim", aim], &mut ours, &mut peer)?);
        }
    }
    Ok(Report { rows, notes: vec![PRODUCTS.to_owned()] })
}

/// What one stream and 64 reach without anything in between, in Gbit/s.
pub(super) fn ceiling(bench: &Bench, site: &Site) -> Result<String> {
    let mut direct = direct::start(site)?;
    let mut figures = Vec::new();
    for streams in [1, 64] {
        let case = Case { streams, direction: Direction::Up, core: None };
        let sample = bench.quiet.run(|| case.measure(bench, site, &mut direct))?;
        figures.push(format!("{streams}: {:.1} Gbit/s", sample.figures[0]));
    }
    Ok(format!("Streams without a relay, generators and sinks on any core: {}.", figures.join(", ")))
}

/// One stream and 64, or everything.
fn cases(bench: &Bench, wires: Wires, core: Option<usize>) -> Vec<Case> {
    let (streams, directions): (&[usize], &[Direction]) = match bench.options.full {
        true => (&[1, 8, 64], &[Direction::Up, Direction::Down]),
        false if wires == Wires::Loopback && core.is_some() => (&[1, 64], &[Direction::Up]),
        false => (&[1], &[Direction::Up]),
    };
    let case = |streams, direction| Case { streams, direction, core };
    streams.iter().flat_map(|n| directions.iter().map(move |direction| case(*n, *direction))).collect()
}

impl Case {
    fn compare(
        self,
        bench: &Bench,
        site: &Site,
        what: &str,
        aims: [&str; 2],
        ours: &mut dyn Product,
        peer: &mut dyn Product,
    ) -> Result<Vec<Row>> {
        let names = [ours.name(), peer.name()];
        let whats = aims.map(|aim| format!("{what} ({aim})"));
        let subjects = [
            Subject { what: &whats[0], unit: "Gbit/s", better: Better::Higher },
            Subject { what: &whats[1], unit: "CPU s/GB", better: Better::Lower },
        ];
        compare_each(
            &bench.options,
            subjects,
            (names[0], || bench.quiet.run(|| self.measure(bench, site, ours))),
            (names[1], || bench.quiet.run(|| self.measure(bench, site, peer))),
        )
    }

    /// Gbit/s, and CPU seconds of the product's programs per GB.
    fn measure(self, bench: &Bench, site: &Site, product: &mut dyn Product) -> Result<Samples<2>> {
        let pairs = open(product, &site.operator, self.streams)?;
        let load = Load::start(pairs, self.direction, self.core);
        std::thread::sleep(bench.effort.warm_up);
        let (begun, cpu, moved) = (Instant::now(), product.cpu()?, load.moved());
        std::thread::sleep(bench.effort.measured);
        // A machine that is busy otherwise may need longer to move anything at all.
        let arrived = || Ok((load.moved() > moved).then_some(load.moved() - moved));
        let moved = wait_until(PATIENCE, arrived)?.context("nothing arrives")?;
        let (took, cpu) = (begun.elapsed(), product.cpu()?.saturating_sub(cpu));
        let gigabytes = moved as f64 / 1e9;
        let figures = [gigabytes * 8.0 / took.as_secs_f64(), cpu.max(TICK).as_secs_f64() / gigabytes];
        Ok(Samples { figures, cpu })
    }

    fn words(self, wires: Wires) -> String {
        let streams =
            if self.streams == 1 { "one stream".to_owned() } else { format!("{} streams", self.streams) };
        let direction = match self.direction {
            Direction::Up => "to the device",
            Direction::Down => "from the device",
        };
        format!("{}, {streams} {direction}", wires.words())
    }
}

/// CPU time is counted in these (proc(5), `USER_HZ`); less than one is not to be told from none.
const TICK: Duration = Duration::from_millis(10);
const RELAYS: &str = "\
Relay alone: klserver and haproxy (forced splice, pipes of 256 KiB, one thread) each on core 0, generators and sinks on \
core 1. Nobody encrypts the bytes, which klserver cannot know. Sinks discard without copying (MSG_TRUNC).";
const PRODUCTS: &str = "\
Whole product: no program and no part of the load is bound to a core. klsctunnel encrypts from end to end, across three \
programs; rathole has two, and its visitors speak to its server in the clear also with Noise; ssh and sshd have no relay \
between them.";
