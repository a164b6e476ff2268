//! Every format as it is published, and what is refused of it.

mod abuse;
mod archives;
mod databases;
mod lists;

use std::io::Cursor;

use klnet_wire::signing::SigningKey;

use super::*;
use crate::snapshot::{Manifest, Snapshot, Sorter, Source, Writer};
use crate::subject::{Digest, Subject};
use crate::verdict::{Category, Reputation, Verdict};

/// What a feed of this content answers.
struct Imported {
    snapshot: Snapshot,
    report: Report,
}

fn import(format: Format, name: &str, content: impl AsRef<[u8]>) -> Imported {
    try_import(format, name, content).expect("the feed is sound")
}

fn refused(format: Format, name: &str, content: impl AsRef<[u8]>) -> String {
    match try_import(format, name, content) {
        Ok(imported) => panic!("taken: {}", imported.report),
        Err(error) => error.to_string(),
    }
}

fn try_import(format: Format, name: &str, content: impl AsRef<[u8]>) -> Result<Imported, FeedError> {
    let mut intake = intake();
    read_bytes(format, name, content.as_ref(), &mut intake)?;
    finish(intake)
}

fn intake() -> Intake {
    Intake::new(Sorter::new(std::env::temp_dir()), NOW, None)
}

fn finish(intake: Intake) -> Result<Imported, FeedError> {
    let (sorter, report) = intake.finish()?;
    let mut writer = Writer::new(Vec::new(), sorter.records()).expect("memory");
    for record in sorter.finish().expect("memory") {
        let (kind, record) = record.expect("memory");
        writer.push(kind, &record).expect("memory");
    }
    let source = Source { name: "test".to_owned(), ..Source::default() };
    let key = SigningKey::generate_ed25519();
    let (file, _) = writer.finish(Manifest::about(1, NOW, vec![source]), &key).expect("memory");
    let snapshot = Snapshot::load(Cursor::new(file), &[key.public().clone()]).expect("it was written so");
    Ok(Imported { snapshot, report })
}

impl Imported {
    fn verdict(&self, subject: &Subject) -> Verdict {
        self.snapshot.lookup(subject, NOW)
    }

    fn reputation(&self, subject: &Subject) -> Reputation {
        self.verdict(subject).reputation
    }
}

fn file(hash: &str) -> Subject {
    Subject::File(Digest::parse(hash.as_bytes()).expect("a hash"), None)
}

fn address(address: &str) -> Subject {
    Subject::Network(crate::subject::Network::address(address.parse().expect("an address")))
}

fn sha256(n: u32) -> String {
    data_encoding::HEXLOWER.encode(ring::digest::digest(&ring::digest::SHA256, &n.to_be_bytes()).as_ref())
}

fn sha1(n: u32) -> String {
    sha256(n)[..40].to_owned()
}

fn md5(n: u32) -> String {
    sha256(n)[..32].to_owned()
}

const NOW: u64 = 1_800_000_000;
