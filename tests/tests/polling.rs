//! A managed device finds the hosts of its network, and the server shows those that nobody manages.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use klnet_tests::fleet::{Device, Fleet, PATIENCE};
use klnet_tests::lab::{Lab, wait_until};
use serde_json::Value;

#[test]
fn a_device_finds_who_is_beside_it_and_nobody_twice_or_managed() -> Result<()> {
    let Some(lab) = Lab::or_skip("polling") else { return Ok(()) };
    let fleet = Fleet::new(&lab)?;
    let poller = fleet.device("nas")?;
    let managed = fleet.beside(&poller, "web-1")?;
    let strangers = ["printer", "camera", "tv"].map(|name| poller.neighbour(name));
    let strangers = strangers.into_iter().collect::<Result<Vec<_>>>()?;
    let [a, b, c, _] = poller.host().address().octets();
    let range = format!("{a}.{b}.{c}.0/24");
    let admin = fleet.admin();
    admin.klctl(&["poll", "set", "nas", "--range", &range, "--every", "1m"])?.ok()?;
    let wanted: BTreeSet<_> = strangers.iter().map(|host| host.address().to_string()).collect();
    let found = wait_until(PATIENCE, || {
        let found = admin.ask(&["devices", "--unassigned"])?;
        Ok(Some(addresses(&found)).filter(|found| found.is_superset(&wanted)))
    })?;
    let found = found.ok_or_else(|| {
        anyhow::anyhow!("{:?}\n{:?}", admin.ask(&["devices", "--unassigned"]), poller.log())
    })?;
    for device in [&poller, &managed] {
        ensure!(!found.contains(&device.host().address().to_string()), "{} is managed", device.name());
    }
    let pollers = admin.ask(&["poll", "list"])?;
    ensure!(pollers[0]["polling"]["ranges"][0] == range.as_str(), "{pollers}");
    shows_who_found(admin.ask(&["devices", "--unassigned"])?, &poller)?;
    admin
        .klctl(&["poll", "set", "nas", "--range", "10.0.0.0/8", "--range", "10.1.0.0/16"])?
        .refused(3, "10.1.0.0")?;
    admin.klctl(&["poll", "remove", "nas"])?.ok()?;
    ensure!(admin.ask(&["poll", "list"])?.as_array().is_some_and(Vec::is_empty));
    Ok(())
}

fn shows_who_found(found: Value, poller: &Device) -> Result<()> {
    for host in found.as_array().into_iter().flatten() {
        ensure!(host["found_by"][0] == poller.name(), "{host}");
        ensure!(host["macs"].as_array().is_some_and(|macs| macs.len() == 1), "{host}");
        let text = host["sources"].to_string();
        ensure!(text.contains("arp"), "{host}");
    }
    Ok(())
}

fn addresses(found: &Value) -> BTreeSet<String> {
    let hosts = found.as_array().into_iter().flatten();
    let addresses = hosts.flat_map(|host| host["addresses"].as_array().into_iter().flatten());
    addresses.filter_map(|address| address.as_str().map(str::to_owned)).collect()
}
