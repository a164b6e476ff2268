//! `klctl poll` and `klctl devices --unassigned`.

use std::time::{Duration, SystemTime};

use super::args::SetPoll;
use super::console::{Console, named, short};
use super::devices;
use super::failure::Failure;
use super::text::{ago, printable, span, table};
use crate::api::types::{Poller, SetPolling, Unassigned};

pub(super) async fn list(console: &Console) -> Result<(), Failure> {
    let pollers: Vec<Poller> = console.get("/pollers").await?;
    console.show(&pollers, |pollers| match pollers.is_empty() {
        true => "No device looks for hosts in its networks: klctl poll set".to_owned(),
        false => shown(pollers),
    })
}

pub(super) async fn set(console: &Console, set: SetPoll) -> Result<(), Failure> {
    let device = devices::find(console, &set.device).await?;
    let seconds =
        |every: Option<Duration>| every.map_or(0, |every| u32::try_from(every.as_secs()).unwrap_or(u32::MAX));
    let polling = SetPolling {
        ranges_every: seconds(Some(set.every).filter(|_| !set.ranges.is_empty())),
        ranges: set.ranges,
        zeroconf_every: seconds(set.zeroconf),
        windows_every: seconds(set.windows),
    };
    let poller: Poller = console.post(&format!("/devices/{}/polling", device.id), &polling).await?;
    console.show(&poller, |poller| {
        printable(&format!("{} looks for hosts: {}", poller.name, what(&poller.polling)))
    })
}

pub(super) async fn remove(console: &Console, device: &str) -> Result<(), Failure> {
    let pollers: Vec<Poller> = console.get("/pollers").await?;
    let poller = named(pollers, device, "device that polls", |poller| (&poller.device, &poller.name))?;
    console.delete(&format!("/devices/{}/polling", poller.device)).await?;
    console.done(&format!("{} looks for hosts no more", poller.name))
}

pub(super) async fn unassigned(console: &Console) -> Result<(), Failure> {
    let hosts: Vec<Unassigned> = console.get("/unassigned").await?;
    console.show(&hosts, |hosts| match hosts.is_empty() {
        true => "Nothing was found that is not managed; klctl poll says who looks".to_owned(),
        false => found(hosts),
    })
}

fn shown(pollers: &[Poller]) -> String {
    let row = |poller: &Poller| {
        let state = if poller.online { "online" } else { "offline" };
        [poller.name.clone(), state.to_owned(), what(&poller.polling), short(&poller.device)]
    };
    table(["NAME", "STATE", "POLLS", "ID"], pollers.iter().map(row))
}

/// What is polled, and how often.
fn what(polling: &SetPolling) -> String {
    let SetPolling { ranges, ranges_every, zeroconf_every, windows_every } = polling;
    let kinds = [
        (ranges.join(" "), *ranges_every),
        ("zeroconf".into(), *zeroconf_every),
        ("windows".into(), *windows_every),
    ];
    let kinds = kinds.into_iter().filter(|(_, every)| *every != 0);
    let kind =
        |(what, every): (String, u32)| format!("{what} every {}", span(Duration::from_secs(every.into())));
    kinds.map(kind).collect::<Vec<_>>().join(", ")
}

fn found(hosts: &[Unassigned]) -> String {
    let now = SystemTime::now();
    let first = |list: &[String]| list.first().cloned().unwrap_or_else(|| "-".to_owned());
    let row = |host: &Unassigned| {
        let system = match host.suspicion.is_empty() {
            true => host.system.clone(),
            false => host.suspicion.clone(),
        };
        let (address, mac) = (first(&host.addresses), first(&host.macs));
        [host.name.clone(), address, mac, system, ago(host.last_seen, now), host.found_by.join(" ")]
    };
    table(["NAME", "ADDRESS", "CARD", "SYSTEM", "SEEN", "FOUND BY"], hosts.iter().map(row))
}
