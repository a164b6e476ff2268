//! `ksnserver import` killed at any moment, and on a disk that is full: what was there is answered from.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn import_that_is_killed_at_any_moment_leaves_a_sound_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let (small, large) = (list(folder.path(), "small.hdb", 10), list(folder.path(), "large.hdb", 100_000));
    let store = folder.path().join("store");
    let whole = timed(|| {
        assert!(ksnserver(&store).args(["import", "clamav"]).arg(&large).status().unwrap().success())
    });
    assert!(ksnserver(&store).args(["import", "clamav"]).arg(&small).status().unwrap().success());
    let mut seen = Vec::new();
    for part in 0..=KILLS {
        let mut import = ksnserver(&store).args(["import", "clamav"]).arg(&large).spawn().unwrap();
        let deadline = Instant::now() + whole * part / KILLS;
        while Instant::now() < deadline && import.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let _ = import.kill();
        import.wait().unwrap();
        seen.push(records(&store));
    }
    assert!(seen.iter().all(|records| [10, 100_000].contains(records)), "{seen:?}");
    assert!(ksnserver(&store).args(["import", "clamav"]).arg(&small).status().unwrap().success());
    let left = fs::read_dir(&store)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".new-"));
    assert_eq!(left.count(), 0, "the next import clears away what the killed ones left");
}

#[test]
fn import_onto_a_full_disk_fails_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path().join("disk")) else { return };
    let store = disk.0.join("store");
    let (small, large) = (list(folder.path(), "small.hdb", 10), list(folder.path(), "large.hdb", 200_000));
    assert!(ksnserver(&store).args(["import", "clamav"]).arg(&small).status().unwrap().success());
    let full =
        ksnserver(&store).args(["import", "clamav"]).arg(&large).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(full.status.code(), Some(1));
    let said = String::from_utf8_lossy(&full.stderr);
    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(records(&store), 10);
    assert!(
        ksnserver(&store).args(["import", "clamav"]).arg(&small).status().unwrap().success(),
        "its room is free again"
    );
}

#[test]
fn refused_list_changes_nothing_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let small = list(folder.path(), "small.hdb", 10);
    assert!(ksnserver(&store).args(["import", "clamav"]).arg(&small).status().unwrap().success());
    let bad = folder.path().join("bad.hdb");
    fs::write(&bad, fs::read_to_string(&small).unwrap() + "not a hash:1:A\n").unwrap();
    let refused =
        ksnserver(&store).args(["import", "clamav"]).arg(&bad).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("bad.hdb: line 11: 'not a hash' is no hash"));
    assert_eq!(records(&store), 10);
}

#[test]
fn dry_run_reads_everything_and_makes_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let small = list(folder.path(), "small.hdb", 10);
    let run = ksnserver(&store)
        .args(["import", "clamav", "--dry-run", "--json"])
        .arg(&small)
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    let said: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(said["taken"]["FileMd5"], 10);
    assert_eq!(said["sequence"], serde_json::Value::Null);
    assert!(!store.exists());
}

fn ksnserver(store: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ksnserver"));
    command.arg("--store").arg(store).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// How many records the snapshot has, every byte of which is verified first.
fn records(store: &Path) -> u64 {
    assert!(ksnserver(store).args(["snapshot", "verify"]).status().unwrap().success());
    let shown =
        ksnserver(store).args(["snapshot", "show", "--json"]).stdout(Stdio::piped()).output().unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    shown["records"]["FileMd5"].as_u64().unwrap()
}

fn list(folder: &Path, name: &str, files: u32) -> std::path::PathBuf {
    let mut list = String::new();
    for n in 0..files {
        writeln!(list, "{:032x}:{n}:Test-{n}", u128::from(n) << 96 | u128::from(n)).unwrap();
    }
    let path = folder.join(name);
    fs::write(&path, list).unwrap();
    path
}

fn timed(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

/// A disk of 8 MiB in memory; none where this user may not mount one.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(path: std::path::PathBuf) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "none"]).arg(&path).status();
        mount.ok()?.success().then_some(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

const KILLS: u32 = 12;
