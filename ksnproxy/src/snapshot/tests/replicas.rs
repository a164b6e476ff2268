//! Files that follow snapshots, whatever comes and wherever it breaks off.

use std::path::PathBuf;

use klnet_wire::signed::Signed;

use super::*;

#[test]
fn replica_is_the_file_that_was_followed() {
    let (stage, server) = (Stage::new(), Server::new(1, 0..100_000));
    assert_eq!(stage.follow(&server), Ok(server.segments()));
    assert_eq!(fs::read(&stage.path).expect("it is there"), server.file);
    assert_eq!(stage.follow(&server), Ok(0), "there is nothing newer");
    assert_eq!(stage.leftovers(), 0);
}

#[test]
fn only_what_is_new_is_asked_for() {
    let (stage, server) = (Stage::new(), Server::new(1, 0..100_000));
    stage.follow(&server).expect("it is sound");
    let next = Server::of(2, (0..100_000).map(md5).chain([Subject::domain("a.example")]));
    assert_eq!(stage.follow(&next), Ok(1), "the space of domains");
    assert_eq!(stage.reputation(&Subject::domain("a.example")), Reputation::Malicious);
}

#[test]
fn replication_goes_on_where_it_broke_off() {
    let (stage, server) = (Stage::new(), Server::new(1, 0..200_000));
    let segments = server.segments();
    for expected in (1..=segments).rev() {
        assert_eq!(stage.missing(&server), expected);
        assert_eq!(stage.follow_for(&server, 1), Err("broke off".to_owned()));
        assert!(!stage.path.exists(), "no part of it is answered from");
    }
    assert_eq!(stage.follow(&server), Ok(0), "every segment has come");
    assert_eq!(fs::read(&stage.path).expect("it is there"), server.file);
}

#[test]
fn segments_that_came_are_used_by_the_snapshot_after_as_well() {
    let (stage, server) = (Stage::new(), Server::new(1, 0..100_000));
    stage.follow_for(&server, 2).expect_err("it breaks off");
    let next = Server::of(2, (0..100_000).map(md5).chain([Subject::domain("a.example")]));
    assert_eq!(stage.follow(&next), Ok(next.segments() - 2));
}

#[test]
fn segment_that_was_damaged_on_disk_is_asked_for_again() {
    let (stage, server) = (Stage::new(), Server::new(1, 0..100_000));
    stage.follow_for(&server, 2).expect_err("it breaks off");
    let mut kept = fs::read_dir(stage.beside("segments")).expect("a folder");
    let first = kept.next().expect("two were kept").expect("a file").path();
    let mut bytes = fs::read(&first).expect("a file");
    bytes[7] ^= 1;
    fs::write(&first, bytes).expect("there is room");
    assert_eq!(stage.follow(&server), Ok(server.segments() - 1));
    assert_eq!(fs::read(&stage.path).expect("it is there"), server.file);
}

#[test]
fn damage_in_the_file_is_mended_from_the_server() {
    let (stage, server) = (Stage::new(), Server::new(1, 0..100_000));
    stage.follow(&server).expect("it is sound");
    let mut file = server.file.clone();
    file[20] ^= 1;
    fs::write(&stage.path, file).expect("there is room");
    assert_eq!(stage.replicate(&mut stage.replica(all(), false), &server, usize::MAX), Ok(1));
    assert_eq!(fs::read(&stage.path).expect("it is there"), server.file);
}

#[test]
fn older_snapshot_another_of_one_number_and_one_of_a_stranger_are_refused() {
    let stage = Stage::new();
    let server = Server::new(5, 0..10);
    stage.follow(&server).expect("it is sound");
    let older = stage.follow(&Server::new(4, 0..20));
    assert_eq!(older, Err("snapshot 4 is older than 5, which is here".to_owned()));
    let other = stage.follow(&Server::new(5, 0..20));
    assert_eq!(other, Err("there is another snapshot 5 here, signed as well".to_owned()));
    let stranger = Server::signed_by(&SigningKey::generate_ed25519(), 6, (0..20).map(md5));
    let refused = stage.follow(&stranger);
    assert_eq!(refused, Err("the snapshot was signed by no key that is trusted here".to_owned()));
    assert_eq!(fs::read(&stage.path).expect("it is there"), server.file);
}

#[test]
fn tampered_segment_or_manifest_is_refused_and_the_file_stays() {
    let (stage, server) = (Stage::new(), Server::new(1, 0..10));
    stage.follow(&server).expect("it is sound");
    let mut next = Server::new(2, 0..20);
    next.lie = true;
    assert_eq!(stage.follow(&next), Err("segment 0 of FileMd5 is damaged".to_owned()));
    let mut signed = next.signed();
    let mut manifest = signed.bytes.to_vec();
    manifest[1] = 99; // the sequence
    signed.bytes = manifest.into();
    assert!(matches!(
        stage.replica(all(), true).begin(signed),
        Err(ReplicaError::Snapshot(SnapshotError::Signature))
    ));
    assert_eq!(fs::read(&stage.path).expect("it is there"), server.file);
    assert_eq!(stage.leftovers(), 0);
}

#[test]
fn snapshot_above_its_limit_is_refused_before_any_of_it_comes() {
    let (stage, server) = (Stage::new(), Server::new(1, 0..10));
    let wanted = |limit| Wanted { kinds: Vec::new(), limit };
    let mut small = stage.replica(wanted(319), true);
    let refused = stage.replicate(&mut small, &server, usize::MAX);
    assert_eq!(refused, Err("snapshot of 320 bytes exceeds the limit of 319".to_owned()));
    assert_eq!(stage.replicate(&mut stage.replica(wanted(320), true), &server, usize::MAX), Ok(1));
}

#[test]
fn part_has_the_key_spaces_that_are_wanted_and_more_when_more_are() {
    let stage = Stage::new();
    let subjects = (0..10).map(md5).chain([Subject::domain("a.example")]);
    let server = Server::of(1, subjects);
    let domains = Wanted { kinds: vec![Kind::Domain], ..all() };
    assert_eq!(stage.replicate(&mut stage.replica(domains, true), &server, usize::MAX), Ok(1));
    assert_eq!(stage.reputation(&Subject::domain("a.example")), Reputation::Malicious);
    let elsewhere = stage.load().lookup(&md5(1), NOW);
    assert_eq!((elsewhere.reputation, elsewhere.partial), (Reputation::Unknown, true));
    assert!(!stage.load().is_whole());
    assert_eq!(stage.follow(&server), Ok(1), "the rest of the same snapshot");
    assert_eq!(stage.reputation(&md5(1)), Reputation::Malicious);
    assert!(stage.load().is_whole());
}

#[test]
fn snapshot_of_nothing_is_replicated_too() {
    let (stage, server) = (Stage::new(), Server::new(1, 0..0));
    assert_eq!(stage.follow(&server), Ok(0));
    assert_eq!(stage.reputation(&md5(1)), Reputation::Unknown);
}

#[test]
fn whatever_a_crash_left_the_next_round_ends_with_the_snapshot() {
    let (stage, old, new) = (Stage::new(), Server::new(1, 0..10), Server::new(2, 0..20));
    stage.follow(&old).expect("it is sound");
    fs::write(stage.beside("new"), "half of a snapshot").expect("there is room");
    fs::write(stage.beside("segments").join("garbage"), "half of a segment").expect("there is room");
    assert_eq!(fs::read(&stage.path).expect("it is there"), old.file);
    assert_eq!(stage.follow(&new), Ok(1));
    assert_eq!(fs::read(&stage.path).expect("it is there"), new.file);
    assert_eq!(stage.leftovers(), 0);
}

/// A folder with a file that follows.
struct Stage {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("snapshot");
        Self { _folder: folder, path }
    }

    fn replica(&self, wanted: Wanted, sound: bool) -> Replica {
        Replica::new(self.path.clone(), vec![KEY.public().clone()], wanted, sound).expect("a folder")
    }

    /// How many segments had to be asked for, or why it was not taken.
    fn follow(&self, server: &Server) -> Result<usize, String> {
        self.follow_for(server, usize::MAX)
    }

    /// Breaks off after so many segments, as a crash would.
    fn follow_for(&self, server: &Server, most: usize) -> Result<usize, String> {
        self.replicate(&mut self.replica(all(), true), server, most)
    }

    fn replicate(&self, replica: &mut Replica, server: &Server, most: usize) -> Result<usize, String> {
        let said = |error: ReplicaError| error.to_string();
        let Some(mut filling) = replica.begin(server.signed()).map_err(said)? else { return Ok(0) };
        let mut asked = 0;
        while let Some(segment) = filling.next_missing().map_err(said)? {
            filling.put(&segment, &server.segment(&segment)).map_err(said)?;
            asked += 1;
            if asked == most {
                return Err("broke off".to_owned());
            }
        }
        replica.publish(filling).map_err(said)?;
        Ok(asked)
    }

    /// How many segments a round would ask for.
    fn missing(&self, server: &Server) -> usize {
        let kept = fs::read_dir(self.beside("segments")).map_or(0, Iterator::count);
        server.segments() - kept
    }

    fn load(&self) -> Snapshot {
        loaded(&fs::read(&self.path).expect("it is there"))
    }

    fn reputation(&self, subject: &Subject) -> Reputation {
        self.load().lookup(subject, NOW).reputation
    }

    fn beside(&self, what: &str) -> PathBuf {
        self.path.with_extension(what)
    }

    fn leftovers(&self) -> usize {
        let kept = fs::read_dir(self.beside("segments")).map_or(0, Iterator::count);
        kept + usize::from(self.beside("new").exists())
    }
}

/// Who has a snapshot.
struct Server {
    file: Vec<u8>,
    key: klnet_wire::signed::PublicKey,
    /// Sends what was not signed.
    lie: bool,
}

impl Server {
    fn new(sequence: u64, files: std::ops::Range<u32>) -> Self {
        Self::of(sequence, files.map(md5))
    }

    fn of(sequence: u64, subjects: impl Iterator<Item = Subject>) -> Self {
        Self::signed_by(&KEY, sequence, subjects)
    }

    fn signed_by(key: &SigningKey, sequence: u64, subjects: impl Iterator<Item = Subject>) -> Self {
        let sorter = sorted(subjects.map(|subject| (subject, malicious(90))));
        let mut writer = Writer::new(Vec::new(), sorter.records()).expect("memory");
        for record in sorter.finish().expect("memory") {
            let (kind, record) = record.expect("memory");
            writer.push(kind, &record).expect("memory");
        }
        let about = Manifest::about(sequence, NOW, vec![source("test")]);
        let file = writer.finish(about, key).expect("memory").0;
        Self { file, key: key.public().clone(), lie: false }
    }

    fn reader(&self) -> Reader<Cursor<&[u8]>> {
        Reader::open(Cursor::new(&self.file[..]), std::slice::from_ref(&self.key)).expect("it was written so")
    }

    fn signed(&self) -> Signed {
        self.reader().signed().clone()
    }

    fn segments(&self) -> usize {
        self.reader().manifest().segments().count()
    }

    fn segment(&self, segment: &SegmentId) -> Vec<u8> {
        let mut bytes = self.reader().segment(segment).expect("it is sound").expect("it is held");
        bytes[0] ^= u8::from(self.lie);
        bytes
    }
}

fn all() -> Wanted {
    Wanted { kinds: Vec::new(), limit: u64::MAX }
}
