//! What is known already, once nobody can be asked any more: K14.

use anyhow::{Context, Result, ensure};
use klnet_ksnproxy::net::client::Plain;

use super::Bench;
use super::hits::{Side, WINDOW, rates, row};
use super::keys::key;
use super::ours::{self, Ours};
use super::rig::Rig;
use crate::bench::Report;
use crate::bench::server::block_on;
use crate::fleet::PATIENCE;
use crate::lab::wait_until;

pub(super) fn hits(bench: &Bench) -> Result<Report> {
    let (healthy, cut_off, keys) = (Rig::new()?, Rig::new()?, bench.effort.keys);
    let ours =
        [Ours::start_warm(&healthy, keys)?, cut(&cut_off, keys).context("a proxy whose upstream is gone")?];
    let sides = [Side { rig: &healthy, ours: &ours[0] }, Side { rig: &cut_off, ours: &ours[1] }];
    let rows = row(
        bench,
        "UDP hits, sealed, all stale and the upstream gone",
        "aim >= 0.98",
        ("ksnproxy", || sides[1].sealed::<4>(bench, WINDOW).map(rates)),
        ("ksnproxy, fresh", || sides[0].sealed::<4>(bench, WINDOW).map(rates)),
    )?;
    Ok(Report { rows, notes: vec![NOTE.to_owned()] })
}

/// A proxy that has every key, whose time is over, and nobody to ask.
fn cut(rig: &Rig, keys: u32) -> Result<Ours> {
    let mut ours = Ours::start_with(rig, "ttl.malicious = \"1s\"\n")?;
    ours.warm(rig, keys)?;
    ours.cloud.stop();
    let (address, last) = (rig.address().to_string(), [key(keys - 1)]);
    let stale = rig.ask(|| {
        wait_until(PATIENCE, || {
            let verdicts =
                block_on(async { Ok(Plain::connect(&address, ours::TCP).await?.query(&last).await?) })?;
            Ok(verdicts.iter().all(|verdict| verdict.stale).then_some(()))
        })
    })?;
    ensure!(stale.is_some(), "verdicts do not age");
    Ok(ours)
}

const NOTE: &str = "\
Outage: the upstream has closed its port, and the time of every verdict is over, so that each answer is marked as stale and \
somebody newer is wanted for it; an answer that says anything else than before ends the benchmark.";
