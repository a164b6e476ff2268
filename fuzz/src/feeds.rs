//! Lists of others, URLs and snapshots of `klnet-ksnproxy`.

use std::io::Cursor;

use klnet_ksnproxy::feed::{Format, HashLists, Intake, read_bytes, read_file};
use klnet_ksnproxy::snapshot::{Manifest, Part, RECORD_LENGTH, Record, Snapshot, Sorter, Space, Writer};
use klnet_ksnproxy::subject::{Digest, Kind, Network, Subject};
use klnet_ksnproxy::url::{CanonicalUrl, EXPRESSIONS_MOST, PARENTS_MOST};
use klnet_wire::signed::Context;
use prost::Message as _;

use crate::fixed::{KEY, NOW};
use crate::script::Script;

/// Signatures of each kind, by the first byte.
pub fn feed_clamav(data: &[u8]) {
    let mut script = Script::new(data);
    let name = ["x.hdb", "x.hsb", "x.mdb", "x.msb", "x.fp", "x.sfp", "x.crb"][usize::from(script.byte() % 7)];
    feed(Format::ClamAv, name, script.rest());
}

/// A container with a sound checksum, so that what is in it is reached; and as it is.
pub fn feed_cvd(data: &[u8]) {
    feed(Format::ClamAv, "x.cvd", data);
    let head = format!("{:<512}", "ClamAV-VDB:now:1:1:90:X:X:builder:0");
    feed(Format::ClamAv, "x.cvd", &[head.as_bytes(), data].concat());
}

/// CSV of URLhaus.
pub fn feed_urlhaus(data: &[u8]) {
    feed(Format::UrlHaus, "x.csv", data);
}

/// CSV of MalwareBazaar.
pub fn feed_malwarebazaar(data: &[u8]) {
    feed(Format::MalwareBazaar, "x.csv", data);
}

/// CSV of ThreatFox.
pub fn feed_threatfox(data: &[u8]) {
    feed(Format::ThreatFox, "x.csv", data);
}

/// CSV of SSLBL.
pub fn feed_sslbl(data: &[u8]) {
    feed(Format::SslBl, "x.csv", data);
}

/// A database of NSRL.
pub fn feed_nsrl(data: &[u8]) {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("x.db");
    std::fs::write(&path, data).expect("there is room");
    let mut intake = intake();
    if read_file(Format::Nsrl, &path, &mut intake, &|_| {}).is_ok() {
        published(intake);
    }
}

/// A warning list.
pub fn feed_misp(data: &[u8]) {
    feed(Format::Misp, "x.json", data);
}

/// A Safe Browsing list, alone and upon what another left; and what is kept of one.
pub fn feed_gsb(data: &[u8]) {
    feed(Format::Gsb, "x", data);
    let (first, second) = data.split_at(data.len() / 2);
    let mut before = intake();
    if read_bytes(Format::Gsb, "x", first, &mut before).is_ok() {
        let mut after = intake().upon(before.hash_lists().clone());
        if read_bytes(Format::Gsb, "x", second, &mut after).is_ok() {
            published(after);
        }
    }
    if let Some(lists) = HashLists::decode(data) {
        assert_eq!(HashLists::decode(&lists.encode()), Some(lists));
    }
}

/// A STIX bundle.
pub fn feed_stix(data: &[u8]) {
    feed(Format::Stix, "x.json", data);
}

/// A response policy zone.
pub fn feed_rpz(data: &[u8]) {
    feed(Format::Rpz, "x.zone", data);
}

/// A plain list.
pub fn feed_plain(data: &[u8]) {
    feed(Format::Block, "x.txt", data);
    feed(Format::Allow, "x.txt", data);
}

/// Any bytes are one canonical address, whose text is its own, or none.
pub fn url(data: &[u8]) {
    let Ok(url) = CanonicalUrl::parse(data) else { return };
    let text = url.to_string();
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
    assert_eq!(CanonicalUrl::parse(text.as_bytes()).as_ref(), Ok(&url), "{text}");
    assert!(url.subjects().len() <= EXPRESSIONS_MOST + PARENTS_MOST + 2);
}

/// A file that nobody signed is refused; one whose signer lies about the order of its records answers something.
pub fn snapshot(data: &[u8]) {
    let trusted = [KEY.public().clone()];
    assert!(Snapshot::load(Cursor::new(data), &trusted).is_err(), "nobody signs by chance");
    let mut script = Script::new(data);
    let kind = Kind::ALL[usize::from(script.byte()) % Kind::ALL.len()];
    let bits = u32::from(script.byte() % 3);
    let (records, _) = script.rest().as_chunks::<RECORD_LENGTH>();
    let segments = cut(records, 1 << bits);
    let digest = |segment: &Vec<u8>| ring::digest::digest(&ring::digest::SHA256, segment).as_ref().to_vec();
    let space = Space {
        kind: kind as u32,
        bits,
        records: segments
            .iter()
            .map(|segment| u32::try_from(segment.len() / RECORD_LENGTH).unwrap_or(0))
            .collect(),
        digests: segments.iter().flat_map(digest).collect(),
    };
    let manifest = Manifest { spaces: vec![space], ..Manifest::about(1, NOW, Vec::new()) };
    let signed = KEY.sign(Context::ReputationSnapshot, manifest.encode_to_vec().into());
    let mut part = Part::new(Vec::new(), signed, &trusted).expect("the manifest agrees with itself");
    for (segment, bytes) in manifest.segments().zip(&segments) {
        part.push(&segment, bytes).expect("its hash is in the manifest");
    }
    let file = part.finish().expect("memory");
    let snapshot = Snapshot::load(Cursor::new(file), &trusted).expect("it was written so");
    ask(&snapshot, kind, records);
}

fn feed(format: Format, name: &str, data: &[u8]) {
    let mut intake = intake();
    if read_bytes(format, name, data, &mut intake).is_ok() {
        published(intake);
    }
}

fn intake() -> Intake {
    Intake::new(Sorter::with_capacity(std::env::temp_dir(), 100_000), NOW, None)
}

/// What was taken can be published, and every record of it means something.
fn published(intake: Intake) {
    let Ok((sorter, report)) = intake.finish() else { return };
    let mut writer = Writer::new(Vec::new(), sorter.records()).expect("memory");
    let mut records = 0;
    for record in sorter.finish().expect("memory") {
        let (kind, record) = record.expect("memory");
        assert!(record.claim().is_some());
        writer.push(kind, &record).expect("memory");
        records += 1;
    }
    assert!(records <= report.taken.values().sum::<u64>());
    let (file, _) = writer.finish(Manifest::about(1, NOW, Vec::new()), &KEY).expect("memory");
    Snapshot::load(Cursor::new(file), &[KEY.public().clone()]).expect("it was written so");
}

fn cut(records: &[[u8; RECORD_LENGTH]], into: usize) -> Vec<Vec<u8>> {
    let each = records.len() / into;
    (0..into)
        .map(|index| {
            let end = if index + 1 == into { records.len() } else { (index + 1) * each };
            records[index * each..end].concat()
        })
        .collect()
}

fn ask(snapshot: &Snapshot, kind: Kind, records: &[[u8; RECORD_LENGTH]]) {
    for record in records {
        let key = Record::decode(record).key(kind);
        let (first, size) = (key.bytes, Some(key.extent));
        let mut long = [0; 32];
        long[..16].copy_from_slice(&first);
        let address = Network::address(std::net::Ipv6Addr::from(first).into());
        let subjects = [
            Subject::File(Digest::Md5(first), size),
            Subject::File(Digest::Sha256(long), None),
            Subject::Url(long),
            Subject::Domain(long),
            Subject::Network(address),
        ];
        for subject in subjects {
            let _ = snapshot.lookup(&subject, NOW);
        }
        let _ =
            snapshot.matches(kind, u64::from_be_bytes(*first.first_chunk().expect("16 bytes")), 16, 10, NOW);
    }
}
