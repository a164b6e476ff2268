//! `klctl device`.

use std::net::IpAddr;
use std::time::SystemTime;

use super::args::Named;
use super::console::{Console, in_query, named, short};
use super::failure::Failure;
use super::text::{ago, moment, printable, table};
use crate::api::reply::Done;
use crate::api::types::{ApproveClone, Clone, Device, MoveDevice, Revoke};
use crate::unix::seconds;

pub(super) async fn list(console: &Console) -> Result<(), Failure> {
    let devices: Vec<Device> = console.get("/devices").await?;
    console.show(&devices, |devices| match devices.is_empty() {
        true => "There are no devices yet; enrol one with the line of: klctl token create".to_owned(),
        false => shown(devices),
    })
}

pub(super) async fn show(console: &Console, device: &str) -> Result<(), Failure> {
    console.show(&find(console, device).await?, described)
}

pub(super) async fn relocate(console: &Console, device: &str, group: String) -> Result<(), Failure> {
    let device = find(console, device).await?;
    let moved: Device = console.post(&format!("/devices/{}/group", device.id), &MoveDevice { group }).await?;
    console.show(&moved, |device| printable(&format!("{} is in {} now", device.name, device.group)))
}

pub(super) async fn revoke(console: &Console, Named { name, reason }: Named) -> Result<(), Failure> {
    let device = find(console, &name).await?;
    let Done {} = console.post(&format!("/devices/{}/revoke", device.id), &Revoke { reason }).await?;
    console.done(&format!("Device {} ({}) is revoked", device.name, device.id))
}

pub(super) async fn remove(console: &Console, device: &str) -> Result<(), Failure> {
    let device = find(console, device).await?;
    console.delete(&format!("/devices/{}", device.id)).await?;
    console.done(&format!("Device {} ({}) is removed", device.name, device.id))
}

pub(super) async fn approve_clone(console: &Console, device: &str, address: IpAddr) -> Result<(), Failure> {
    let device = find(console, device).await?;
    let path = format!("/devices/{}/clone/approve", device.id);
    let approved: Device = console.post(&path, &ApproveClone { address }).await?;
    console.show(&approved, |device| {
        let from = device.clone.as_ref().map_or_else(|| "-".to_owned(), from);
        printable(&format!("The clone of {} ({from}) is given an identity when it comes again", device.name))
    })
}

/// The device an operator means. Names repeat, so one that is in use is preferred to revoked ones.
pub(super) async fn find(console: &Console, name: &str) -> Result<Device, Failure> {
    if name.len() == 32 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return console.get(&format!("/devices/{name}")).await;
    }
    let mut devices: Vec<Device> = console.get(&format!("/devices?name={}", in_query(name))).await?;
    if devices.is_empty() {
        devices = console.get("/devices").await?;
    } else if devices.iter().any(|device| device.revoked.is_none()) {
        devices.retain(|device| device.revoked.is_none());
    }
    named(devices, name, "device", |device| (&device.id, &device.name))
}

fn shown(devices: &[Device]) -> String {
    let now = SystemTime::now();
    let row = |device: &Device| {
        let seen = device.last_seen.map_or_else(|| "-".to_owned(), |seen| ago(seen, now));
        let Device { id, name, group, os, .. } = device;
        [name.clone(), state(device).to_owned(), seen, group.clone(), os.clone(), short(id)]
    };
    table(["NAME", "STATE", "SEEN", "GROUP", "OS", "ID"], devices.iter().map(row))
}

fn described(device: &Device) -> String {
    let moment = |seconds: Option<u64>| seconds.map_or_else(|| "-".to_owned(), moment);
    let skew = device.clock_skew.map_or_else(|| "-".to_owned(), |skew| format!("{skew:+} s"));
    let clone = device.clone.as_ref();
    let clone =
        clone.map_or_else(|| "-".to_owned(), |clone| format!("{} ({})", moment(Some(clone.at)), from(clone)));
    let rows = [
        ["Name".to_owned(), device.name.clone()],
        ["Id".to_owned(), device.id.clone()],
        ["State".to_owned(), state(device).to_owned()],
        ["Since".to_owned(), moment(device.since)],
        ["Ended".to_owned(), device.ended.clone().unwrap_or_else(|| "-".to_owned())],
        ["Last seen".to_owned(), moment(device.last_seen)],
        ["Address".to_owned(), device.address.clone().unwrap_or_else(|| "-".to_owned())],
        ["Group".to_owned(), device.group.clone()],
        ["System".to_owned(), device.os.clone()],
        ["Agent".to_owned(), device.build.clone()],
        ["Clock".to_owned(), skew],
        ["Enrolled".to_owned(), moment(Some(device.enrolled))],
        ["Revoked".to_owned(), moment(device.revoked)],
        ["Clone".to_owned(), clone],
        ["Set back".to_owned(), moment(device.set_back)],
    ];
    let line = |[name, value]: [String; 2]| format!("{name:<10} {}", printable(&value)).trim_end().to_owned();
    rows.map(line).join("\n")
}

fn from(clone: &Clone) -> String {
    format!("{} at {}", clone.machine, clone.address)
}

/// A clone is shown for a day after it came: it comes again until it has an identity of its own.
fn state(device: &Device) -> &'static str {
    let age = |clone: &Clone| seconds(SystemTime::now()).saturating_sub(clone.at);
    let cloned = device.clone.as_ref().is_some_and(|clone| age(clone) < CLONE_SHOWN);
    match (device.revoked, device.online) {
        (Some(_), _) => "revoked",
        (None, true) if cloned => "online, and a clone",
        (None, true) => "online",
        (None, false) if cloned => "offline, and a clone",
        (None, false) => "offline",
    }
}

/// In seconds.
const CLONE_SHOWN: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_device_does_not_reach_the_terminal() {
        let hostile = "\u{1b}]0;owned\u{7}\u{202e}\n\u{9b}2J";
        let device = Device {
            id: "0".repeat(32),
            name: hostile.into(),
            os: hostile.into(),
            group: hostile.into(),
            online: true,
            since: Some(1),
            last_seen: Some(1),
            address: Some(hostile.into()),
            clock_skew: Some(-3),
            build: hostile.into(),
            ended: Some(hostile.into()),
            enrolled: 1,
            revoked: None,
            clone: Some(Clone {
                at: 1,
                address: hostile.into(),
                machine: hostile.into(),
                approved_until: None,
            }),
            set_back: Some(1),
        };
        for text in [shown(std::slice::from_ref(&device)), described(&device)] {
            assert!(text.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}')), "{text:?}");
        }
    }
}
