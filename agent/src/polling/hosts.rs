//! Hosts as the server is told of them: each with a key of its own, a few in each message.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use klnet_discovery::fact::{Fact, NameKind};
use klnet_discovery::inventory::{Host, HostId, Inventory};
use klnet_wire::message::sighting::{ADDRESSES_LIMIT, HOSTS_LIMIT, TEXT_LIMIT};
use klnet_wire::message::{Message, Sighting, Sightings};
use prost::Message as _;
use ring::digest::{SHA256, digest};

/// What was found, and what of it is still to be told.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    inventory: Inventory,
    /// By what each was told first: more may become known of it.
    keys: HashMap<HostId, [u8; 16]>,
    untold: VecDeque<Sighting>,
}

impl Hosts {
    /// Takes in what a poll says.
    pub(super) fn learn(&mut self, fact: &Fact) {
        self.inventory.learn(fact);
    }

    /// Takes in what a neighbour says, where a poll has found somebody: a neighbour is managed, and no news by itself.
    pub(super) fn confirm(&mut self, fact: &Fact) {
        if self.inventory.hosts().any(|(_, host)| host.addresses.contains_key(&fact.address)) {
            self.inventory.learn(fact);
        }
    }

    /// Everything is to be told, and what nobody has seen for long is forgotten.
    pub(super) fn tell_all(&mut self) {
        self.inventory.expire(SystemTime::now());
        let hosts: Vec<_> = self.inventory.hosts().collect();
        self.keys.retain(|id, _| hosts.iter().any(|(known, _)| known == id));
        self.untold.clear();
        for (id, host) in hosts {
            let key = *self.keys.entry(id).or_insert_with(|| key(host));
            self.untold.push_back(sighting(key, host));
        }
    }

    /// Addresses where somebody is.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.inventory.hosts().flat_map(|(_, host)| host.addresses.keys().copied()).collect()
    }

    /// Whether there is more to tell.
    pub(super) fn has_news(&self) -> bool {
        !self.untold.is_empty()
    }

    /// The next hosts to tell, as many as a slow network takes at once.
    pub(super) fn next(&mut self) -> Option<Message> {
        let (mut hosts, mut length) = (Vec::new(), 0);
        while let Some(host) = self.untold.front()
            && hosts.len() < HOSTS_LIMIT
            && (hosts.is_empty() || length + host.encoded_len() <= MESSAGE)
        {
            length += host.encoded_len();
            hosts.extend(self.untold.pop_front());
        }
        (!hosts.is_empty()).then_some(Message::Sightings(Sightings { hosts }))
    }
}

/// What a host is most its own by.
fn key(host: &Host) -> [u8; 16] {
    let mac = host.macs.first().map(|mac| [b"mac".as_slice(), &mac.0].concat());
    let machine = host.machines.first().map(|(_, id)| [b"machine".as_slice(), id].concat());
    let address = host.addresses.keys().next().map(|address| format!("address{address}").into_bytes());
    let own = mac.or(machine).or(address).unwrap_or_default();
    *digest(&SHA256, &own).as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

fn sighting(key: [u8; 16], host: &Host) -> Sighting {
    let domain = host.names.keys().find(|(kind, _)| *kind == NameKind::Domain);
    Sighting {
        key: Bytes::copy_from_slice(&key),
        addresses: host.addresses.keys().take(ADDRESSES_LIMIT).map(ToString::to_string).collect(),
        macs: host.macs.iter().take(ADDRESSES_LIMIT).map(|mac| Bytes::copy_from_slice(&mac.0)).collect(),
        name: short(host.name().map_or("", |name| name.as_str())),
        domain: short(domain.map_or("", |(_, name)| name.as_str())),
        system: short(host.system.as_ref().map_or("", |(_, system)| system.as_str())),
        sources: host.sources.iter().map(|source| source.word().to_owned()).take(ADDRESSES_LIMIT).collect(),
        suspicion: host.suspicion.map(|suspicion| suspicion.word().to_owned()).unwrap_or_default(),
        first_seen: unix(host.first_seen),
        last_seen: unix(host.last_seen),
    }
}

/// No longer than a message takes.
fn short(text: &str) -> String {
    let end = (0..=TEXT_LIMIT.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Bytes of hosts in one message, unless one alone is longer: a session holds 48 KiB for a slow network.
const MESSAGE: usize = 2048;

#[cfg(test)]
mod tests {
    use klnet_discovery::fact::{Claim, Source};
    use klnet_discovery::mac::Mac;
    use klnet_discovery::name::Text;

    use super::*;

    #[test]
    fn every_host_is_told_once_in_messages_that_a_slow_network_takes() {
        let mut hosts = Hosts::default();
        for n in 0..1000_u16 {
            hosts.learn(&fact(n, Claim::Name(NameKind::Dns, Text::host(&"x".repeat(60)).unwrap())));
        }
        hosts.tell_all();
        let mut told = 0;
        while let Some(Message::Sightings(sightings)) = hosts.next() {
            assert!(sightings.encoded_len() < MESSAGE + 300 && sightings.hosts.len() <= HOSTS_LIMIT);
            told += sightings.hosts.len();
        }
        assert_eq!((told, hosts.has_news()), (1000, false));
    }

    #[test]
    fn a_host_keeps_its_key_when_more_is_known_of_it() {
        let mut hosts = Hosts::default();
        hosts.learn(&fact(1, Claim::Alive { rtt: None, hops: None }));
        let first = only(&mut hosts);
        hosts.learn(&fact(1, Claim::Mac(Mac([2, 0, 0, 0, 0, 1]))));
        let second = only(&mut hosts);
        assert_eq!(first.key, second.key);
        assert_eq!((first.macs.len(), second.macs.len()), (0, 1));
    }

    #[test]
    fn a_neighbour_is_no_host_of_its_own_and_confirms_one() {
        let mut hosts = Hosts::default();
        let agent = |n| Fact { source: Source::Agent, ..fact(n, Claim::Alive { rtt: None, hops: None }) };
        hosts.learn(&fact(1, Claim::Mac(Mac([2, 0, 0, 0, 0, 1]))));
        hosts.confirm(&agent(1));
        hosts.confirm(&agent(2));
        assert_eq!(only(&mut hosts).sources, ["icmp", "agent"]);
    }

    fn only(hosts: &mut Hosts) -> Sighting {
        hosts.tell_all();
        let Some(Message::Sightings(mut sightings)) = hosts.next() else { panic!("nothing to tell") };
        assert_eq!(sightings.hosts.len(), 1);
        sightings.hosts.remove(0)
    }

    fn fact(n: u16, claim: Claim) -> Fact {
        let [high, low] = n.to_be_bytes();
        Fact { address: [10, 0, high, low].into(), claim, source: Source::Echo, seen: SystemTime::now() }
    }
}
