//! One device, as far as it is known.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::directory::Member;
use crate::fact::{Claim, Fact, NameKind, Service, Source, Suspicion};
use crate::mac::Mac;
use crate::name::Text;

/// A device and everything that was said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its addresses, each until its lifetime is over.
    pub addresses: BTreeMap<IpAddr, Seen>,
    /// Its cards.
    pub macs: BTreeSet<Mac>,
    /// Its names.
    pub names: BTreeMap<(NameKind, Text), Seen>,
    /// Identifiers its system gave, each by one protocol.
    pub machines: BTreeSet<(Source, [u8; 16])>,
    /// Identifiers of its account in a directory.
    pub directories: BTreeSet<[u8; 16]>,
    /// Where its account is in the directory: a distinguished name.
    pub unit: Option<Text>,
    /// Its operating system, by the best source.
    pub system: Option<(Source, Text)>,
    /// Services it announced.
    pub services: BTreeSet<Service>,
    /// How it was found.
    pub sources: BTreeSet<Source>,
    /// Why its answers do not count, when they do not.
    pub suspicion: Option<Suspicion>,
    /// The last round trip that was measured.
    pub rtt: Option<Duration>,
    /// The first fact about it.
    pub first_seen: SystemTime,
    /// The latest fact about it.
    pub last_seen: SystemTime,
}

/// When something was said, and by the best of those who did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The best source.
    pub source: Source,
    /// For the first time.
    pub first: SystemTime,
    /// For the last time.
    pub last: SystemTime,
}

impl Host {
    pub(super) fn new(now: SystemTime) -> Self {
        Self {
            addresses: BTreeMap::new(),
            macs: BTreeSet::new(),
            names: BTreeMap::new(),
            machines: BTreeSet::new(),
            directories: BTreeSet::new(),
            unit: None,
            system: None,
            services: BTreeSet::new(),
            sources: BTreeSet::new(),
            suspicion: None,
            rtt: None,
            first_seen: now,
            last_seen: now,
        }
    }

    /// The name people know it by: of the best source, DNS before NetBIOS.
    pub fn name(&self) -> Option<&Text> {
        let of_a_host = self.names.iter().filter(|((kind, _), _)| *kind != NameKind::Domain);
        of_a_host
            .max_by_key(|((kind, _), seen)| (seen.source.confidence(), std::cmp::Reverse(*kind)))
            .map(|((_, name), _)| name)
    }

    /// Takes in a fact that is about this host.
    pub(super) fn learn(&mut self, fact: &Fact) {
        self.sources.insert(fact.source);
        self.first_seen = self.first_seen.min(fact.seen);
        self.last_seen = self.last_seen.max(fact.seen);
        see(&mut self.addresses, ADDRESSES, fact.address, fact);
        match &fact.claim {
            Claim::Alive { rtt, .. } => self.rtt = rtt.or(self.rtt),
            Claim::Mac(mac) => insert(&mut self.macs, *mac),
            Claim::Name(kind, name) => see(&mut self.names, NAMES, (*kind, name.clone()), fact),
            Claim::Machine(id) => insert(&mut self.machines, (fact.source, *id)),
            Claim::Directory(id) => insert(&mut self.directories, *id),
            Claim::System(system) => {
                let better = |(source, _): &(Source, Text)| source.confidence() <= fact.source.confidence();
                if self.system.as_ref().is_none_or(better) {
                    self.system = Some((fact.source, system.clone()));
                }
            }
            Claim::Service(service) if self.services.len() < SERVICES => {
                self.services.insert(service.clone());
            }
            Claim::Service(_) => {}
            Claim::Suspect(suspicion) => self.suspicion = Some(*suspicion),
        }
    }

    /// Takes in what a directory says about this host; it says the whole of it each time.
    pub(super) fn learn_member(&mut self, member: &Member, now: SystemTime) {
        let seen = Seen { source: Source::Directory, first: now, last: now };
        self.sources.insert(seen.source);
        self.first_seen = self.first_seen.min(now);
        self.last_seen = self.last_seen.max(now);
        insert(&mut self.directories, member.id);
        member.macs.iter().for_each(|mac| insert(&mut self.macs, *mac));
        let names = [
            (NameKind::Dns, &member.dns),
            (NameKind::NetBios, &member.short),
            (NameKind::Domain, &member.domain),
        ];
        let names = names.into_iter().filter_map(|(kind, name)| Some(((kind, name.clone()?), seen)));
        join(&mut self.names, NAMES, names);
        self.unit.clone_from(&member.unit);
        if let Some(system) = &member.system {
            self.system = Some((seen.source, system.clone()));
        }
    }

    /// Its account is gone; whether nothing else is known of it.
    pub(super) fn forget_account(&mut self) -> bool {
        self.unit = None;
        self.sources.remove(&Source::Directory);
        self.sources.is_empty()
    }

    /// Takes over everything of another record of the same device.
    pub(super) fn absorb(&mut self, other: Self) {
        join(&mut self.addresses, ADDRESSES, other.addresses);
        join(&mut self.names, NAMES, other.names);
        other.macs.into_iter().for_each(|mac| insert(&mut self.macs, mac));
        other.machines.into_iter().for_each(|id| insert(&mut self.machines, id));
        other.directories.into_iter().for_each(|id| insert(&mut self.directories, id));
        let room = SERVICES.saturating_sub(self.services.len());
        self.services.extend(other.services.into_iter().take(room));
        self.sources.extend(other.sources);
        self.unit = self.unit.take().or(other.unit);
        self.system = self.system.take().or(other.system);
        self.suspicion = self.suspicion.or(other.suspicion);
        self.rtt = self.rtt.or(other.rtt);
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
    }
}

impl Seen {
    fn join(&mut self, other: Self) {
        if other.source.confidence() > self.source.confidence() {
            self.source = other.source;
        }
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

fn see<K: Ord>(map: &mut BTreeMap<K, Seen>, limit: usize, key: K, fact: &Fact) {
    join(map, limit, [(key, Seen { source: fact.source, first: fact.seen, last: fact.seen })]);
}

/// Joins what two records say; at its limit a map takes nothing new.
fn join<K: Ord>(map: &mut BTreeMap<K, Seen>, limit: usize, other: impl IntoIterator<Item = (K, Seen)>) {
    for (key, seen) in other {
        let is_full = map.len() >= limit;
        match map.get_mut(&key) {
            Some(known) => known.join(seen),
            None if is_full => {}
            None => drop(map.insert(key, seen)),
        }
    }
}

fn insert<T: Ord>(set: &mut BTreeSet<T>, item: T) {
    if set.len() < EACH {
        set.insert(item);
    }
}

/// One card may have a whole /16 behind it; all hosts together are bounded by the inventory.
const ADDRESSES: usize = 1 << 16;
/// Names of one host.
const NAMES: usize = 64;
/// Services of one host.
const SERVICES: usize = 1024;
/// Cards, identifiers of one host.
const EACH: usize = 64;
