//! Hosts, as people and programs read them.

mod csv;
mod json;
mod table;
mod xml;

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::args::Show;
use super::failure::Failure;
use super::print;
use crate::inventory::{Host, Inventory};

/// What is known about the run itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) begun: SystemTime,
    /// Addresses that were asked.
    pub(super) asked: u32,
}

/// Shows hosts in the order of their addresses, in the form that was chosen.
pub(super) fn show(inventory: &Inventory, run: &Run, show: Show) -> Result<(), Failure> {
    let mut hosts: Vec<&Host> = inventory.hosts().map(|(_, host)| host).collect();
    hosts.sort_by_key(|host| host.addresses.keys().next().copied());
    let text = match show {
        Show { json: true, .. } => json::lines(&hosts),
        Show { csv: true, .. } => csv::lines(&hosts).map_err(Failure::Output)?,
        Show { xml: true, .. } => xml::document(&hosts, run).map_err(Failure::Output)?,
        _ => table::table(&hosts),
    };
    print(text.as_bytes())?;
    let suspects = inventory.all().filter(|(_, host)| host.suspicion.is_some());
    for (_, host) in suspects.filter(|_| !show.quiet) {
        let (first, count) = (host.addresses.keys().next(), host.addresses.len());
        if let (Some(first), Some(suspicion)) = (first, host.suspicion) {
            eprintln!("klpoll: {count} addresses from {first} on do not count: {}", suspicion.word());
        }
    }
    Ok(())
}

/// How a host was found, in words.
fn sources(host: &Host) -> Vec<&'static str> {
    host.sources.iter().map(|source| source.word()).collect()
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Microseconds, for programs.
fn micros(rtt: Duration) -> u64 {
    u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)
}

fn first(host: &Host) -> Option<IpAddr> {
    host.addresses.keys().next().copied()
}
