//! A proxy that follows a server's snapshots: it answers when the server is gone, and believes what was signed alone.

use std::io::Cursor;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use klnet_ksnproxy::frame::Reason;
use klnet_ksnproxy::net::client::Plain;
use klnet_ksnproxy::net::server::{Question, Reply};
use klnet_ksnproxy::net::service::{Replication, Service, SnapshotFile};
use klnet_ksnproxy::piece::Item;
use klnet_ksnproxy::snapshot::{Claim, Manifest, Snapshot, Sorter, Source, Wanted, Writer};
use klnet_ksnproxy::subject::{Digest, Key, Subject};
use klnet_ksnproxy::verdict::{Category, Reputation};
use klnet_wire::signing::SigningKey;
use tokio_util::sync::CancellationToken;

use super::stage::{Stage, place, until};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_replicated_is_answered_without_any_server() {
    let stage = Replicating::start(1, 100).await;
    let proxy = stage.proxy(stage.folder.path());
    stage.until_sequence(&proxy, 1).await;
    stage.shutdown.cancel();
    assert_eq!(
        reputations(&proxy, &[file(7), file(100)]).await,
        [Reputation::Malicious, Reputation::Unknown]
    );
    drop(proxy);
    let again = stage.proxy(stage.folder.path());
    assert_eq!(
        reputations(&again, &[file(7), file(100)]).await,
        [Reputation::Malicious, Reputation::Unknown]
    );
    let about = again.snapshot().unwrap();
    assert_eq!((about.sequence, about.records, about.whole, about.checked), (1, 100, true, None));
    assert_eq!(about.sources, ["test"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_snapshot_takes_the_place_of_the_older_and_never_the_other_way() {
    let stage = Replicating::start(2, 100).await;
    let proxy = stage.proxy(stage.folder.path());
    stage.until_sequence(&proxy, 2).await;
    stage.serve(1, 200);
    stage.until_asked(5).await;
    assert_eq!(reputations(&proxy, &[file(150)]).await, [Reputation::Unknown], "1 is older than 2");
    stage.serve(3, 200);
    stage.until_sequence(&proxy, 3).await;
    assert_eq!(reputations(&proxy, &[file(150)]).await, [Reputation::Malicious]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_sends_what_was_not_signed_changes_nothing() {
    let stage = Replicating::start(1, 100).await;
    let proxy = stage.proxy(stage.folder.path());
    stage.until_sequence(&proxy, 1).await;
    stage.tampers.store(true, Ordering::Relaxed);
    stage.serve(2, 200);
    stage.until_asked(5).await;
    let said = reputations(&proxy, &[file(7), file(150)]).await;
    assert_eq!(said, [Reputation::Malicious, Reputation::Unknown], "the one before is answered from");
    stage.tampers.store(false, Ordering::Relaxed);
    stage.until_sequence(&proxy, 2).await;
    assert_eq!(reputations(&proxy, &[file(150)]).await, [Reputation::Malicious]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_finds_no_room_on_disk_leaves_the_one_before() {
    let stage = Replicating::start(1, 100).await;
    let Some(disk) = SmallDisk::mount(stage.folder.path().join("disk")) else { return };
    let proxy = stage.proxy(&disk.0);
    stage.until_sequence(&proxy, 1).await;
    stage.serve(2, 100_000);
    stage.until_asked(5).await;
    assert_eq!(
        reputations(&proxy, &[file(7), file(150)]).await,
        [Reputation::Malicious, Reputation::Unknown]
    );
    stage.serve(3, 200);
    stage.until_sequence(&proxy, 3).await;
    assert_eq!(reputations(&proxy, &[file(150)]).await, [Reputation::Malicious], "its room is free again");
}

/// A server with one snapshot, whose proxies follow.
struct Replicating {
    stage: Stage,
    folder: tempfile::TempDir,
    address: SocketAddr,
    shutdown: CancellationToken,
    key: SigningKey,
    snapshot: Arc<Mutex<Arc<Snapshot>>>,
    /// How often the newest manifest was asked for since another snapshot was there.
    asked: Arc<AtomicU32>,
    tampers: Arc<AtomicBool>,
}

impl Replicating {
    async fn start(sequence: u64, files: u32) -> Self {
        let stage = Stage::start(|config| config).await;
        let key = SigningKey::generate_ed25519();
        let snapshot = Arc::new(Mutex::new(Arc::new(snapshot(sequence, files, &key))));
        let (asked, tampers) = (Arc::<AtomicU32>::default(), Arc::<AtomicBool>::default());
        let (held, counted, lies) = (Arc::clone(&snapshot), Arc::clone(&asked), Arc::clone(&tampers));
        let answer = move |question| {
            let snapshot = Arc::clone(&held.lock().unwrap());
            let reply = reply(&snapshot, question, &counted, lies.load(Ordering::Relaxed));
            async move { reply }
        };
        let (address, shutdown) = stage.server(answer).await;
        let folder = tempfile::tempdir().unwrap();
        Self { stage, folder, address, shutdown, key, snapshot, asked, tampers }
    }

    fn serve(&self, sequence: u64, files: u32) {
        *self.snapshot.lock().unwrap() = Arc::new(snapshot(sequence, files, &self.key));
        self.asked.store(0, Ordering::Relaxed);
    }

    fn proxy(&self, folder: &Path) -> Service {
        let replicated = Replication {
            servers: vec![place(self.address)],
            wanted: Wanted { kinds: Vec::new(), limit: 1 << 30 },
            every: Duration::from_millis(200),
        };
        let trusted = vec![self.key.public().clone()];
        let file = SnapshotFile { path: folder.join("snapshot"), trusted, replicated: Some(replicated) };
        self.stage.beside(|mut config| {
            (config.snapshot, config.allow_plain) = (Some(file), true);
            config
        })
    }

    async fn until_sequence(&self, proxy: &Service, sequence: u64) {
        until(async || proxy.snapshot().is_some_and(|snapshot| snapshot.sequence == sequence)).await;
    }

    /// So many rounds began: all but the last have ended.
    async fn until_asked(&self, times: u32) {
        until(async || self.asked.load(Ordering::Relaxed) >= times).await;
    }
}

fn reply(snapshot: &Snapshot, question: Question, asked: &AtomicU32, tampers: bool) -> Reply {
    let Question::Fetch(fetch) = question else { return Reply::Refused(Reason::Op) };
    if fetch.item == Item::Manifest {
        asked.fetch_add(1, Ordering::Relaxed);
    }
    let Some(mut piece) = snapshot.piece(&fetch) else { return Reply::Refused(Reason::Gone) };
    if tampers && fetch.item != Item::Manifest {
        let mut bytes = piece.bytes.to_vec();
        bytes[0] ^= 1;
        piece.bytes = bytes.into();
    }
    Reply::Piece(piece)
}

fn snapshot(sequence: u64, files: u32, key: &SigningKey) -> Snapshot {
    let claim = Claim {
        reputation: Reputation::Malicious,
        category: Category::Malware,
        confidence: 90,
        source: 1,
        time: 0,
    };
    let mut sorter = Sorter::new(std::env::temp_dir());
    (0..files).for_each(|n| sorter.push(file(n), claim).unwrap());
    let mut writer = Writer::new(Vec::new(), sorter.records()).unwrap();
    for record in sorter.finish().unwrap() {
        let (kind, record) = record.unwrap();
        writer.push(kind, &record).unwrap();
    }
    let source =
        Source { name: "test".to_owned(), format: "block".to_owned(), imported: 1, records: files.into() };
    let (file, _) = writer.finish(Manifest::about(sequence, 1, vec![source]), key).unwrap();
    Snapshot::load(Cursor::new(file), &[key.public().clone()]).unwrap()
}

fn file(n: u32) -> Key {
    let spread = u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    Subject::File(Digest::Md5(spread.to_be_bytes()), None).key()
}

async fn reputations(proxy: &Service, keys: &[Key]) -> Vec<Reputation> {
    let mut plain = Plain::connect("127.0.0.1", proxy.addresses().tcp.port()).await.unwrap();
    plain.query(keys).await.unwrap().iter().map(|verdict| verdict.reputation).collect()
}

/// A disk of 2 MiB in memory; none where this user may not mount one.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(path: std::path::PathBuf) -> Option<Self> {
        std::fs::create_dir(&path).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "none"]).arg(&path).status();
        mount.ok()?.success().then_some(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
