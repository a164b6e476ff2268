//! `klcast` on several hosts: what was sent is what arrives, whatever is lost, killed, full or hostile.

mod cast;

use std::fs;
use std::time::Instant;

use anyhow::{Result, ensure};
use cast::hostile::{HARMLESS, Hostile, Kind};
use cast::{Lan, Receiver};
use klnet_tests::fault::SmallDisk;
use klnet_tests::scale;
use klnet_tests::sim::Rng;

#[test]
fn eight_receivers_at_five_percent_cost_little_more_than_the_bound() -> Result<()> {
    let Some(lan) = Lan::or_skip("eight")? else { return Ok(()) };
    let file = lan.file("image", scale(48, 512) << 20)?;
    let mut receivers = (1..=8).map(|n| lan.receiver(&format!("web-{n}"))).collect::<Result<Vec<_>>>()?;
    let losses = receivers.iter().map(|one| one.host.loss(50)).collect::<Result<Vec<_>>>()?;
    let sent = lan.send(&["--expect", "8", "--rate", "1G"], &[&file])?.end()?;
    ensure!(sent.code == Some(0), "{sent:?}");
    for receiver in &mut receivers {
        receiver.ends_with(&file)?;
    }
    let (mut lost, mut seen) = (0, 0);
    for loss in &losses {
        (lost, seen) = (lost + loss.lost()?, seen + loss.seen()?);
    }
    let arrives = 1.0 - lost as f64 / seen as f64;
    let above = sent.ratio()? * arrives;
    println!(
        "counted: {lost} of {seen} packets lost, {:.4} symbols for each, {above:.4} of the bound",
        sent.ratio()?
    );
    ensure!(lost * 25 > seen, "there was loss");
    ensure!(above <= scale(1.03, 1.012), "{above} of the bound");
    Ok(())
}

#[test]
fn who_comes_late_gets_all_of_it() -> Result<()> {
    let Some(lan) = Lan::or_skip("late")? else { return Ok(()) };
    let file = lan.file("image", 24 << 20)?;
    let mut first = lan.receiver("first")?;
    let sending = lan.send(&["--expect", "2", "--rate", "40M"], &[&file])?;
    first.wait_for_bytes(1)?;
    let mut late = lan.receiver("late")?;
    let sent = sending.end()?;
    ensure!(sent.code == Some(0), "{sent:?}");
    first.ends_with(&file)?;
    late.ends_with(&file)?;
    ensure!(sent.ratio()? < 2.0, "{} symbols for each: it got what was on the wire, too", sent.ratio()?);
    Ok(())
}

#[test]
fn a_receiver_killed_at_any_moment_completes_and_gets_nothing_verified_twice() -> Result<()> {
    let Some(lan) = Lan::or_skip("killed")? else { return Ok(()) };
    let file = lan.file("image", 24 << 20)?;
    let mut rng = Rng::new(7);
    for round in 0..scale(2, 100) {
        let mut receiver = lan.receiver(&format!("web-{round}"))?;
        let sending = lan.send(&["--expect", "1", "--rate", "200M"], &[&file])?;
        receiver.wait_for_bytes(1 + rng.below(12 << 20))?;
        receiver.kill()?;
        ensure!(!receiver.has("image"), "the name is there before the file is whole");
        receiver.restart()?;
        let sent = sending.end()?;
        ensure!(sent.code == Some(0), "{sent:?}");
        let completed = receiver.ends_with(&file)?;
        ensure!(completed["resumed"].as_u64() > Some(1), "{completed}");
    }
    Ok(())
}

#[test]
fn a_sender_killed_at_any_moment_goes_on_where_it_was() -> Result<()> {
    let Some(lan) = Lan::or_skip("gone")? else { return Ok(()) };
    let file = lan.file("image", 24 << 20)?;
    let mut rng = Rng::new(8);
    for round in 0..scale(1, 50) {
        let mut receivers =
            (0..2).map(|n| lan.receiver(&format!("web-{round}-{n}"))).collect::<Result<Vec<_>>>()?;
        let mut sending = lan.send(&["--expect", "2", "--rate", "100M"], &[&file])?;
        receivers[0].wait_for_bytes((8 << 20) + rng.below(8 << 20))?;
        sending.0.kill()?;
        let sent = lan.send(&["--expect", "2", "--rate", "100M"], &[&file])?.end()?;
        ensure!(sent.code == Some(0), "{sent:?}");
        for receiver in &mut receivers {
            receiver.ends_with(&file)?;
        }
        ensure!(
            sent.ratio()? < 0.9,
            "{} symbols for each: what was verified is not sent again",
            sent.ratio()?
        );
    }
    Ok(())
}

#[test]
fn a_full_disk_is_told_and_tried_again_once_there_is_room() -> Result<()> {
    let Some(lan) = Lan::or_skip("full")? else { return Ok(()) };
    let file = lan.file("image", 12 << 20)?;
    let (small, large) = (SmallDisk::mount(8 << 10)?, SmallDisk::mount(20 << 10)?);
    let start =
        |name: &str, disk: &SmallDisk| Receiver::start(&lan, lan.switch.host(name)?, name, disk.path());
    let (mut never, mut later) = (start("never", &small)?, start("later", &large)?);
    large.fill()?;
    let sending = lan.send(&["--expect", "1"], &[&file])?;
    for receiver in [&mut never, &mut later] {
        let failed = receiver.wait_for("failed")?;
        ensure!(
            failed["reason"].as_str().is_some_and(|why| why.contains("free") || why.contains("space")),
            "{failed}"
        );
    }
    large.free()?;
    let sent = sending.end()?;
    ensure!(sent.code == Some(0) && sent.state("never") == Some("failed"), "{sent:?}");
    later.ends_with(&file)?;
    ensure!(!never.has("image"), "a part has no name");
    Ok(())
}

#[test]
fn a_tunnel_of_1450_bytes_carries_it() -> Result<()> {
    let Some(lan) = Lan::or_skip("mtu")? else { return Ok(()) };
    let file = lan.file("image", 6 << 20)?;
    let mut receiver = lan.receiver("web-1")?;
    for host in [&lan.sender, &receiver.host] {
        host.ip("link set eth0 mtu 1450")?;
    }
    let _loss = receiver.host.loss(20)?;
    let sent = lan.send(&["--expect", "1"], &[&file])?.end()?;
    ensure!(sent.code == Some(0), "{sent:?}");
    // 4 MiB, then 2 MiB, in symbols of 1,450 - 20 - 8 - 32, and a catalogue.
    ensure!(sent.sources()? == 3018 + 1509 + 1, "{} symbols", sent.sources()?);
    receiver.ends_with(&file).map(drop)
}

#[test]
fn a_folder_arrives_as_it_is() -> Result<()> {
    let Some(lan) = Lan::or_skip("folder")? else { return Ok(()) };
    fs::create_dir_all(lan.path("pack/sub"))?;
    let (first, second) = (lan.file("pack/a", 5 << 20)?, lan.file("pack/sub/b", 100_000)?);
    fs::write(lan.path("pack/empty"), b"")?;
    let mut receiver = lan.receiver("web-1")?;
    let _loss = receiver.host.loss(50)?;
    let sent = lan.send(&["--expect", "1"], &[&lan.path("pack")])?.end()?;
    ensure!(sent.code == Some(0), "{sent:?}");
    receiver.wait_for("completed")?;
    for (there, here) in [("web-1/pack/a", &first), ("web-1/pack/sub/b", &second)] {
        ensure!(fs::read(lan.path(there))? == fs::read(here)?, "{there}");
    }
    ensure!(fs::metadata(lan.path("web-1/pack/empty"))?.len() == 0);
    Ok(())
}

#[test]
fn exit_codes_tell_some_from_nobody() -> Result<()> {
    let Some(lan) = Lan::or_skip("codes")? else { return Ok(()) };
    let file = lan.file("image", 16 << 20)?;
    ensure!(lan.send(&[], &[&file])?.end()?.code == Some(4), "nobody came");
    let (mut stays, mut leaves) = (lan.receiver("stays")?, lan.receiver("leaves")?);
    let sending = lan.send(&["--rate", "50M"], &[&file])?;
    leaves.wait_for_bytes(1)?;
    leaves.kill()?;
    let sent = sending.end()?;
    ensure!(sent.code == Some(3) && sent.state("leaves") == Some("missing"), "{sent:?}");
    stays.ends_with(&file).map(drop)
}

#[test]
fn hostile_packets_beside_an_honest_sender_change_nothing() -> Result<()> {
    let Some(lan) = Lan::or_skip("hostile")? else { return Ok(()) };
    let file = lan.file("image", 16 << 20)?;
    for kind in HARMLESS {
        let mut receivers =
            (0..2).map(|n| lan.receiver(&format!("web-{n}-{kind:?}"))).collect::<Result<Vec<_>>>()?;
        let mut hostile = Hostile::on(&lan.switch.host("hostile")?, &lan)?;
        let sending = lan.send(&["--expect", "2", "--rate", scale("60M", "10M")], &[&file])?;
        let overheard = hostile.overhear()?;
        let begun = Instant::now();
        let (mut taken, mut memory) = (0, 0);
        for _ in 0..20 {
            taken += hostile.send(kind, scale(500, 50_000), &overheard)?;
            memory = memory.max(receivers[0].memory()?.unwrap_or(0));
        }
        ensure!(taken > scale(5_000, 500_000) && memory > 0, "{kind:?}: {taken} were sent, {memory} bytes");
        let sent = sending.end()?;
        println!("{kind:?}: {:?} of hostile packets, {memory} bytes, {:.3}", begun.elapsed(), sent.ratio()?);
        ensure!(sent.code == Some(0), "{kind:?}: {sent:?}");
        ensure!(memory < 160 << 20, "{kind:?}: {memory} bytes");
        for receiver in &mut receivers {
            receiver.ends_with(&file)?;
            ensure!(!receiver.has("evil"), "{kind:?}");
        }
    }
    Ok(())
}

#[test]
fn a_member_that_forges_symbols_costs_time_and_no_byte() -> Result<()> {
    let Some(lan) = Lan::or_skip("poison")? else { return Ok(()) };
    let file = lan.file("image", 16 << 20)?;
    let mut receiver = lan.receiver("web-1")?;
    let mut hostile = Hostile::on(&lan.switch.host("hostile")?, &lan)?;
    let sending = lan.send(&["--expect", "1", "--rate", "20M"], &[&file])?;
    let overheard = hostile.overhear()?;
    let mut forged = 0;
    for _ in 0..scale(30, 300) {
        forged += hostile.send(Kind::Poison, 1000, &overheard)?;
    }
    ensure!(forged > 15_000, "more than all symbols of the object");
    let sent = sending.end()?;
    ensure!(sent.code == Some(0), "{sent:?}");
    receiver.ends_with(&file)?;
    println!("{forged} forged, {:.3} symbols for each", sent.ratio()?);
    ensure!(sent.ratio()? > 1.01, "blocks were spoilt: {}", sent.ratio()?);
    ensure!(sent.ratio()? <= 2.0, "what was forged was told by its tags: {}", sent.ratio()?);
    Ok(())
}
