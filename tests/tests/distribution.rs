//! An object on its way from an operator to the devices of a LAN, by a distribution point.

mod site;

use anyhow::{Result, ensure};
use klnet_tests::fleet::PATIENCE;
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
    site.devices.iter().chain([&site.point]).try_for_each(|device| site.holds(device, &image))
}

#[test]
fn a_revoked_device_is_out_of_the_group_before_the_next_object() -> Result<()> {
    let Some(site) = Site::or_skip("epoch", &["web-1", "web-2"])? else { return Ok(()) };
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
    let Some(mut site) = Site::or_skip("away", &["web-1", "web-2"])? else { return Ok(()) };
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
    let Some(mut site) = Site::or_skip("killed", &["web-1", "web-2"])? else { return Ok(()) };
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
    let Some(mut site) = Site::or_skip("kill-dp", &["web-1", "web-2"])? else { return Ok(()) };
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
    let Some(site) = Site::or_skip("two", &["web-1", "web-2", "nas-2"])? else { return Ok(()) };
    let admin = site.fleet.admin();
    admin.klctl(&["group", "add", "shop"])?.ok()?;
    for device in ["web-2", "nas-2"] {
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
