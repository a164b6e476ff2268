//! Tunnels that go on at another relay, as when a new process takes the place of the old.

use std::num::NonZeroUsize;
use std::time::Duration;

use klnet_tunnel::net::initiator::Connection;
use klnet_tunnel::net::lanes::Lanes;
use klnet_tunnel::net::relay::{self, Departure, Moved, Part, RelayEvent, RelayHandle};
use klnet_tunnel::pair::EndReason;
use klnet_tunnel::relay::{Limits, LivePair, RelayRecord, Scope};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::world::{DEVICE, EPOCH, Echo, SERVER, World, echoes};

#[tokio::test]
async fn tunnels_with_flowing_bytes_go_on_at_another_relay() {
    let (mut world, echo) = (World::new().await, Echo::start().await);
    let mut connections = Vec::new();
    for _ in 0..6 {
        connections.push(connect(&world, &echo).await);
    }
    let flowing = connections.into_iter().zip(0..).map(|(open, seed)| tokio::spawn(flow(open, seed)));
    let flowing: Vec<_> = flowing.collect();
    let mut heir = Heir::new();
    let live = adopted(&world.relay, &heir).await;
    assert_eq!(live.len(), 6);
    for (pair, _) in live {
        hand_over(&world.relay, &heir, &pair).await;
    }
    heir.relay.settle().await.unwrap();
    for flowing in flowing {
        flowing.await.unwrap();
    }
    for _ in 0..6 {
        let record = heir.records.recv().await.unwrap();
        assert_eq!(record.end.reason, EndReason::Finished);
        assert!(record.end.to_target > BYTES && record.end.to_initiator > BYTES, "all of it: {record:?}");
    }
    assert!(world.records.try_recv().is_err(), "the old relay records none of them");
}

#[tokio::test]
async fn a_tunnel_revoked_on_its_way_is_closed_when_its_sockets_come() {
    let (world, echo) = (World::new().await, Echo::start().await);
    let mut connection = connect(&world, &echo).await;
    let mut heir = Heir::new();
    let live = adopted(&world.relay, &heir).await;
    heir.relay.revoke(Scope::Grant(live[0].0.grant.id)).await.unwrap();
    echoes(&mut connection.stream, b"still at the old relay").await;
    hand_over(&world.relay, &heir, &live[0].0).await;
    assert!(connection.stream.read(&mut [0; 1]).await.is_err());
    let record = heir.records.recv().await.unwrap();
    assert_eq!(record.end.reason, EndReason::Revoked);
    assert!(record.end.to_target > live[0].1.to_target, "what it moved meanwhile counts");
}

#[tokio::test]
async fn a_tunnel_that_ends_on_its_way_has_its_record_at_the_new_relay() {
    let (mut world, echo) = (World::new().await, Echo::start().await);
    let connection = connect(&world, &echo).await;
    let mut heir = Heir::new();
    let live = adopted(&world.relay, &heir).await;
    drop(connection);
    let parted = world.relay.part(live[0].0.pair, Part::Wait).await.unwrap();
    let Departure::Ended(end) = parted else { panic!("{parted:?}") };
    heir.relay.departed(live[0].0.pair, end).await.unwrap();
    assert_eq!(heir.records.recv().await.unwrap().end, end);
    assert!(world.records.try_recv().is_err());
}

#[tokio::test]
async fn a_tunnel_that_nobody_takes_goes_on_where_it_was() {
    let (mut world, echo) = (World::new().await, Echo::start().await);
    let mut connection = connect(&world, &echo).await;
    let live = world.relay.retire().await.unwrap();
    let parted = world.relay.part(live[0].0.pair, Part::Lift).await.unwrap();
    let Departure::Lifted(lifted, moved) = parted else { panic!("{parted:?}") };
    assert_eq!((moved.to_target, moved.to_initiator), (live[0].1.to_target, live[0].1.to_initiator));
    world.relay.put_back(live[0].0.pair, lifted).await.unwrap();
    world.relay.recover(Vec::new()).await.unwrap();
    echoes(&mut connection.stream, b"as if nothing had been").await;
    finish(connection).await;
    let record = world.records.recv().await.unwrap();
    assert_eq!(record.end.reason, EndReason::Finished);
    assert!(record.end.to_target > moved.to_target);
    world.relay.online(DEVICE, EPOCH).await.unwrap();
    assert!(world.relay.tunnels().await.unwrap().is_empty(), "its grant is void and over");
}

#[tokio::test]
async fn a_relay_that_recovers_hears_of_every_end_it_has_missed() {
    let (mut world, echo) = (World::new().await, Echo::start().await);
    let (ended, lost) = (connect(&world, &echo).await, connect(&world, &echo).await);
    let live = world.relay.retire().await.unwrap();
    drop(ended);
    let parted = world.relay.part(live[1].0.pair, Part::Lift).await.unwrap();
    let Departure::Lifted(lifted, moved) = parted else { panic!("{parted:?}") };
    lifted.reset();
    world.relay.recover(vec![(live[1].0.pair, moved.ended(EndReason::Reset))]).await.unwrap();
    for _ in 0..2 {
        soon(world.records.recv()).await.unwrap();
    }
    drop(lost);
    assert!(world.relay.tunnels().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_never_comes_is_recorded_as_lost() {
    for stops in [false, true] {
        let (world, echo) = (World::new().await, Echo::start().await);
        let _connection = connect(&world, &echo).await;
        let mut heir = Heir::new();
        let live = adopted(&world.relay, &heir).await;
        let shown = heir.relay.tunnels().await.unwrap();
        assert_eq!((shown[0].view.pairs.len(), shown[0].moved[0]), (1, live[0].1), "it is shown meanwhile");
        match stops {
            true => heir.relay.stop().await.unwrap(),
            false => heir.relay.settle().await.unwrap(),
        }
        let record = heir.records.recv().await.unwrap();
        let reason = if stops { EndReason::Shutdown } else { EndReason::Reset };
        assert_eq!((record.end.reason, record.end.to_target), (reason, live[0].1.to_target));
    }
}

/// The relay that takes the other's place, on lanes of its own.
struct Heir {
    relay: RelayHandle,
    records: mpsc::UnboundedReceiver<RelayRecord>,
}

impl Heir {
    fn new() -> Self {
        let core =
            klnet_tunnel::relay::Config { secret: [8; 32], audience: SERVER, limits: Limits::default() };
        let lanes = Lanes::start(NonZeroUsize::new(2).unwrap()).unwrap();
        let (relay, mut events) = relay::start(relay::Config { lanes, ..relay::Config::new(core) });
        let (sender, records) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if let RelayEvent::Record(record) = event {
                    let _ = sender.send(record);
                }
            }
        });
        Self { relay, records }
    }
}

/// Gives the live pairs to the other relay; their sockets stay for now.
async fn adopted(old: &RelayHandle, heir: &Heir) -> Vec<(LivePair, Moved)> {
    let live = old.retire().await.unwrap();
    heir.relay.adopt(live.clone()).await.unwrap();
    live
}

async fn hand_over(old: &RelayHandle, heir: &Heir, live: &LivePair) {
    match old.part(live.pair, Part::Lift).await.unwrap() {
        Departure::Lifted(lifted, moved) => heir.relay.carry(live.pair, lifted, moved).await.unwrap(),
        Departure::Ended(end) => heir.relay.departed(live.pair, end).await.unwrap(),
    }
}

async fn connect(world: &World, echo: &Echo) -> Connection {
    let initiator = world.initiator(world.blob(echo.port).await);
    let mut connection = initiator.connect().await.unwrap();
    echoes(&mut connection.stream, b"open").await;
    connection
}

/// Sends bytes, wants each of them back in order, and ends.
async fn flow(mut connection: Connection, seed: u8) {
    let sent: Vec<u8> =
        (0..BYTES).map(|at| (at.wrapping_mul(31) ^ (at >> 8)).to_be_bytes()[7] ^ seed).collect();
    let (mut reader, mut writer) = tokio::io::split(&mut connection.stream);
    let writing = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let (_, read) = tokio::join!(writing, reader.read_to_end(&mut received));
    read.unwrap();
    assert!(received == sent, "tunnel {seed} lost, repeated or mixed up bytes");
}

async fn finish(mut connection: Connection) {
    connection.stream.shutdown().await.unwrap();
    assert_eq!(connection.stream.read(&mut [0; 1]).await.unwrap(), 0);
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(5), work).await.expect("it takes no time")
}

/// More than is on its way before the pairs are handed over.
const BYTES: u64 = 8_000_000;
