//! Frames, a ticket, and scripts for the answering side and the core.

use std::time::Duration;

use klnet_ksnproxy::frame::{Header, Op, Prefix, encode_issued, encode_matches, encode_prefix, encode_query};
use klnet_ksnproxy::piece::{Fetch, Item, Piece};
use klnet_ksnproxy::subject::{Digest, Key, Subject};
use klnet_ksnproxy::ticket::Ticket;
use klnet_ksnproxy::verdict::Verdict;

use super::Seed;

pub(crate) fn seeds() -> Vec<Seed> {
    let mut seeds = frames();
    seeds.push(("reputation_ticket", "ticket", ticket().encode().to_vec()));
    seeds.push(("responder", "plain", script(0b1100, &query(&[key(1), key(2)]))));
    seeds.push(("responder", "challenged", script(0b1000, &query(&[key(1)]))));
    seeds.push(("responder", "stream", script(0, &query(&[key(1); 8]))));
    seeds.push(("reputation_proxy", "asked", vec![0, 1, 0, 1, 0, 2, 2, 2, 4, 1, 2, 4]));
    seeds.push(("reputation_proxy", "failed", vec![0, 1, 3, 2, 3, 3, 0, 2, 4, 255, 4, 255]));
    seeds
}

fn frames() -> Vec<Seed> {
    let header = Header { op: Op::Query, sealed: false, count: 1, length: 24, token: 0, serial: 9 };
    let (mut prefix, mut matches, mut issued) = (Vec::new(), Vec::new(), Vec::new());
    encode_prefix(5, Prefix::of(&key(1), 24), &mut prefix);
    encode_matches(header, &[(key(1), Verdict::unknown(Duration::from_secs(60)))], &mut matches);
    encode_issued(header, &ticket(), &mut issued);
    let (mut fetch, mut piece) = (Vec::new(), Vec::new());
    Fetch { sequence: 3, item: Item::Segment(1), number: 0 }.encode(4, &mut fetch);
    Piece::cut(3, b"a segment", 0).unwrap().encode(header, &mut piece);
    vec![
        ("reputation_frame", "fetch", fetch),
        ("reputation_frame", "piece", piece),
        ("reputation_frame", "query", query(&[key(1), key(2)])),
        ("reputation_frame", "prefix", prefix),
        ("reputation_frame", "matches", matches),
        ("reputation_frame", "issued", issued),
    ]
}

/// One frame for the answering side: what is decided about it, its length, and it.
fn script(decision: u8, frame: &[u8]) -> Vec<u8> {
    let length = u16::try_from(frame.len()).unwrap();
    [&[decision][..], &length.to_be_bytes(), frame].concat()
}

fn query(keys: &[Key]) -> Vec<u8> {
    let mut query = Vec::new();
    encode_query(1, 2, keys, &mut query);
    query
}

fn ticket() -> Ticket {
    let bytes = [&7_u64.to_be_bytes()[..], &60_u32.to_be_bytes(), &[0; 4], &[3; 16]].concat();
    Ticket::decode(&bytes).unwrap()
}

fn key(n: u8) -> Key {
    Subject::File(Digest::Sha256([n; 32]), Some(u64::from(n))).key()
}
