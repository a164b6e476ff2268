//! Signatures that ClamAV's own tools wrote: what its scanner finds is malicious here, and nothing else.

#![cfg(feature = "import")]
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::path::Path;
use std::process::Command;

use klnet_ksnproxy::feed::{Format, Intake, read_file};
use klnet_ksnproxy::snapshot::{SnapshotStore, Source};
use klnet_ksnproxy::subject::{Digest, Subject};
use klnet_ksnproxy::verdict::Reputation;
use klnet_wire::signing::SigningKey;

#[test]
fn what_sigtool_builds_answers_as_clamscan_does() {
    let folder = tempfile::tempdir().unwrap();
    let samples: Vec<_> = (0..4).map(|n| format!("sample{n}")).collect();
    for sample in &samples {
        fs::write(folder.path().join(sample), format!("this is {sample}")).unwrap();
    }
    let Some(md5) = sigtool(folder.path(), &["--md5", "sample0", "sample1"]) else {
        eprintln!("skipped: sigtool of ClamAV is not installed");
        return;
    };
    fs::write(folder.path().join("test.hdb"), md5).unwrap();
    let sha256 = sigtool(folder.path(), &["--sha256", "sample2"]).unwrap();
    fs::write(folder.path().join("test.hsb"), sha256).unwrap();
    fs::write(folder.path().join("COPYING"), "text").unwrap();
    sigtool(folder.path(), &["--unsigned", "--build=test.cud", "--cvd-version=7"]).unwrap();

    let found = answers(&folder.path().join("test.cud"), folder.path(), &samples);
    assert_eq!(found, [true, true, true, false]);
    assert_eq!(found, samples.iter().map(|sample| clamscan(folder.path(), sample)).collect::<Vec<_>>());
}

/// Which of the samples are malicious, by their MD5 or SHA-256 and size.
fn answers(container: &Path, folder: &Path, samples: &[String]) -> Vec<bool> {
    let store = SnapshotStore::open(folder.join("store")).unwrap();
    let mut intake = Intake::new(store.sorter(), NOW, None);
    read_file(Format::ClamAv, container, &mut intake, &|_| {}).unwrap();
    let (records, report) = intake.finish().unwrap();
    assert!(report.notes[0].starts_with("version 7 of "), "{report}");
    let key = SigningKey::generate_ed25519();
    let source = Source { name: "clamav".to_owned(), imported: NOW, ..Source::default() };
    store.import(source, records, &key).unwrap();
    let (snapshot, _) = store.load(&[key.public().clone()]).unwrap();
    let is_malicious = |sample: &String| {
        let size = fs::metadata(folder.join(sample)).unwrap().len();
        ["--md5", "--sha256"].iter().any(|hash| {
            let line = sigtool(folder, &[hash, sample]).unwrap();
            let hash = line.split(|byte| *byte == b':').next().unwrap();
            let subject = Subject::File(Digest::parse(hash).unwrap(), Some(size));
            snapshot.lookup(&subject, NOW).reputation == Reputation::Malicious
        })
    };
    samples.iter().map(is_malicious).collect()
}

fn clamscan(folder: &Path, sample: &str) -> bool {
    let scan =
        Command::new("clamscan").args(["-d", "test.cud", sample]).current_dir(folder).output().unwrap();
    match scan.status.code() {
        Some(0) => false,
        Some(1) => true,
        _ => panic!("{}", String::from_utf8_lossy(&scan.stderr)),
    }
}

/// What it prints; `None` where it is not installed.
fn sigtool(folder: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
    let mut command = Command::new("sigtool");
    let output = command.args(arguments).current_dir(folder).env("SIGNDUSER", "test").output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

const NOW: u64 = 1_900_000_000;
