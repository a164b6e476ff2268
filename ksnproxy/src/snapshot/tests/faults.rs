//! Crashes, full disks and damage.

use super::*;

#[test]
fn import_takes_the_place_of_what_the_source_said_before() {
    let store = Store::new();
    store.import("a", [1, 2]);
    store.import("b", [3]);
    assert_eq!(store.known([1, 2, 3, 4]), [true, true, true, false]);
    store.import("a", [4]);
    assert_eq!(store.known([1, 2, 3, 4]), [false, false, true, true]);
    store.store.remove("b", NOW, &KEY).expect("it is there");
    assert_eq!(store.known([1, 2, 3, 4]), [false, false, false, true]);
    assert!(matches!(store.store.remove("b", NOW, &KEY), Err(StoreError::NoSource(_))));
}

#[test]
fn sources_are_numbered_by_name_and_sequences_grow() {
    let store = Store::new();
    store.import("b", [1]);
    let manifest = store.import("a", [2]);
    assert_eq!((manifest.source(1), manifest.source(2), manifest.source(0)), (Some("a"), Some("b"), None));
    assert_eq!(manifest.sequence, 2);
    let (snapshot, _) = store.load();
    assert_eq!(snapshot.lookup(&md5(1), NOW).source, 2);
}

#[test]
fn damaged_snapshot_gives_way_to_the_one_before() {
    let store = Store::new();
    store.import("a", [1]);
    store.import("a", [2]);
    let current = store.store.current();
    let mut file = fs::read(&current).expect("it is there");
    file[20] ^= 1;
    fs::write(&current, file).expect("there is room");
    let (snapshot, wrong) = store.load();
    assert_eq!(snapshot.lookup(&md5(1), NOW).reputation, Reputation::Malicious);
    assert!(matches!(wrong, Some(StoreError::Snapshot { error: SnapshotError::Segment { .. }, .. })));
}

#[test]
fn what_a_crash_left_is_cleared_away_and_means_nothing() {
    let store = Store::new();
    store.import("a", [1]);
    let left = store.folder.path().join(".new-abc");
    fs::write(&left, "half of a snapshot").expect("there is room");
    assert_eq!(store.known([1]), [true]);
    store.import("a", [2]);
    assert!(!left.exists());
}

#[test]
fn records_that_break_off_change_nothing() {
    let store = Store::new();
    store.import("a", [1]);
    let nowhere = Sorter::with_capacity(store.folder.path().join("nowhere"), 1);
    let mut sorter = nowhere;
    sorter.push(md5(2).key(), malicious(90)).expect("memory");
    assert!(sorter.push(md5(3).key(), malicious(90)).is_err(), "what does not fit has no place");
    assert_eq!(store.known([1, 2]), [true, false]);
}

#[test]
fn running_server_takes_a_new_snapshot_and_leaves_a_damaged_one() {
    let store = Store::new();
    store.import("a", [1]);
    let again = SnapshotStore::open(store.folder.path()).expect("a folder");
    let (live, wrong) = Live::open(again, vec![KEY.public().clone()]).expect("it is sound");
    assert!(wrong.is_none());
    assert!(matches!(live.refresh(), Refreshed::Same));
    let held = live.snapshot();
    store.import("a", [2]);
    assert!(matches!(live.refresh(), Refreshed::Changed));
    assert_eq!(
        held.lookup(&md5(1), NOW).reputation,
        Reputation::Malicious,
        "whoever asks is served to the end"
    );
    assert_eq!(live.snapshot().lookup(&md5(2), NOW).reputation, Reputation::Malicious);
    fs::write(store.store.current(), "garbage").expect("there is room");
    assert!(matches!(live.refresh(), Refreshed::Refused(_)));
    assert_eq!(live.snapshot().lookup(&md5(2), NOW).reputation, Reputation::Malicious);
}

#[test]
fn names_lead_out_of_no_folder() {
    let store = Store::new();
    for name in ["", "..", "../x", "a/b", ".hidden", "a\0b", &"x".repeat(65)] {
        let refused = store.store.import(source(name), sorted([]), &KEY);
        assert!(matches!(refused, Err(StoreError::Name(_))), "{name:?}");
    }
}

#[test]
fn keys_can_be_changed() {
    let store = Store::new();
    store.import("a", [1]);
    let next = SigningKey::generate_ed25519();
    store.store.sign(NOW, &[KEY.public().clone()], &next).expect("the old key is trusted");
    assert!(store.store.load(&[next.public().clone()]).is_ok());
    assert!(matches!(store.store.sign(NOW, &[KEY.public().clone()], &KEY), Err(StoreError::Snapshot { .. })));
}

struct Store {
    folder: tempfile::TempDir,
    store: SnapshotStore,
}

impl Store {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SnapshotStore::open(folder.path()).expect("a folder");
        Self { folder, store }
    }

    fn import<const N: usize>(&self, name: &str, files: [u32; N]) -> Manifest {
        let records = sorted(files.map(|n| (md5(n), malicious(90))));
        self.store.import(source(name), records, &KEY).expect("there is room")
    }

    fn load(&self) -> (Snapshot, Option<StoreError>) {
        self.store.load(&[KEY.public().clone()]).expect("one is sound")
    }

    fn known<const N: usize>(&self, files: [u32; N]) -> [bool; N] {
        let (snapshot, wrong) = self.load();
        assert!(wrong.is_none());
        files.map(|n| snapshot.lookup(&md5(n), NOW).reputation == Reputation::Malicious)
    }
}
