//! What is written is found again, what is damaged is refused, and what breaks off leaves the last good one.

use std::fs;
use std::io::Cursor;
use std::net::IpAddr;
use std::sync::LazyLock;

use klnet_wire::signing::SigningKey;
use proptest::prelude::*;

use super::*;
use crate::subject::{Digest, Key, Kind, Network, Subject};
use crate::verdict::{Category, Reputation, Verdict};

mod faults;
mod merging;
mod parts;
#[cfg(feature = "net")]
mod replicas;

static KEY: LazyLock<SigningKey> = LazyLock::new(SigningKey::generate_ed25519);

#[test]
fn every_record_is_found_and_no_other() {
    let keys: Vec<_> = (0..100_000_u32).map(md5).collect();
    let snapshot = snapshot(keys.iter().map(|subject| (*subject, malicious(90))));
    assert!(snapshot.manifest().segments().count() > 2, "it has several segments");
    for subject in &keys {
        assert_eq!(snapshot.lookup(subject, NOW).reputation, Reputation::Malicious);
    }
    for absent in (100_000..110_000).map(md5) {
        assert_eq!(snapshot.lookup(&absent, NOW).reputation, Reputation::Unknown);
    }
}

#[test]
fn keys_that_are_not_spread_evenly_are_found_as_well() {
    let key = |n: u32| Subject::File(Digest::Md5((u128::from(n) * u128::from(n)).to_be_bytes()), None);
    let snapshot = snapshot((0..5_000).map(|n| (key(n), malicious(90))));
    for n in 0..5_000 {
        assert_eq!(snapshot.lookup(&key(n), NOW).reputation, Reputation::Malicious, "{n}");
    }
    assert_eq!(
        snapshot.lookup(&Subject::File(Digest::Md5([0xff; 16]), None), NOW).reputation,
        Reputation::Unknown
    );
}

#[test]
fn answer_says_who_said_it_and_how_long_ago() {
    let claim = Claim { time: 1_000, category: Category::Phishing, ..malicious(70) };
    let verdict = snapshot([(md5(1), claim)]).lookup(&md5(1), 1_060);
    assert_eq!(verdict.age.as_secs(), 60);
    assert_eq!((verdict.category, verdict.confidence, verdict.partial), (Category::Phishing, 70, false));
    assert_eq!(verdict.ttl, ttl_of(Reputation::Malicious));
}

#[test]
fn size_tells_files_with_one_hash_apart() {
    let file = |size| Subject::File(Digest::Md5([7; 16]), size);
    let snapshot = snapshot([(file(Some(10)), malicious(90)), (file(Some(30)), clean(90))]);
    let reputation = |size| snapshot.lookup(&file(size), NOW).reputation;
    assert_eq!(reputation(Some(10)), Reputation::Malicious);
    assert_eq!(reputation(Some(30)), Reputation::Clean);
    assert_eq!(reputation(Some(20)), Reputation::Unknown);
    assert_eq!(reputation(None), Reputation::Malicious);
}

#[test]
fn record_without_a_size_fits_every_size() {
    let file = |size| Subject::File(Digest::Md5([7; 16]), size);
    let snapshot = snapshot([(file(None), clean(100)), (file(Some(10)), malicious(90))]);
    for size in [None, Some(10), Some(11)] {
        assert_eq!(snapshot.lookup(&file(size), NOW).reputation, Reputation::Clean, "{size:?}");
    }
}

#[test]
fn smallest_network_around_an_address_answers() {
    let snapshot = snapshot([
        (network("10.0.0.0", 8), clean(80)),
        (network("10.1.0.0", 16), malicious(50)),
        (network("10.1.2.3", 32), clean(10)),
        (network("2001:db8::", 32), malicious(90)),
        (network("255.255.255.255", 32), malicious(90)),
    ]);
    let reputation = |address: &str, prefix| snapshot.lookup(&network(address, prefix), NOW).reputation;
    assert_eq!(reputation("10.1.2.3", 32), Reputation::Clean);
    assert_eq!(snapshot.lookup(&network("10.1.2.3", 32), NOW).confidence, 10);
    assert_eq!(reputation("10.1.2.4", 32), Reputation::Malicious);
    assert_eq!(reputation("10.2.0.0", 32), Reputation::Clean);
    assert_eq!(reputation("10.1.0.0", 12), Reputation::Clean, "a network is in what contains all of it");
    assert_eq!(reputation("11.0.0.0", 32), Reputation::Unknown);
    assert_eq!(reputation("9.255.255.255", 32), Reputation::Unknown);
    assert_eq!(reputation("2001:db8:ffff::1", 128), Reputation::Malicious);
    assert_eq!(reputation("255.255.255.255", 32), Reputation::Malicious);
}

#[test]
fn prefix_of_a_hash_answers_in_part() {
    let hash = [0xab; 32];
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&hash[..4]);
    let mut sorter = sorter();
    sorter.push(Key { kind: Kind::Url, bytes, extent: 4 }, malicious(60)).expect("memory");
    let snapshot = loaded(&written(sorter));
    let verdict = snapshot.lookup(&Subject::Url(hash), NOW);
    assert_eq!((verdict.reputation, verdict.partial), (Reputation::Malicious, true));
    let other = snapshot.lookup(&Subject::Url([0xac; 32]), NOW);
    assert_eq!((other.reputation, other.partial), (Reputation::Unknown, false));
}

#[test]
fn keys_with_a_prefix_are_all_given_or_none() {
    let snapshot = snapshot((0..70_000).map(|n| (md5(n), malicious(90))));
    let (kind, prefix) = (Kind::FileMd5, 0xabcd << 48);
    let matches = snapshot.matches(kind, prefix, 10, 1024, NOW).expect("there are about 68");
    let wanted = (0..70_000)
        .map(|n| md5(n).key())
        .filter(|key| key.bytes[0] == 0xab && key.bytes[1] >> 6 == 0xcd >> 6);
    assert_eq!(matches.len(), wanted.count());
    assert!(snapshot.matches(kind, prefix, 10, matches.len() - 1, NOW).is_none());
    assert_eq!(snapshot.matches(kind, 0, 0, 70_000, NOW).map(|all| all.len()), Some(70_000));
    assert_eq!(snapshot.matches(Kind::Url, 0, 0, 1, NOW), Some(Vec::new()));
}

#[test]
fn no_flipped_bit_passes() {
    let file = written(sorted((0..50).map(|n| (md5(n), malicious(90)))));
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 0x10;
        let loaded = Snapshot::load(Cursor::new(damaged), &[KEY.public().clone()]);
        assert!(loaded.is_err() || at < 8, "byte {at}"); // the first magic tells people, and nothing depends on it
    }
}

#[test]
fn what_was_cut_off_or_signed_by_another_is_refused() {
    let file = written(sorted((0..50).map(|n| (md5(n), malicious(90)))));
    for length in 0..file.len() {
        assert!(
            Snapshot::load(Cursor::new(&file[..length]), &[KEY.public().clone()]).is_err(),
            "{length} bytes"
        );
    }
    let stranger = SigningKey::generate_ed25519();
    let refused = Snapshot::load(Cursor::new(&file), &[stranger.public().clone()]);
    assert!(matches!(refused, Err(SnapshotError::Signature)));
}

proptest! {
    #[test]
    fn networks_answer_as_a_walk_over_all_of_them(
        networks in proptest::collection::vec((0_u32..1 << 12, 20_u8..=32), 1..40),
        asked in proptest::collection::vec((0_u32..1 << 12, 20_u8..=32), 1..40),
    ) {
        let at = |(bits, prefix): (u32, u8)| Subject::Network(Network::new(IpAddr::V4(bits.into()), prefix).expect("it is no more than 32"));
        let confidence = |prefix: u8| malicious(prefix);
        let snapshot = snapshot(networks.iter().map(|network| (at(*network), confidence(network.1))));
        for query in asked {
            let covers = |network: &&(u32, u8)| network.1 <= query.1 && (network.0 ^ query.0) >> (32 - u32::from(network.1)) == 0;
            let best = networks.iter().filter(covers).map(|network| network.1).max();
            prop_assert_eq!(snapshot.lookup(&at(query), NOW).confidence, best.unwrap_or(0));
        }
    }
}

fn snapshot(claims: impl IntoIterator<Item = (Subject, Claim)>) -> Snapshot {
    loaded(&written(sorted(claims)))
}

fn sorted(claims: impl IntoIterator<Item = (Subject, Claim)>) -> Sorter {
    let mut sorter = sorter();
    for (subject, claim) in claims {
        sorter.push(subject.key(), claim).expect("they fit into memory");
    }
    sorter
}

fn sorter() -> Sorter {
    Sorter::new(std::env::temp_dir())
}

fn written(sorter: Sorter) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), sorter.records()).expect("memory");
    for record in sorter.finish().expect("memory") {
        let (kind, record) = record.expect("memory");
        writer.push(kind, &record).expect("memory");
    }
    writer.finish(Manifest::about(1, NOW, vec![source("test")]), &KEY).expect("memory").0
}

fn loaded(file: &[u8]) -> Snapshot {
    Snapshot::load(Cursor::new(file), &[KEY.public().clone()]).expect("it was written so")
}

fn source(name: &str) -> Source {
    Source { name: name.to_owned(), format: "plain".to_owned(), imported: NOW, records: 0 }
}

/// Hashes spread evenly, the same in each run.
fn md5(n: u32) -> Subject {
    let hash = ring::digest::digest(&ring::digest::SHA256, &n.to_be_bytes());
    Subject::File(Digest::Md5(*hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes")), None)
}

fn network(address: &str, prefix: u8) -> Subject {
    Subject::Network(Network::new(address.parse().expect("an address"), prefix).expect("a prefix"))
}

fn malicious(confidence: u8) -> Claim {
    Claim { reputation: Reputation::Malicious, category: Category::Malware, confidence, source: 0, time: 0 }
}

fn clean(confidence: u8) -> Claim {
    Claim { reputation: Reputation::Clean, category: Category::None, ..malicious(confidence) }
}

const NOW: u64 = 1_700_000_000;
