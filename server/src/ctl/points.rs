//! `klctl dp`.

use super::console::{Console, named, short};
use super::devices;
use super::failure::Failure;
use super::text::{printable, table};
use crate::api::types::{AssignPoint, Point};

pub(super) async fn list(console: &Console) -> Result<(), Failure> {
    let points: Vec<Point> = console.get("/points").await?;
    console.show(&points, |points| shown(points))
}

pub(super) async fn assign(console: &Console, device: &str, to: AssignPoint) -> Result<(), Failure> {
    let device = devices::find(console, device).await?;
    let path = format!("/devices/{}/point", device.id);
    let point: Point = console.post(&path, &to).await?;
    console.show(&point, |point| {
        let Point { name, group, multicast_v4, members, .. } = point;
        printable(&format!(
            "{name} brings files to {group} ({members} devices), by multicast to {multicast_v4}"
        ))
    })
}

pub(super) async fn unassign(console: &Console, device: &str) -> Result<(), Failure> {
    let points: Vec<Point> = console.get("/points").await?;
    let point = named(points, device, "distribution point", |point| (&point.device, &point.name))?;
    console.delete(&format!("/devices/{}/point", point.device)).await?;
    console.done(&format!("{} is no distribution point any more", point.name))
}

fn shown(points: &[Point]) -> String {
    if points.is_empty() {
        return "No device is a distribution point".to_owned();
    }
    let row = |point: &Point| {
        [
            point.name.clone(),
            if point.online { "online" } else { "offline" }.to_owned(),
            point.group.clone(),
            point.members.to_string(),
            point.multicast_v4.clone(),
            point.epoch.to_string(),
            point.rate_mbit.map_or_else(|| "-".to_owned(), |rate| format!("{rate} Mbit/s")),
            files(point),
            short(&point.device),
        ]
    };
    let head = ["NAME", "STATE", "GROUP", "DEVICES", "MULTICAST", "EPOCH", "RATE", "FILES", "ID"];
    table(head, points.iter().map(row))
}

/// Where it serves files.
fn files(point: &Point) -> String {
    match (point.addresses.first(), point.port) {
        (Some(address), Some(port)) if address.contains(':') => format!("[{address}]:{port}"),
        (Some(address), Some(port)) => format!("{address}:{port}"),
        _ => "-".to_owned(),
    }
}
