//! JSON lines: one object for each host.

use serde::Serialize;

use super::{micros, sources, unix};
use crate::fact::NameKind;
use crate::inventory::Host;

/// A host as programs read it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    addresses: Vec<String>,
    name: Option<&'a str>,
    names: Vec<Name<'a>>,
    macs: Vec<String>,
    system: Option<&'a str>,
    /// Where its account is in the directory.
    unit: Option<&'a str>,
    services: Vec<Service<'a>>,
    /// How it was found.
    sources: Vec<&'static str>,
    rtt_us: Option<u64>,
    /// Unix seconds.
    first_seen: u64,
    last_seen: u64,
}

#[derive(Debug, Serialize)]
struct Name<'a> {
    kind: &'static str,
    name: &'a str,
    source: &'static str,
}

#[derive(Debug, Serialize)]
struct Service<'a> {
    kind: &'a str,
    instance: &'a str,
    port: u16,
}

/// The lines. What would act on a terminal was replaced where it came in.
pub(super) fn lines(hosts: &[&Host]) -> String {
    let line = |host: &&Host| serde_json::to_string(&line(host)).expect("text keys only") + "\n";
    hosts.iter().map(line).collect()
}

fn line(host: &Host) -> Line<'_> {
    let names = host.names.iter().map(|((kind, name), seen)| Name {
        kind: word(*kind),
        name: name.as_str(),
        source: seen.source.word(),
    });
    let services = host.services.iter().map(|service| Service {
        kind: service.kind.as_str(),
        instance: service.instance.as_str(),
        port: service.port,
    });
    Line {
        addresses: host.addresses.keys().map(ToString::to_string).collect(),
        name: host.name().map(crate::name::Text::as_str),
        names: names.collect(),
        macs: host.macs.iter().map(ToString::to_string).collect(),
        system: host.system.as_ref().map(|(_, system)| system.as_str()),
        unit: host.unit.as_ref().map(crate::name::Text::as_str),
        services: services.collect(),
        sources: sources(host),
        rtt_us: host.rtt.map(micros),
        first_seen: unix(host.first_seen),
        last_seen: unix(host.last_seen),
    }
}

const fn word(kind: NameKind) -> &'static str {
    match kind {
        NameKind::Dns => "dns",
        NameKind::Local => "local",
        NameKind::NetBios => "netbios",
        NameKind::Domain => "domain",
    }
}
