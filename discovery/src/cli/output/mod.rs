//! Hosts, as people and programs read them.

mod csv;
mod json;
mod table;
mod xml;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::failure::Failure;
use super::print::print;
use super::show::Show;
use crate::fact::Suspicion;
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
    // Those without an address come last.
    hosts.sort_by_key(|host| (host.addresses.is_empty(), first(host), host.name()));
    let text = match show {
        Show { json: true, .. } => json::lines(&hosts),
        Show { csv: true, .. } => csv::lines(&hosts).map_err(Failure::Output)?,
        Show { xml: true, .. } => xml::document(&hosts, run).map_err(Failure::Output)?,
        _ => table::table(&hosts),
    };
    print(text.as_bytes())?;
    if inventory.refused() > 0 && !show.quiet {
        eprintln!("klpoll: there was no room for {} facts", inventory.refused());
    }
    if !show.quiet {
        for (suspicion, addresses) in suspects(inventory) {
            let (count, word) = (addresses.len(), suspicion.word());
            if let Some(first) = addresses.first() {
                eprintln!("klpoll: {count} addresses from {first} on do not count: {word}");
            }
        }
    }
    Ok(())
}

/// Shows what was found although the poll did not come to its end; nothing where nothing was found by then.
pub(super) fn show_as_ended(
    inventory: &Inventory,
    run: &Run,
    how: Show,
    ended: Result<(), Failure>,
) -> Result<(), Failure> {
    if ended.is_ok() || inventory.all().next().is_some() {
        show(inventory, run, how)?;
    }
    ended
}

/// The addresses that somebody else answers for.
fn suspects(inventory: &Inventory) -> BTreeMap<Suspicion, BTreeSet<IpAddr>> {
    let mut suspects: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (_, host) in inventory.all() {
        if let Some(suspicion) = host.suspicion {
            suspects.entry(suspicion).or_default().extend(host.addresses.keys());
        }
    }
    suspects
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
