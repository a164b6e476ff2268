//! A proxy that replicates the snapshots of a reputation server, and what is left of it when either is killed.

mod ksn;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, ensure};
use klnet_tests::lab::wait_until;
use ksn::{Lan, PATIENCE};
use serde_json::Value;

#[test]
fn a_proxy_that_replicated_answers_on_every_port_when_its_server_is_gone() -> Result<()> {
    let Some(mut lan) = Lan::or_skip("replica")? else { return Ok(()) };
    lan.serve("clamav", "test.hdb", HDB)?;
    start(&mut lan)?;
    until_sequence(&lan, 1)?;
    lan.kill_server()?;
    for via in ["udp", "tls", "https"] {
        let answers = lan.ask(&["--via", via], &[BAD, NOBODY])?;
        ensure!(answers[0]["reputation"] == "malicious", "{via}: {answers:?}");
        ensure!(answers[1]["reputation"] == "unknown", "{via}: it knows all there is: {answers:?}");
    }
    let stats = lan.stats()?;
    ensure!(stats["forwarded"] == 0 && stats["snapshot"]["whole"] == true, "{stats}");
    ensure!(stats["snapshot"]["sources"][0] == "clamav", "{stats}");
    ensure!(stats["snapshot"]["checked"].is_u64() && stats["snapshot"]["age"].is_u64(), "{stats}");
    lan.kill_proxy()?;
    start(&mut lan)?;
    ensure!(lan.ask(&[], &[BAD])?[0]["reputation"] == "malicious", "it starts without its server");
    lan.import("store", "block", "block.txt", &format!("{NOBODY_HASH}\n"))?;
    lan.start_server("store")?;
    until_sequence(&lan, 2)?;
    ensure!(lan.ask(&[], &[NOBODY])?[0]["reputation"] == "malicious", "what is new is there");
    Ok(())
}

#[test]
fn an_old_snapshot_and_one_of_a_stranger_are_refused_and_the_last_good_one_answers() -> Result<()> {
    let Some(mut lan) = Lan::or_skip("refuse")? else { return Ok(()) };
    lan.import("store", "clamav", "test.hdb", HDB)?;
    fs::copy(lan.path("store/current"), lan.path("old"))?;
    lan.import("store", "block", "block.txt", &format!("{NOBODY_HASH}\n"))?;
    lan.start_server("store")?;
    start(&mut lan)?;
    until_sequence(&lan, 2)?;

    lan.kill_server()?;
    fs::rename(lan.path("store/current"), lan.path("new"))?;
    fs::rename(lan.path("old"), lan.path("store/current"))?;
    lan.start_server("store")?;
    until_said(&lan, "snapshot 1 is older than 2")?;
    assert_last_good(&lan)?;

    lan.kill_server()?;
    fs::rename(lan.path("new"), lan.path("store/current"))?;
    lan.start_server("store")?;
    let well =
        wait_until(PATIENCE, || Ok((lan.stats()?["snapshot"]["checked"].as_u64() < Some(3)).then_some(())))?;
    ensure!(well.is_some(), "{}", lan.log()?);

    lan.kill_server()?;
    for _ in 0..3 {
        lan.import("strange", "clamav", "test.hdb", HDB)?;
    }
    lan.start_server("strange")?;
    until_said(&lan, "signed by no key that is trusted here")?;
    assert_last_good(&lan)
}

#[test]
fn a_proxy_killed_at_any_moment_of_replication_has_the_one_snapshot_or_the_other() -> Result<()> {
    let Some(mut lan) = Lan::or_skip("killed")? else { return Ok(()) };
    lan.serve("clamav", "test.hdb", HDB)?;
    start(&mut lan)?;
    until_sequence(&lan, 1)?;
    lan.kill_proxy()?;
    let mut list = String::new();
    (0..200_000_u32).try_for_each(|n| writeln!(list, "{:032x}", u128::from(n.reverse_bits()) << 96))?;
    lan.import("store", "block", "large.txt", &list)?;
    // About a segment a second, so that there is a middle to be killed in.
    lan.server.limit_rate(8_000_000)?;
    for kept in 1..=4 {
        start(&mut lan)?;
        let came = wait_until(PATIENCE, || Ok((segments(&lan)? >= kept).then_some(())))?;
        ensure!(came.is_some(), "what came before is lost: {}", lan.log()?);
        lan.kill_proxy()?;
        ensure!(sequence(&lan)? == 1, "the one before is whole, and there is no other");
    }
    lan.server.limit_rate(1_000_000_000)?;
    let before = fs::metadata(lan.path("replica"))?.ino();
    start(&mut lan)?;
    let swapped =
        wait_until(PATIENCE, || Ok((fs::metadata(lan.path("replica"))?.ino() != before).then_some(())))?;
    // In the middle of what follows: folders are synced and segments cleared away.
    lan.kill_proxy()?;
    ensure!(swapped.is_some() && sequence(&lan)? == 2);
    lan.kill_server()?;
    start(&mut lan)?;
    let answers = lan.ask(&[], &[BAD, &format!("{:032x}", 1_u128 << 127), NOBODY])?;
    let said: Vec<_> = answers.iter().map(|answer| answer["reputation"].as_str()).collect();
    ensure!(said == [Some("malicious"), Some("malicious"), Some("unknown")], "{answers:?}");
    Ok(())
}

/// A proxy that asks nobody, and follows the server.
fn start(lan: &mut Lan) -> Result<()> {
    let key = lan.ksnserver("store", &["snapshot", "key"])?;
    let (file, server) = (lan.path("replica"), lan.server.address());
    lan.start_proxy_alone(&format!(
        "snapshot = \"{}\"\ntrusted = [\"{}\"]\n[replicate]\nfrom = [\"{server}\"]\nevery = \"10s\"\n",
        file.display(),
        key.trim()
    ))
}

fn until_sequence(lan: &Lan, sequence: u64) -> Result<Value> {
    let came = wait_until(PATIENCE, || {
        let stats = lan.stats()?;
        Ok((stats["snapshot"]["sequence"] == sequence).then_some(stats))
    })?;
    came.with_context(|| format!("snapshot {sequence} is not answered from: {:?}", lan.log()))
}

fn until_said(lan: &Lan, text: &str) -> Result<()> {
    let said = wait_until(PATIENCE, || Ok(lan.log()?.contains(text).then_some(())))?;
    said.with_context(|| format!("it does not say {text:?}: {:?}", lan.log()))
}

fn assert_last_good(lan: &Lan) -> Result<()> {
    let (answers, stats) = (lan.ask(&[], &[BAD, NOBODY])?, lan.stats()?);
    ensure!(answers.iter().all(|answer| answer["reputation"] == "malicious"), "{answers:?}");
    ensure!(stats["snapshot"]["sequence"] == 2, "{stats}");
    Ok(())
}

/// Segments of the next snapshot that have come.
fn segments(lan: &Lan) -> Result<usize> {
    Ok(fs::read_dir(lan.path("replica.segments"))?.count())
}

/// The sequence of the replica, every byte of which is verified first.
fn sequence(lan: &Lan) -> Result<u64> {
    let said = lan.ksnserver("store", &["snapshot", "verify", &lan.path("replica").display().to_string()])?;
    let number = said.split("snapshot ").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok());
    number.with_context(|| said.clone())
}

const HDB: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:68:Test.File\n";
const BAD: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:68";
const NOBODY_HASH: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const NOBODY: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb:68";
