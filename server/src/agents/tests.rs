use std::net::IpAddr;
use std::time::SystemTime;

use bytes::Bytes;
use klnet_tunnel::net::relay;
use klnet_wire::id::{ServerId, TenantId};
use klnet_wire::message::{Hello, Message};
use klnet_wire::net::link::Command;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::directory::{Announced, Directory};
use crate::distribution::Contents;
use crate::fabric::Fabric;
use crate::fleet::Device;
use crate::revocation::Revocation;
use crate::sessions::Live;
use crate::store::SqliteStore;

#[tokio::test]
async fn a_revoked_session_too_busy_to_hear_of_it_is_cut_and_ends_by_itself() {
    let (agents, _folder) = agents().await;
    let device = DeviceId::random();
    let (live, _commanded) = live(1);
    come(&agents, device, live.clone()).await;
    while live.commands.try_send(Box::new(Command::Ping)).is_ok() {}
    agents.deny_device(device).await;
    assert!(live.cut.is_cancelled());
    assert!(agents.sessions.live(device).is_some(), "its own end tells presence and relay");
    assert!(agents.go(device, 1, "gone").await);
    assert_eq!((agents.fleet.online(), agents.metrics.sessions.get()), (0, 0));
}

#[tokio::test]
async fn a_device_is_online_exactly_while_it_has_a_session() {
    let (agents, _folder) = agents().await;
    let device = DeviceId::random();
    come(&agents, device, live(1).0).await;
    come(&agents, device, live(2).0).await;
    assert!(!agents.go(device, 1, "gone").await, "a newer session is there");
    assert_eq!((agents.fleet.online(), agents.metrics.sessions.get()), (1, 1));
    assert!(agents.go(device, 2, "gone").await);
    assert_eq!((agents.fleet.online(), agents.metrics.sessions.get()), (0, 0));
}

#[test]
fn a_session_that_waits_takes_little() {
    assert!(size_of_task(Agents::arrived) <= TASK, "the task: {}", size_of_task(Agents::arrived));
}

#[tokio::test]
async fn one_address_cannot_keep_other_agents_out_of_their_handshakes() {
    let (agents, _folder) = agents().await;
    let enter = |last| agents.handshakes.enter(IpAddr::from([192, 0, 2, last]));
    let seats: Vec<_> = std::iter::from_fn(|| enter(1)).collect();
    assert_eq!(seats.len(), HANDSHAKES.per_source);
    assert!(enter(2).is_some());
}

#[tokio::test]
async fn a_second_device_with_the_same_identity_is_a_clone_while_the_first_answers() {
    let (agents, _folder) = agents().await;
    let device = known(DeviceId::random());
    let (first, mut commanded) = live(1);
    come(&agents, device.id, first.clone()).await;
    let answering = tokio::spawn(async move {
        while let Some(command) = commanded.recv().await {
            if matches!(*command, Command::Ping) {
                first.pongs.send_replace(());
            }
        }
    });
    assert!(is_clone(&agents, &device, &hello(9, 0)).await, "another process");
    assert!(is_clone(&agents, &device, &hello(0, 0)).await, "the same one says nothing of its session");
    answering.abort();
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_answer_is_replaced_after_five_seconds() {
    let (agents, _folder) = agents().await;
    let device = known(DeviceId::random());
    let (first, _commanded) = live(1);
    agents.sessions.insert(device.id, first);
    let asked = tokio::time::Instant::now();
    assert!(!is_clone(&agents, &device, &hello(9, 0)).await);
    assert_eq!(asked.elapsed(), Duration::from_secs(5));
    let other = known(DeviceId::random());
    assert!(!is_clone(&agents, &other, &hello(9, 0)).await, "nobody is there");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_has_left_its_session_is_back_at_once() {
    let (agents, _folder) = agents().await;
    let device = known(DeviceId::random());
    let (mut first, _commanded) = live(1);
    first.boot_id = vec![7; 16].into();
    agents.sessions.insert(device.id, first);
    let asked = tokio::time::Instant::now();
    assert!(!is_clone(&agents, &device, &hello(7, 1)).await);
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert!(!is_clone(&agents, &device, &hello(7, 5)).await, "a copy of its memory is asked about");
    assert!(asked.elapsed() >= Duration::from_secs(5));
}

#[tokio::test]
async fn who_comes_while_the_session_before_is_asked_is_not_replaced_unasked() {
    let (agents, _folder) = agents().await;
    let device = known(DeviceId::random());
    come(&agents, device.id, live(1).0).await;
    // The device itself comes back; whoever asked about session 1 has an answer about session 1.
    come(&agents, device.id, live(2).0).await;
    let thief = live(3).0;
    assert!(!agents.come(device.id, thief, Some(1), peer(), &Hello::default(), Bytes::new()).await);
    assert_eq!(agents.sessions.live(device.id).unwrap().serial, 2);
}

#[tokio::test]
async fn everyone_is_told_of_the_newest_lists_when_they_come_and_of_newer_ones_later() {
    let (agents, folder) = agents().await;
    let ((early, mut told_early), (late, mut told_late)) = (live(1), live(2));
    come(&agents, DeviceId::random(), early).await;
    let first = sign(&agents, &folder).await;
    come(&agents, DeviceId::random(), late).await;
    assert_eq!((lists(&mut told_early), lists(&mut told_late)), (None, Some(first)));
    let second = sign(&agents, &folder).await;
    tokio::time::pause();
    let following = tokio::spawn(Arc::clone(&agents).follow_lists(CancellationToken::new()));
    for told in [&mut told_early, &mut told_late] {
        let told = told.recv().await.map(|command| *command);
        assert!(matches!(told, Some(Command::Send(Message::Lists(lists))) if lists.number == second));
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!((lists(&mut told_early), lists(&mut told_late)), (None, None), "once");
    following.abort();
}

#[tokio::test]
async fn one_that_takes_nothing_more_is_told_of_the_newest_lists_when_it_does() {
    let (agents, folder) = agents().await;
    let (busy, mut told) = live(1);
    come(&agents, DeviceId::random(), busy.clone()).await;
    while busy.commands.try_send(Box::new(Command::Ping)).is_ok() {}
    sign(&agents, &folder).await;
    tokio::time::pause();
    let following = tokio::spawn(Arc::clone(&agents).follow_lists(CancellationToken::new()));
    tokio::time::advance(Duration::from_secs(60)).await;
    let newest = sign(&agents, &folder).await;
    assert_eq!(lists(&mut told), None);
    let told = told.recv().await.map(|command| *command);
    assert!(matches!(told, Some(Command::Send(Message::Lists(lists))) if lists.number == newest));
    following.abort();
}

/// Signs lists of a higher number, which it says.
async fn sign(agents: &Agents, folder: &TempDir) -> u64 {
    let fabric = Arc::new(Fabric::load(folder.path()).unwrap());
    let revocation = Revocation::new(fabric, Arc::clone(&agents.fleet), Arc::clone(&agents.crls));
    revocation.sign(SystemTime::now()).await.unwrap();
    agents.lists().unwrap().number
}

/// The number of the lists that a session was told of last, in all that it was told until now.
fn lists(commanded: &mut mpsc::Receiver<Box<Command>>) -> Option<u64> {
    let told = std::iter::from_fn(|| commanded.try_recv().ok()).filter_map(|command| match *command {
        Command::Send(Message::Lists(lists)) => Some(lists.number),
        _ => None,
    });
    told.last()
}

/// Comes in the place of whoever is there.
fn size_of_task<'a, F: Future>(
    _: impl FnOnce(&'a Agents, TcpStream, SocketAddr, TlsAcceptor, &'a Tunnels, CancellationToken) -> F,
) -> usize {
    size_of::<F>()
}

async fn come(agents: &Agents, device: DeviceId, live: Live) {
    let replaced = agents.sessions.live(device).map(|live| live.serial);
    assert!(agents.come(device, live, replaced, peer(), &Hello::default(), Bytes::new()).await);
}

async fn is_clone(agents: &Agents, device: &Device, hello: &Hello) -> bool {
    Agents::is_clone(agents.sessions.live(device.id), hello).await
}

/// What a process with this boot id says that had the session of `last_epoch` before.
fn hello(boot_id: u8, last_epoch: u64) -> Hello {
    Hello { boot_id: vec![boot_id; 16].into(), last_epoch, ..Hello::default() }
}

fn known(id: DeviceId) -> Device {
    Device {
        id,
        tenant: TenantId::random(),
        name: "pc-1".into(),
        os: "Debian 12".into(),
        group: klnet_wire::id::GroupId::random(),
        enrolled: SystemTime::now(),
        revoked: None,
        clone: None,
        set_back: None,
        presence: crate::fleet::Presence::default(),
    }
}

fn live(serial: u64) -> (Live, mpsc::Receiver<Box<Command>>) {
    let (commands, commanded) = mpsc::channel(4);
    let cut = CancellationToken::new();
    let (boot_id, pongs) = Default::default();
    let tenant = TenantId::random();
    (Live { tenant, serial, epoch: serial, boot_id, pongs, commands, cut }, commanded)
}

fn peer() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 40_000))
}

async fn agents() -> (Arc<Agents>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let fabric = Arc::new(Fabric::init(folder.path(), SystemTime::now()).unwrap());
    let store = Arc::new(SqliteStore::open(&folder.path().join("state.db")).unwrap());
    let crls = Arc::<Crls>::default();
    let directory = Arc::new(Directory::new(Arc::clone(&fabric), Arc::clone(&crls), Announced::example()));
    let fleet = Fleet::load(store, fabric, directory).await.unwrap();
    let (relay, _events) = relay::start(relay::Config::new(klnet_tunnel::relay::Config {
        secret: [7; 32],
        audience: ServerId::random(),
        limits: klnet_tunnel::relay::Limits::default(),
    }));
    let config = Arc::new(Config::parse("").unwrap());
    let (sessions, metrics) = (Arc::<Sessions>::default(), Arc::<Metrics>::default());
    let contents = Arc::new(Contents::new(folder.path()));
    let distribution =
        Distribution::new(Arc::clone(&fleet), Arc::clone(&sessions), Arc::clone(&metrics), contents);
    (Agents::new(fleet, sessions, distribution, crls, relay, metrics, config), folder)
}

/// Bytes: each is one more agent's for each of thousands.
const TASK: usize = 2304;
