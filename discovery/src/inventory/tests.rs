//! Who is who, over days.

use std::net::IpAddr;
use std::time::SystemTime;

use super::*;
use crate::directory::Member;
use crate::fact::{Claim, NameKind, Source, Suspicion};
use crate::mac::Mac;
use crate::name::Text;

#[test]
fn what_is_said_about_one_address_is_about_one_host() {
    let mut world = World::default();
    world.say(0, 1, alive());
    world.say(1, 1, mac(1));
    world.say(2, 1, name("web-7.example.org"));
    assert_eq!(world.hosts(), ["1 m1 web-7.example.org"]);
}

#[test]
fn a_device_that_changed_its_address_stays_itself() {
    for key in [mac(1), machine(1), directory(1)] {
        let mut world = World::default();
        world.say(0, 1, key.clone());
        world.say(HOUR, 2, key);
        assert_eq!(world.inventory.hosts().count(), 1);
    }
}

#[test]
fn an_address_that_passed_to_another_device_takes_nothing_with_it() {
    let mut world = World::default();
    world.say(0, 1, mac(1));
    world.say(0, 2, mac(2));
    world.say(HOUR, 1, mac(2));
    assert_eq!(world.hosts(), [" m1", "1 2 m2"], "m1 is known and nowhere");
    world.say(2 * HOUR, 3, mac(1));
    assert_eq!(world.hosts(), ["3 m1", "1 2 m2"]);
}

#[test]
fn two_devices_with_one_stale_name_stay_two() {
    let mut world = World::default();
    world.say(0, 1, name("laptop.example.org"));
    world.say(1, 2, name("laptop.example.org"));
    assert_eq!(world.inventory.hosts().count(), 2);
}

#[test]
fn a_name_that_moved_while_nobody_looked_is_the_same_device() {
    let mut world = World::default();
    world.say(0, 1, name("laptop.example.org"));
    world.say(HOUR, 2, name("laptop.example.org"));
    assert_eq!(world.inventory.hosts().count(), 1);
}

#[test]
fn a_name_does_not_outweigh_cards() {
    let mut world = World::default();
    world.say(0, 1, mac(1));
    world.say(0, 1, name("a.example.org"));
    world.say(HOUR, 2, mac(2));
    world.say(HOUR, 2, name("a.example.org"));
    assert_eq!(world.inventory.hosts().count(), 2);
}

#[test]
fn two_cards_of_one_machine_are_one_host() {
    let mut world = World::default();
    world.say(0, 1, mac(1));
    world.say(0, 1, machine(7));
    world.say(1, 2, mac(2));
    world.say(1, 2, machine(7));
    assert_eq!(world.hosts(), ["1 2 m1 m2"]);
}

#[test]
fn identifiers_of_two_protocols_do_not_contradict_each_other() {
    let mut world = World::default();
    for (source, number) in [(Source::Smb, 7), (Source::Wsd, 8)] {
        let fact = Fact { address: address(1), claim: machine(number), source, seen: at(0) };
        world.inventory.learn(&fact).unwrap();
    }
    assert_eq!(world.inventory.hosts().count(), 1);
}

#[test]
fn a_name_of_the_link_joins_what_is_claimed_at_one_time_and_no_other() {
    let local = || Claim::Name(NameKind::Local, Text::host("printer-7.local").unwrap());
    let mut world = World::default();
    world.say(0, 1, local());
    world.say(1, 2, local());
    assert_eq!(world.inventory.hosts().count(), 1);
    world.say(HOUR, 3, local());
    world.say(HOUR, 4, local());
    assert_eq!(world.inventory.hosts().count(), 2, "another link may have a printer of that name");
}

/// What a name of the link is claimed for may be out of reach: a card known on the link is in the address.
#[test]
fn a_device_known_by_its_card_here_and_by_its_name_elsewhere_is_one_in_any_order() {
    let facts = [(LINK, made_card(1)), ("10.9.0.5", local("web-7")), (ELSEWHERE, local("web-7"))];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut world = World::default();
        for (address, claim) in order.map(|nth| facts[nth].clone()) {
            world.say_at(address, claim);
        }
        let [(_, host)] = &world.inventory.hosts().collect::<Vec<_>>()[..] else {
            panic!("{order:?}: {:?}", world.hosts());
        };
        assert_eq!((host.addresses.len(), host.macs.len(), host.names.len()), (3, 1, 1), "{order:?}");
    }
}

#[test]
fn who_shows_no_card_or_another_one_is_another_device() {
    let mut world = World::default();
    world.say_at(LINK, made_card(1));
    world.say_at("fd09::7", local("web-7"));
    assert_eq!(world.inventory.hosts().count(), 2, "nothing says that they are one");
    world.say_at("fe80::21b:21ff:fe00:2", made_card(2));
    world.say_at("fe80::21b:21ff:fe00:2", local("web-8"));
    world.say_at(ELSEWHERE, local("web-8"));
    assert_eq!(world.inventory.hosts().count(), 3, "a name does not outweigh the card in an address");
    world.say_at("fd09::21b:21ff:fe00:1", made_card(3));
    assert_eq!(world.inventory.hosts().count(), 4, "nor does that outweigh the card that answers");
}

#[test]
fn one_docking_station_under_two_laptops_makes_no_chimera() {
    let mut world = World::default();
    world.say(0, 1, mac(1));
    world.say(0, 1, machine(7));
    world.say(DAY, 1, mac(1));
    world.say(DAY, 1, machine(8));
    world.say(DAY + 1, 1, mac(1));
    assert_eq!(world.inventory.hosts().count(), 2);
    let (_, second) = world.inventory.hosts().nth(1).unwrap();
    assert_eq!((second.machines.len(), second.macs.len(), second.addresses.len()), (1, 1, 1));
}

#[test]
fn an_account_joins_what_was_found_by_its_name_or_card_in_any_order() {
    let mut world = World::default();
    world.say(0, 1, name("web-7.example.org"));
    world.say(0, 2, mac(2));
    world.account(1, 7, Some("web-7.example.org"), &[]);
    world.account(1, 8, None, &[2]);
    world.account(1, 9, Some("web-9.example.org"), &[]);
    world.say(2, 3, name("web-9.example.org"));
    let directories = world.inventory.hosts().map(|(_, host)| host.directories.iter().next().map(|id| id[0]));
    assert_eq!(directories.collect::<Vec<_>>(), [Some(7), Some(8), Some(9)]);
    assert_eq!(world.hosts(), ["1 web-7.example.org", "2 m2", "3 web-9.example.org"]);
}

#[test]
fn an_account_joins_nobody_who_has_another_account_or_another_card() {
    let mut world = World::default();
    world.say(0, 1, mac(1));
    world.say(0, 1, name("web-7.example.org"));
    world.account(1, 7, Some("web-7.example.org"), &[2]);
    assert_eq!(world.inventory.hosts().count(), 2, "the name moved to another machine");
    world.account(1, 8, Some("web-7.example.org"), &[1]);
    world.account(1, 9, Some("web-7.example.org"), &[1]);
    assert_eq!(world.inventory.hosts().count(), 3);
}

#[test]
fn an_account_that_was_renamed_is_itself_and_one_that_is_gone_leaves_what_is_on_the_network() {
    let mut world = World::default();
    world.say(0, 1, name("web-7.example.org"));
    world.account(0, 7, Some("web-7.example.org"), &[]);
    world.account(1, 8, Some("web-8.example.org"), &[]);
    world.account(2, 8, Some("web-9.example.org"), &[]);
    assert_eq!(world.inventory.hosts().count(), 2);
    world.inventory.keep_members(&[[8; 16]].into());
    assert_eq!(world.inventory.hosts().count(), 2);
    world.inventory.keep_members(&[].into());
    assert_eq!(world.hosts(), ["1 web-7.example.org"]);
    assert!(world.inventory.owners.iter().all(|(key, id)| key.is_of(&world.inventory.hosts[id])));
}

#[test]
fn an_address_lives_24_hours_and_a_device_seven_days() {
    let mut world = World::default();
    world.say(0, 1, mac(1));
    world.inventory.expire(at(DAY - 1));
    assert_eq!(world.hosts(), ["1 m1"]);
    world.inventory.expire(at(DAY));
    assert_eq!(world.hosts(), [" m1"]);
    world.inventory.expire(at(7 * DAY));
    assert_eq!(world.hosts(), [] as [&str; 0]);
    assert_eq!((world.inventory.owners.len(), world.inventory.holders.len()), (0, 0));
}

#[test]
fn an_old_address_is_nobodys() {
    let mut world = World::default();
    world.say(0, 1, alive());
    world.say(2 * DAY, 1, alive());
    assert_eq!(world.hosts(), ["1"], "whoever it was then had nothing else to be known by");
}

#[test]
fn a_clock_that_jumps_back_makes_nothing_old() {
    let mut world = World::default();
    world.say(7 * DAY, 1, mac(1));
    world.say(0, 1, alive());
    world.inventory.expire(at(0));
    assert_eq!(world.hosts(), ["1 m1"]);
}

#[test]
fn who_is_suspect_does_not_count() {
    let mut world = World::default();
    world.say(0, 1, alive());
    world.say(0, 1, Claim::Suspect(Suspicion::SynProxy));
    assert_eq!((world.inventory.hosts().count(), world.inventory.all().count()), (0, 1));
}

#[test]
fn a_better_source_names_the_host() {
    let mut world = World::default();
    let said = |source, name: &str| Fact {
        address: address(1),
        claim: Claim::Name(NameKind::Dns, Text::host(name).unwrap()),
        source,
        seen: at(0),
    };
    world.inventory.learn(&said(Source::Mdns, "rogue.local"));
    world.inventory.learn(&said(Source::ReverseDns, "web-7.example.org"));
    world.inventory.learn(&said(Source::Llmnr, "another"));
    let (_, host) = world.inventory.hosts().next().unwrap();
    assert_eq!(host.name().unwrap().as_str(), "web-7.example.org");
}

/// Any order and any lies: every address and key has one host, which exists.
#[test]
fn no_row_of_facts_breaks_the_books() {
    let mut state = 7_u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut world = World::default();
    for step in 0..20_000 {
        let number = u8::try_from(draw(6)).unwrap();
        let claim = match draw(5) {
            0 => alive(),
            1 => mac(number),
            2 => machine(number),
            3 => directory(number),
            _ => name(&format!("h{number}.example.org")),
        };
        world.say(step * 60, u8::try_from(draw(8)).unwrap(), claim);
        if draw(50) == 0 {
            world.inventory.expire(at(step * 60));
        }
    }
    let Inventory { hosts, holders, owners, .. } = &world.inventory;
    assert!(holders.iter().all(|(address, id)| hosts[id].addresses.contains_key(address)));
    assert!(owners.iter().all(|(key, id)| key.is_of(&hosts[id])));
    let addresses: usize = hosts.values().map(|host| host.addresses.len()).sum();
    assert_eq!(addresses, holders.len(), "an address has one holder");
    assert!(hosts.values().all(|host| host.directories.len() <= 1));
}

#[derive(Default)]
struct World {
    inventory: Inventory,
}

impl World {
    fn say(&mut self, second: u64, last: u8, claim: Claim) {
        let fact = Fact { address: address(last), claim, source: Source::Arp, seen: at(second) };
        self.inventory.learn(&fact).unwrap();
    }

    fn say_at(&mut self, address: &str, claim: Claim) {
        let fact = Fact { address: address.parse().unwrap(), claim, source: Source::Mdns, seen: at(0) };
        self.inventory.learn(&fact).unwrap();
    }

    fn account(&mut self, second: u64, number: u8, dns: Option<&str>, macs: &[u8]) {
        let member = Member {
            id: [number; 16],
            dns: dns.and_then(Text::host),
            short: None,
            domain: None,
            unit: None,
            system: None,
            macs: macs.iter().map(|last| Mac([2, 0, 0, 0, 0, *last])).collect(),
        };
        self.inventory.learn_member(&member, at(second)).unwrap();
    }

    /// Last bytes of addresses, cards and DNS names of each host.
    fn hosts(&self) -> Vec<String> {
        let line = |host: &Host| {
            let addresses: Vec<_> =
                host.addresses.keys().map(|a| a.to_string().rsplit('.').next().unwrap().to_owned()).collect();
            let macs = host.macs.iter().map(|mac| format!(" m{}", mac.0[5]));
            let names = host.names.keys().map(|(_, name)| format!(" {name}"));
            addresses.join(" ") + &macs.chain(names).collect::<String>()
        };
        self.inventory.hosts().map(|(_, host)| line(host)).collect()
    }
}

fn alive() -> Claim {
    Claim::Alive { rtt: None, hops: None }
}

fn mac(last: u8) -> Claim {
    Claim::Mac(Mac([2, 0, 0, 0, 0, last]))
}

/// One that a maker has numbered.
fn made_card(last: u8) -> Claim {
    Claim::Mac(Mac([0, 0x1b, 0x21, 0, 0, last]))
}

fn local(name: &str) -> Claim {
    Claim::Name(NameKind::Local, Text::host(&format!("{name}.local")).unwrap())
}

fn machine(number: u8) -> Claim {
    Claim::Machine([number; 16])
}

fn directory(number: u8) -> Claim {
    Claim::Directory([number; 16])
}

fn name(text: &str) -> Claim {
    Claim::Name(NameKind::Dns, Text::host(text).unwrap())
}

fn address(last: u8) -> IpAddr {
    [10, 1, 0, last].into()
}

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + second)
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// Two addresses of one card.
const LINK: &str = "fe80::21b:21ff:fe00:1";
const ELSEWHERE: &str = "fd09::21b:21ff:fe00:1";
