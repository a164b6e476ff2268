//! The state machines of `klnet-discovery`: a sweep, a resolver and the books of an inventory.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use klnet_discovery::dns::resolver::{self, Resolver};
use klnet_discovery::fact::{Claim, Fact, NameKind, Source};
use klnet_discovery::inventory::Inventory;
use klnet_discovery::mac::Mac;
use klnet_discovery::name::Text;
use klnet_discovery::pacer::Pacer;
use klnet_discovery::plan::Plan;
use klnet_discovery::probe::{Answer, Kind};
use klnet_discovery::profile::Profile;
use klnet_discovery::sweep::{Config, Input, Output, Sweep};

use super::COOKIES;
use crate::script::Script;

/// Whatever is answered and refused, nobody outside the plan is asked, nobody found twice, and the pace is kept.
pub fn sweep(data: &[u8]) {
    let (start, mut script) = (Instant::now(), Script::new(data));
    let plan = Arc::new(Plan::new(&["10.1.0.0/27".parse().expect("a range")], &[]).expect("a plan"));
    let (key, methods) = (u64::from(script.byte()), u16::from(script.byte() % 4));
    let config = Config { recall: 0.99, patience: Duration::from_millis(50), key, methods };
    let pace = Profile::Polite.pace();
    let mut core = Sweep::new(start, Arc::clone(&plan), config, Pacer::new(start, pace));
    let (mut now, mut sent, mut found) = (start, Vec::new(), HashSet::new());
    while let Some(decision) = script.decision() {
        match decision % 6 {
            0 => now += script.duration(),
            1 => core.handle_input(now, Input::Congested),
            2 => core.handle_input(now, Input::Refused(address(script.byte()))),
            3 => core.handle_input(now, Input::Sent),
            _ => {
                let (from, attempt) = (address(script.byte()), script.coin().then(|| script.short()));
                let answer = Answer { from, attempt, kind: Kind::Echo, mac: None, hops: None };
                core.handle_input(now, Input::Answered(u16::from(script.byte() % 5), answer));
            }
        }
        core.handle_timeout(now);
        while let Some(output) = core.poll_output() {
            match output {
                Output::Probe { method, target, attempt } => {
                    assert!(method < methods.max(1));
                    assert!(plan.index(target).is_some());
                    assert_eq!(found.contains(&target), attempt >= 0x8000, "only a sample is asked again");
                    sent.push(now);
                }
                Output::Found { answer, .. } => assert!(found.insert(answer.from)),
                Output::Over => assert_eq!(core.poll_timeout(), None),
            }
        }
    }
    for (at, first) in sent.iter().enumerate() {
        let crowd = sent.iter().skip(at).take_while(|sent| **sent < *first + pace.per);
        assert!(crowd.count() <= pace.burst as usize);
    }
}

/// Every address that is asked about ends once, whatever comes in.
pub fn resolver(data: &[u8]) {
    let (mut now, mut script) = (Instant::now(), Script::new(data));
    let mut core = Resolver::new(resolver::Config { ports: 2, window: 4, key: COOKIES });
    let (mut asked, mut ended, mut last) = (0_usize, 0_usize, (0, Vec::new()));
    while let Some(decision) = script.decision() {
        match decision % 4 {
            0 => {
                core.handle_input(now, resolver::Input::Address(address(script.byte())));
                asked += 1;
            }
            1 => {
                now += script.duration();
                core.handle_timeout(now);
            }
            2 => {
                let (port, bytes) = (script.byte() % 2, script.bytes(512));
                core.handle_input(now, resolver::Input::Datagram { port, bytes });
            }
            // The last question, turned into an answer by what the input says.
            _ => {
                let (port, mut bytes) = last.clone();
                if let Some(flags) = bytes.get_mut(2..4) {
                    flags.copy_from_slice(&[0x80 | script.byte(), script.byte()]);
                }
                core.handle_input(now, resolver::Input::Datagram { port, bytes: &bytes });
            }
        }
        while let Some(output) = core.poll_output() {
            match output {
                resolver::Output::Send { port, bytes } => last = (port, bytes),
                _ => ended += 1,
            }
        }
        assert_eq!(asked, ended + core.pending());
    }
}

/// Whatever is said in any order, an address has one host, and is in its list.
pub fn inventory(data: &[u8]) {
    let (mut now, mut script) = (SystemTime::UNIX_EPOCH, Script::new(data));
    let mut inventory = Inventory::default();
    while let Some(decision) = script.decision() {
        let number = script.byte() % 8;
        let claim = match decision % 6 {
            0 => Claim::Alive { rtt: None, hops: None },
            1 => Claim::Mac(Mac([2, 0, 0, 0, 0, number])),
            2 => Claim::Machine([number; 16]),
            3 => Claim::Directory([number; 16]),
            4 => match Text::host(&script.text()) {
                Some(name) => Claim::Name(NameKind::Dns, name),
                None => continue,
            },
            _ => {
                now += script.duration() * 100;
                inventory.expire(now);
                continue;
            }
        };
        let fact = Fact { address: address(script.byte()), claim, source: Source::Arp, seen: now };
        let id = inventory.learn(&fact).expect("there is room");
        let holders = inventory.all().filter(|(_, host)| host.addresses.contains_key(&fact.address));
        assert_eq!(holders.map(|(id, _)| id).collect::<Vec<_>>(), [id]);
    }
}

/// One of 64; the plan of a sweep has the first half.
fn address(number: u8) -> IpAddr {
    [10, 1, 0, number % 64].into()
}
