//! `klcast` on networks that are not just a switch with IPv4, and with disks that are not as they were left.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use klnet_tests::lab::{Host, wait_until};

use super::{GROUP, Lan, PATIENCE, Receiver};

#[test]
fn ipv6_carries_it_as_well() -> Result<()> {
    let Some(lan) = Lan::of_group("six", "[ff15::8000:5]:15001")? else { return Ok(()) };
    let file = lan.file("image", 12 << 20)?;
    has_ipv6(&lan.sender)?;
    let mut receivers = Vec::new();
    for n in 0..3 {
        let (name, host) = (format!("web-{n}"), lan.switch.host(&format!("web-{n}"))?);
        has_ipv6(&host)?;
        receivers.push(Receiver::start(&lan, host, &name, &lan.path(&name))?);
    }
    let _loss = receivers[0].host.loss(30)?;
    let sent = lan.send(&["--expect", "3"], &[&file])?.end()?;
    ensure!(sent.code == Some(0), "{sent:?}");
    receivers.iter_mut().try_for_each(|receiver| receiver.ends_with(&file).map(drop))
}

#[test]
fn an_interface_with_a_link_local_address_alone_is_enough() -> Result<()> {
    let Some(lan) = Lan::of_group("link", "[ff15::8000:6]:15001")? else { return Ok(()) };
    let file = lan.file("image", 12 << 20)?;
    has_link_local(&lan.sender)?;
    let mut receivers = Vec::new();
    for n in 0..3 {
        let (name, host) = (format!("web-{n}"), lan.switch.host(&format!("web-{n}"))?);
        has_link_local(&host)?;
        receivers.push(Receiver::start(&lan, host, &name, &lan.path(&name))?);
    }
    let _loss = receivers[0].host.loss(30)?;
    let sent = lan.send(&["--expect", "3"], &[&file])?.end()?;
    ensure!(sent.code == Some(0), "{sent:?}");
    let opened = receivers[0].wait_for("opened")?;
    ensure!(opened["sender"].as_str().is_some_and(|sender| sender.starts_with("[fe80:")), "{opened}");
    receivers.iter_mut().try_for_each(|receiver| receiver.ends_with(&file).map(drop))
}

#[test]
fn two_senders_on_one_lan_do_not_disturb_each_other() -> Result<()> {
    let Some(lan) = Lan::or_skip("two")? else { return Ok(()) };
    let other = lan.switch.host("other")?;
    lan.key("other", "239.194.5.2:15001")?;
    let files = [lan.file("image", 16 << 20)?, lan.file("update", 12 << 20)?];
    let mut receivers = Vec::new();
    for n in 0..3 {
        let host = lan.switch.host(&format!("web-{n}"))?;
        for key in ["lan", "other"] {
            let (name, key) = (format!("{key}-{n}"), lan.path(&format!("{key}.receiver")));
            receivers.push(Receiver::with_key(&key, host.clone(), &name, &lan.path(&name))?);
        }
    }
    let options = ["--expect", "3", "--rate", "200M"];
    let sending =
        [lan.send(&options, &[&files[0]])?, lan.send_from(&other, "other.sender", &options, &[&files[1]])?];
    for sending in sending {
        let sent = sending.end()?;
        ensure!(sent.code == Some(0), "{sent:?}");
        ensure!(sent.ratio()? < 1.2, "{} symbols for each", sent.ratio()?);
    }
    for (receiver, file) in receivers.iter_mut().zip(files.iter().cycle()) {
        receiver.ends_with(file)?;
    }
    Ok(())
}

#[test]
fn who_a_switch_has_forgotten_joins_again_and_the_others_wait_for_it() -> Result<()> {
    let Some(lan) = Lan::or_skip("forgotten")? else { return Ok(()) };
    lan.switch.snoop_and_never_ask()?;
    let file = lan.file("image", 24 << 20)?;
    let mut receivers = (0..3).map(|n| lan.receiver(&format!("web-{n}"))).collect::<Result<Vec<_>>>()?;
    let sending = lan.send(&["--expect", "3", "--rate", "100M"], &[&file])?;
    receivers[0].wait_for_bytes(1)?;
    let hosts: Vec<_> = receivers.iter().map(|receiver| receiver.host.clone()).collect();
    let (group, _) = GROUP.split_once(':').context("a port")?;
    lan.switch.forget_members(&hosts[..2].iter().collect::<Vec<_>>(), group)?;
    let sent = sending.end()?;
    ensure!(sent.code == Some(0), "{sent:?}");
    // What goes out until a receiver has missed three marks goes out again: a sixth of the file, not the rest of it.
    ensure!((1.05..1.6).contains(&sent.ratio()?), "the switch did filter, for a moment: {}", sent.ratio()?);
    receivers.iter_mut().try_for_each(|receiver| receiver.ends_with(&file).map(drop))
}

#[test]
fn what_was_damaged_on_the_disk_meanwhile_comes_again() -> Result<()> {
    let Some(lan) = Lan::or_skip("damaged")? else { return Ok(()) };
    let file = lan.file("image", 24 << 20)?;
    let mut receiver = lan.receiver("web-1")?;
    let sending = lan.send(&["--expect", "1", "--rate", "100M"], &[&file])?;
    receiver.wait_for_bytes(8 << 20)?;
    receiver.kill()?;
    let part = receiver.part()?;
    File::options().write(true).open(part)?.write_all_at(b"damaged", (4 << 20) + 5)?;
    receiver.restart()?;
    let sent = sending.end()?;
    ensure!(sent.code == Some(0), "{sent:?}");
    receiver.ends_with(&file).map(drop)
}

/// Gives the host an address of its own network (RFC 4193).
fn has_ipv6(host: &Host) -> Result<()> {
    let [.., last] = host.address().octets();
    host.ip(&format!("addr add fd77::{last}/64 dev eth0 nodad")).map(drop)
}

/// Makes sure that the host has no address of IPv6 but the one that each interface has, and that this may be used.
fn has_link_local(host: &Host) -> Result<()> {
    let addresses = || host.ip("-6 addr show dev eth0");
    ensure!(!addresses()?.contains("scope global"), "{}", addresses()?);
    let is_ready = |shown: &String| shown.contains("scope link") && !shown.contains("tentative");
    wait_until(PATIENCE, || Ok(Some(addresses()?).filter(is_ready)))?
        .map(drop)
        .context("no link-local address")
}
