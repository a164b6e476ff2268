//! The benchmarks themselves, with tiny sizes: that they run, not what they find.

use anyhow::{Context, Result, ensure};
use klnet_tests::bench::{ALL, Options};
use klnet_tests::lab::Lab;
use klnet_tests::{need_programs, skip};

#[test]
fn klcast_is_measured_beside_a_bad_receiver() -> Result<()> {
    if let Err(reason) = Lab::available() {
        skip(&reason);
        return Ok(());
    }
    if !need_programs(&["ethtool"]) {
        return Ok(());
    }
    let multicast = ALL.iter().find(|benchmark| benchmark.name == "multicast").context("there is one")?;
    let only = Some("straggler".to_owned());
    let report = (multicast.run)(&Options { rounds: 1, smoke: true, only, ..Options::default() })?;
    ensure!(
        report.rows.len() == 2 && report.rows.iter().all(|row| row.ours.figures.min > 0.0),
        "{}",
        report.table()
    );
    Ok(())
}

#[test]
fn relay_is_measured_beside_haproxy() -> Result<()> {
    if let Err(reason) = Lab::available() {
        skip(&reason);
        return Ok(());
    }
    if !need_programs(&["haproxy"]) {
        return Ok(());
    }
    let tunnel = ALL.iter().find(|benchmark| benchmark.name == "tunnel").context("there is one")?;
    let only = Some("relay".to_owned());
    let report = (tunnel.run)(&Options { rounds: 1, smoke: true, only, ..Options::default() })?;
    let throughput = report.rows.first().context("it has rows")?;
    let peer = throughput.peer.as_ref().context("haproxy is the peer")?;
    ensure!(throughput.ours.figures.min > 0.0 && peer.side.figures.min > 0.0, "{}", report.table());
    Ok(())
}

#[test]
fn proxy_is_measured_beside_memcached() -> Result<()> {
    if let Err(reason) = Lab::available() {
        skip(&reason);
        return Ok(());
    }
    if !need_programs(&["memcached"]) {
        return Ok(());
    }
    let proxy = ALL.iter().find(|benchmark| benchmark.name == "ksnproxy").context("there is one")?;
    let only = Some("memcached".to_owned());
    let report = (proxy.run)(&Options { rounds: 1, smoke: true, only, ..Options::default() })?;
    ensure!(
        report.rows.len() == 6 && report.rows.iter().all(|row| row.ours.figures.max >= 0.0),
        "{}",
        report.table()
    );
    let answers = report.rows.first().context("it has rows")?;
    ensure!(answers.ours.figures.min > 0.0, "{}", report.table());
    Ok(())
}
