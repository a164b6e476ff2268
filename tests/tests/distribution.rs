//! An object on its way from an operator to the devices of a LAN, by a distribution point.

mod site;

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hyper::Method;
use klnet_agent::state::Folder;
use klnet_tests::fleet::PATIENCE;
use klnet_tests::lab::wait_until;
use klnet_wire::id::DeviceId;
use klnet_wire::identity::tls::{ALPN_HTTP, client_config, device_config};
use klnet_wire::net::https::Client;
use rustls::ClientConfig;
use serde_json::Value;
use site::Site;

#[test]
fn one_transmission_serves_a_lan_and_https_whoever_it_does_not_reach() -> Result<()> {
    let Some(site) = Site::or_skip("distribute", &["web-1", "web-2", "web-3"])? else { return Ok(()) };
    let deaf = &site.devices[2];
    site.deafen(deaf)?;
    let image = site.file("image", IMAGE)?;
    site.distribute(&image)?;
    let results = site.results("image")?;
    for (name, by, other) in
        [("web-1", "multicast", "https"), ("web-2", "multicast", "https"), ("web-3", "https", "multicast")]
    {
        let row = site::row(&results, name)?;
        ensure!(row[by].as_u64() >= Some(IMAGE as u64) && row[other] == 0, "{row}");
    }
    let shown = wait_until(PATIENCE, || {
        let object = site.devices[0].status()?["distribution"]["objects"][0].clone();
        Ok((object["state"] == "complete").then_some(object))
    })?;
    ensure!(shown.is_some(), "{}", site.devices[0].status()?);
    site.devices.iter().chain([&site.point]).try_for_each(|device| site.holds(device, &image))
}

#[test]
fn two_devices_fetch_at_once_and_nothing_is_sent_to_their_group() -> Result<()> {
    let Some(site) = Site::or_skip("few", &["web-1", "web-2"])? else { return Ok(()) };
    site.devices.iter().try_for_each(|device| site.deafen(device))?;
    let image = site.file("image", IMAGE)?;
    let begun = Instant::now();
    site.distribute(&image)?;
    let results = site.results("image")?;
    // Whoever waits for multicast waits for ten seconds.
    ensure!(begun.elapsed() < Duration::from_secs(10), "{:?}: {results}", begun.elapsed());
    for device in &site.devices {
        let row = site::row(&results, device.name())?;
        ensure!(row["https"].as_u64() >= Some(IMAGE as u64) && row["multicast"] == 0, "{row}");
        ensure!(site.unheard(device)? == 0, "packets came to {}", device.name());
        site.holds(device, &image)?;
    }
    Ok(())
}

#[test]
fn a_revoked_device_is_out_of_the_group_before_the_next_object() -> Result<()> {
    let Some(site) = Site::or_skip("epoch", &["web-1", "web-2", "web-3", "web-4"])? else { return Ok(()) };
    let (first, second) = (site.file("first", 1 << 20)?, site.file("second", 1 << 20)?);
    site.distribute(&first)?;
    site.results("first")?;
    let before = site.epoch()?;
    site.fleet.admin().klctl(&["revoke", "device", "web-2"])?.ok()?;
    ensure!(site.epoch()? == before + 1, "in the same commit");
    site.distribute(&second)?;
    let results = site.results("second")?;
    ensure!(site::row(&results, "web-1")?["multicast"].as_u64() >= Some(1 << 20), "{results}");
    ensure!(site::row(&results, "web-2").is_err(), "it is not to have it");
    ensure!(!site.devices[1].state().join("received/second").exists(), "though it was on the LAN");
    Ok(())
}

#[test]
fn who_was_away_gets_it_when_it_is_back() -> Result<()> {
    let Some(mut site) = Site::or_skip("away", &["web-1", "web-2", "web-3"])? else { return Ok(()) };
    site.devices[1].stop()?;
    site.fleet.wait_online(&site.devices[1], false, PATIENCE)?;
    let image = site.file("image", IMAGE)?;
    site.distribute(&image)?;
    site.complete("image", &["web-1"])?;
    site.devices[1].start()?;
    let results = site.results("image")?;
    // The transmission may still go on.
    let bytes = |by: &str| site::row(&results, "web-2").ok()?[by].as_u64();
    ensure!(bytes("https") >= Some(IMAGE as u64) || bytes("multicast") >= Some(IMAGE as u64), "{results}");
    site.holds(&site.devices[1], &image)
}

#[test]
fn a_device_killed_on_the_way_goes_on_where_it_was() -> Result<()> {
    let Some(mut site) = Site::or_skip("killed", &["web-1", "web-2", "web-3"])? else { return Ok(()) };
    let image = site.file("image", 3 * IMAGE)?;
    site.distribute(&image)?;
    site.wait_for_parts(&site.devices[1])?;
    site.devices[1].kill()?;
    site.devices[1].start()?;
    site.results("image")?;
    site.devices.iter().try_for_each(|device| site.holds(device, &image))
}

#[test]
fn a_distribution_point_killed_on_the_way_goes_on_where_it_was() -> Result<()> {
    let Some(mut site) = Site::or_skip("kill-dp", &["web-1", "web-2", "web-3"])? else { return Ok(()) };
    let image = site.file("image", 3 * IMAGE)?;
    site.distribute(&image)?;
    site.wait_for_parts(&site.devices[0])?;
    site.point.kill()?;
    site.point.start()?;
    site.results("image")?;
    site.devices.iter().try_for_each(|device| site.holds(device, &image))
}

#[test]
fn two_distribution_points_of_one_lan_send_on_groups_of_their_own() -> Result<()> {
    let devices = ["web-1", "web-2", "web-3", "web-4", "nas-2"];
    let Some(site) = Site::or_skip("two", &devices)? else { return Ok(()) };
    let admin = site.fleet.admin();
    admin.klctl(&["group", "add", "shop"])?.ok()?;
    for device in &devices[1..] {
        admin.klctl(&["device", "move", device, "/shop"])?.ok()?;
    }
    admin.klctl(&["dp", "assign", "nas-2", "--group", "/shop"])?.ok()?;
    let points = admin.ask(&["dp", "list"])?;
    ensure!(points[0]["multicast_v4"] != points[1]["multicast_v4"], "{points}");
    let (all, shop) = (site.file("all", IMAGE)?, site.file("shop", IMAGE)?);
    site.distribute(&all)?;
    site.distribute_to(&shop, "/shop")?;
    for (name, file) in [("all", &all), ("shop", &shop)] {
        let results = site.results(name)?;
        ensure!(site::row(&results, "web-2")?["multicast"].as_u64() >= Some(IMAGE as u64), "{results}");
        site.holds(&site.devices[1], file)?;
    }
    let received = site.devices[0].state().join("received/shop");
    ensure!(!received.exists(), "it is for others");
    Ok(())
}

#[test]
fn a_stranger_on_its_group_gives_a_distribution_point_another() -> Result<()> {
    let Some(site) = Site::or_skip("stranger", &["web-1", "web-2", "web-3"])? else { return Ok(()) };
    let before = site.group()?;
    let stranger = site.point.neighbour("stranger")?;
    let socket = stranger.inside(|| UdpSocket::bind((stranger.address(), 0)))??;
    let after = wait_until(PATIENCE, || {
        socket.send_to(b"somebody else's radio", (before, 15_001))?;
        Ok(Some(site.group()?).filter(|after| *after != before))
    })?;
    ensure!(after.is_some(), "it has the same group still\n{}", site.point.log()?);
    let renumbered = |entry: &Value| entry["action"] == "point.renumber";
    let entry = site.fleet.wait_audited("point.renumber", renumbered)?;
    ensure!(entry.to_string().contains(&stranger.address().to_string()), "{entry}");
    let image = site.file("image", 1 << 20)?;
    site.distribute(&image)?;
    let results = site.results("image")?;
    ensure!(site::row(&results, "web-1")?["multicast"].as_u64() >= Some(1 << 20), "{results}");
    Ok(())
}

#[test]
fn who_is_no_member_of_the_epoch_is_served_no_file() -> Result<()> {
    let Some(site) = Site::or_skip("files", &["web-1"])? else { return Ok(()) };
    site.distribute(&site.file("image", 1 << 20)?)?;
    let results = site.results("image")?;
    let object = results["distribution"]["id"].as_str().context("an id")?;
    let folder = Folder::new(site.devices[0].state());
    let device = folder.device()?;
    let crls = Arc::new(folder.crls(&folder.directory(&device)?.issuers()));
    let point = Folder::new(site.point.state()).device()?.principal.id();
    let meet = |who: DeviceId| {
        let (identity, trust) = (&device.identity, device.trust.clone());
        device_config(identity, trust, Some(Arc::clone(&crls)), who, &[ALPN_HTTP])
    };
    let url = format!("https://{}:13000", site.point.host().address());
    let ask = |tls: Arc<ClientConfig>, path: &str| -> Result<String> {
        let asked = site.devices[0].host().inside(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let client = Client::with_tls(&url, tls)?;
            anyhow::Ok(runtime.block_on(client.request(Method::GET, path, Bytes::new())))
        })??;
        Ok(asked.map_or_else(|error| error.to_string(), |bytes| format!("{} bytes", bytes.len())))
    };
    let forged = format!("/objects/{object}/0/{}", "00".repeat(32));
    for path in
        [&forged, "/", "/objects", "/objects/../../etc/passwd/0/00", &forged.replace("/0/", "/4294967296/")]
    {
        let said = ask(meet(point)?, path)?;
        ensure!(said.contains("404"), "{path}: {said}");
    }
    let said = ask(meet(DeviceId::random())?, &forged)?;
    ensure!(said.contains("of another device"), "{said}");
    let nobody = client_config(None, device.trust.clone(), &[ALPN_HTTP])?;
    let said = ask(nobody, &forged)?;
    ensure!(!said.contains("404") && !said.ends_with("bytes"), "{said}");
    Ok(())
}

#[test]
fn only_a_newer_version_takes_the_place_of_another() -> Result<()> {
    let Some(site) = Site::or_skip("version", &["web-1"])? else { return Ok(()) };
    let image = site.file("image", 1 << 20)?;
    let distribute = |version: &str| {
        let path = image.to_str().expect("made of ASCII");
        site.fleet.admin().klctl(&["distribute", path, "--group", "/", "--version", version])
    };
    distribute("7")?.ok()?;
    site.results("image")?;
    std::fs::write(&image, b"another content")?;
    distribute("6")?.refused(3, "7")?;
    distribute("8")?.ok()?;
    site.results("image")?;
    site.holds(&site.devices[0], &image)
}

/// Some blocks.
const IMAGE: usize = 9 << 20;
