//! Networks that answer for everybody: routers that proxy ARP, firewalls that accept every SYN.
//!
//! Behind those an answer says nothing about a host. They give themselves away by completeness: no real subnet of many
//! addresses has one card on nearly all of them, or an open port on nearly all of them. Where too few addresses are asked
//! for that, a canary tells: a port where nobody listens, which no host accepts at. (An address that nobody has would tell
//! of a proxy for ARP, but a poll does not leave the ranges it was given.)

use std::collections::HashMap;
use std::net::IpAddr;

use crate::fact::Suspicion;
use crate::mac::Mac;
use crate::plan::Plan;
use crate::probe::{Answer, Kind};
use crate::range::{Range, number};

/// The answers of one sweep, by subnet and by what answered.
#[derive(Debug, Default)]
pub struct Guard {
    blocks: HashMap<(IpAddr, Who), Members>,
}

/// Who answers for an address: one card, or one port that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    Card(Mac),
    Port(u16),
}

/// Which of the 256 addresses of a block.
#[derive(Debug, Clone, Copy, Default)]
struct Members([u128; 2]);

impl Guard {
    /// Notes an answer.
    pub fn answered(&mut self, answer: &Answer) {
        let who = match (answer.kind, answer.mac) {
            (Kind::Open(port), _) => Who::Port(port),
            (_, Some(mac)) => Who::Card(mac),
            _ => return,
        };
        let block = block(answer.from);
        if self.blocks.len() < LIMIT || self.blocks.contains_key(&(block.first(), who)) {
            self.blocks.entry((block.first(), who)).or_default().add(answer.from);
        }
    }

    /// Every address whose answer does not count.
    pub fn suspects(&self, plan: &Plan) -> Vec<(IpAddr, Suspicion)> {
        let complete = self.blocks.iter().filter_map(|((first, who), members)| {
            let asked = plan.inside(&block(*first))?;
            let suspicion = match who {
                Who::Card(_) => Suspicion::ProxyArp,
                Who::Port(_) => Suspicion::SynProxy,
            };
            (asked.len() >= TELLING && members.count() * 10 >= asked.len() * 9).then(|| {
                let addresses = (0..asked.len()).map(|index| asked.address(index));
                let answered = addresses.filter(|address| members.has(*address));
                answered.map(|address| (address, suspicion)).collect::<Vec<_>>()
            })
        });
        let mut all: Vec<_> = complete.flatten().collect();
        all.sort();
        all
    }
}

/// A port that nobody listens at and that is none of those that are asked, drawn by a number.
pub fn canary(number: u64, asked: &[u16]) -> u16 {
    let nth = |step: u64| {
        DYNAMIC + u16::try_from(number.wrapping_add(step) % u64::from(u16::MAX - DYNAMIC)).unwrap_or(0)
    };
    (0..u64::from(u16::MAX)).map(nth).find(|port| !asked.contains(port)).unwrap_or(u16::MAX)
}

impl Members {
    fn add(&mut self, address: IpAddr) {
        let (half, bit) = place(address);
        self.0[half] |= bit;
    }

    fn has(&self, address: IpAddr) -> bool {
        let (half, bit) = place(address);
        self.0[half] & bit != 0
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|half| half.count_ones()).sum()
    }
}

/// The 256 addresses around one.
fn block(address: IpAddr) -> Range {
    Range::subnet(address, if address.is_ipv4() { 24 } else { 120 })
}

fn place(address: IpAddr) -> (usize, u128) {
    let last = number(address) & 0xff;
    (usize::from(last >= 128), 1 << (last % 128))
}

/// Ports from here on are for those who connect, not for those who listen (RFC 6335, 6).
const DYNAMIC: u16 = 49_152;
/// Fewer addresses than this may all be of one host.
const TELLING: u32 = 16;
/// A block and a card each: as many as a /8 has blocks, twice.
const LIMIT: usize = 1 << 17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_on_every_address_is_a_proxy() {
        let plan = plan("10.1.0.0/24");
        let suspects = guard((0..=255).map(arp)).suspects(&plan);
        assert_eq!(suspects.len(), 256);
        assert_eq!(suspects[0], ([10, 1, 0, 0].into(), Suspicion::ProxyArp));
    }

    #[test]
    fn a_real_host_behind_a_proxy_is_not_accused_with_it() {
        let proxied = (0..=255).filter(|last| *last != 7).map(arp);
        let host = Answer { mac: Some(Mac([2, 0, 0, 0, 0, 7])), ..arp(7) };
        let suspects = guard(proxied.chain([host])).suspects(&plan("10.1.0.0/24"));
        assert_eq!(suspects.len(), 255);
        assert!(!suspects.iter().any(|(address, _)| *address == host.from));
    }

    #[test]
    fn a_port_open_everywhere_is_a_proxy_and_one_closed_everywhere_is_not() {
        let tcp = |kind| move |last| Answer { kind, mac: None, ..arp(last) };
        let plan = plan("10.1.0.0/24");
        assert_eq!(guard((0..=255).map(tcp(Kind::Open(443)))).suspects(&plan).len(), 256);
        assert_eq!(guard((0..=255).map(tcp(Kind::Closed(443)))).suspects(&plan).len(), 0);
    }

    #[test]
    fn a_canary_is_at_a_port_that_is_not_asked() {
        for number in [0, 7, u64::MAX] {
            let first = canary(number, &[443]);
            assert!(first >= DYNAMIC);
            assert!(![443, first].contains(&canary(number, &[443, first])));
        }
    }

    #[test]
    fn a_host_with_many_addresses_is_a_host() {
        assert_eq!(guard((0..200).map(arp)).suspects(&plan("10.1.0.0/24")).len(), 0);
        assert_eq!(guard((0..8).map(arp)).suspects(&plan("10.1.0.0/29")).len(), 0);
    }

    fn guard(answers: impl Iterator<Item = Answer>) -> Guard {
        let mut guard = Guard::default();
        answers.for_each(|answer| guard.answered(&answer));
        guard
    }

    fn arp(last: u8) -> Answer {
        let mac = Some(Mac([2, 0, 0, 0, 0, 1]));
        Answer { from: [10, 1, 0, last].into(), attempt: None, kind: Kind::Arp, mac, hops: None }
    }

    fn plan(range: &str) -> Plan {
        Plan::new(&[range.parse().unwrap()], &[]).unwrap()
    }
}
