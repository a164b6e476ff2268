//! Whatever breaks under a tunnel, a connection ends whole or with an error, soon; and what it held is given back.

mod faults;

use anyhow::{Context, Result, ensure};
use faults::{Fault, Footprint, Outcome, Site};
use klnet_tests::scale;
use klnet_tests::sim::Rng;

#[test]
fn every_connection_ends_whole_or_with_an_error_whatever_breaks() -> Result<()> {
    let Some(mut site) = Site::open()? else { return Ok(()) };
    let seed = seed()?;
    println!("seed {seed}: KLNET_SEED={seed} does the same again");
    let (mut rng, count, each) = (Rng::new(seed), scale(12, 100), scale(5, 10));
    let mut ids = (0..).step_by(each);
    let mut next = || ids.next().context("numbers do not end");
    let mut total = Outcome::default();
    let mut before = None;
    for (number, fault) in Fault::draw(count, &mut rng).into_iter().enumerate() {
        if before.is_none() && !fault.ends_a_program() {
            before = Some(footprint(&mut site, each, next()?, &mut rng)?);
        }
        let name = || format!("fault {number}, {fault:?}, of seed {seed}");
        let outcome = site.endure(Some(fault), each, next()?, &mut rng);
        let outcome = outcome.with_context(name).inspect_err(|_| println!("{}", site.logs()))?;
        println!("{number:3} {fault:?}: {outcome}");
        total.whole += outcome.whole;
        total.broken += outcome.broken;
        total.slowest = total.slowest.max(outcome.slowest);
        site.repair().with_context(name)?;
    }
    println!("counted: {} connections through {count} faults: {total}", count * each);
    ensure!(total.whole > 0 && total.broken > 0, "some survive, and some faults are felt");
    site.endure(None, each, next()?, &mut rng).context("new connections work")?;
    site.end_ready_tunnels()?;
    before.context("some faults leave every program alive")?.settle()
}

/// What is held at rest, once as many connections as in every round have come and gone.
fn footprint(site: &mut Site, connections: usize, first: u64, rng: &mut Rng) -> Result<Footprint> {
    site.endure(None, connections, first, rng).context("before the faults that leave programs alive")?;
    site.end_ready_tunnels()?;
    let footprint = Footprint::of(site)?;
    site.repair()?;
    Ok(footprint)
}

/// Of this run, or of the run that is to be repeated.
fn seed() -> Result<u64> {
    match std::env::var("KLNET_SEED") {
        Ok(seed) => seed.parse().context("KLNET_SEED is a number"),
        Err(_) => Ok(u64::from(std::process::id())),
    }
}
