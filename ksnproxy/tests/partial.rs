//! `ksnserver import gsb`: whole lists, and then what has changed.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use ring::digest::{SHA256, digest};

#[test]
fn an_update_of_what_is_here_is_taken_and_any_other_is_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let import = |name: &str, list: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, list).unwrap();
        ksnserver(&store, &["import", "--json", "gsb", path.to_str().unwrap()])
    };
    let early = import("early", &update(2, Some(0), 7, &[7]));
    assert_eq!(early.status.code(), Some(3));
    assert!(said(&early).contains("a list that is not here: fetch the whole list"), "{}", said(&early));

    let whole = import("whole", &whole(1, 7));
    assert!(whole.status.success(), "{}", said(&whole));
    assert_eq!(shown(&store), (1, 1, "AQ==".to_owned()));
    let next = update(2, Some(0), 9, &[9]);
    let dry =
        ksnserver(&store, &["import", "--dry-run", "gsb", place(folder.path(), &next).to_str().unwrap()]);
    assert!(dry.status.success() && shown(&store).2 == "AQ==", "{}", said(&dry));
    assert!(import("next", &next).status.success());
    assert_eq!(shown(&store), (2, 1, "Ag==".to_owned()));

    for other in [update(3, Some(1), 8, &[8, 9]), update(3, None, 9, &[9]), update(3, None, 8, &[7, 8])] {
        let refused = import("other", &other);
        assert_eq!(refused.status.code(), Some(3));
        assert!(said(&refused).contains("not of the version that is here (Ag==)"), "{}", said(&refused));
        assert_eq!(shown(&store), (2, 1, "Ag==".to_owned()), "nothing has changed");
    }
    assert!(import("more", &update(3, None, 8, &[8, 9])).status.success());
    assert_eq!(shown(&store), (3, 2, "Aw==".to_owned()));
}

#[test]
fn lists_that_are_damaged_on_disk_are_told_and_a_whole_one_mends_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let path = place(folder.path(), &whole(1, 7));
    assert!(ksnserver(&store, &["import", "gsb", path.to_str().unwrap()]).status.success());
    fs::write(store.join("lists/gsb"), "garbage").unwrap();
    let update = place(folder.path(), &update(2, Some(0), 9, &[9]));
    let refused = ksnserver(&store, &["import", "gsb", update.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(said(&refused).contains("are damaged"), "{}", said(&refused));
    let path = place(folder.path(), &whole(3, 7));
    assert!(ksnserver(&store, &["import", "gsb", path.to_str().unwrap()]).status.success());
    assert_eq!(shown(&store), (2, 1, "Aw==".to_owned()));
    assert!(
        ksnserver(&store, &["import", "block", place(folder.path(), b"a.example\n").to_str().unwrap()])
            .status
            .success()
    );
    assert!(ksnserver(&store, &["snapshot", "remove", "gsb"]).status.success());
    assert!(!store.join("lists/gsb").exists());
}

/// Sequence of the snapshot, hashes of the list, and its version.
fn shown(store: &Path) -> (u64, u64, String) {
    let shown = ksnserver(store, &["snapshot", "show", "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    let list = &shown["lists"]["gsb"]["mw-4b"];
    let version = list["version"].as_str().unwrap().to_owned();
    (shown["sequence"].as_u64().unwrap(), list["hashes"].as_u64().unwrap(), version)
}

fn ksnserver(store: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ksnserver"));
    command.arg("--store").arg(store).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn place(folder: &Path, list: &[u8]) -> std::path::PathBuf {
    let path = folder.join("list.pb");
    fs::write(&path, list).unwrap();
    path
}

/// A `HashList` of one hash, in the bytes of protobuf.
fn whole(version: u8, hash: u8) -> Vec<u8> {
    list(version, &[], hash, &[hash])
}

/// One that takes away the hash at a place and adds one, after which there are these.
fn update(version: u8, removal: Option<u8>, hash: u8, all: &[u8]) -> Vec<u8> {
    let removal = removal.map(|place| vec![0x2a, 2, 0x08, place]).unwrap_or_default();
    list(version, &[vec![0x18, 1], removal].concat(), hash, all)
}

fn list(version: u8, more: &[u8], hash: u8, all: &[u8]) -> Vec<u8> {
    let all: Vec<_> = all.iter().flat_map(|hash| [0, 0, 0, *hash]).collect();
    let checksum = digest(&SHA256, &all);
    let head = [b"\x0a\x05mw-4b\x12\x01", &[version][..], more].concat();
    [&head[..], &[0x22, 2, 0x08, hash], &[0x3a, 32], checksum.as_ref()].concat()
}
