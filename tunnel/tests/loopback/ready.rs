//! Connections that are kept ready, over real sockets: used, replaced, given up.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use klnet_tunnel::blob::Blob;
use klnet_tunnel::net::initiator::{ConnectError, Connection};
use klnet_tunnel::net::ready::{Config, Ready};
use klnet_tunnel::pair::EndReason;
use klnet_tunnel::relay::Scope;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::soon;
use crate::wiretap::Wiretap;
use crate::world::{Echo, World, echoes};

#[tokio::test]
async fn a_further_connection_takes_one_that_was_there_before() {
    let (world, echo) = (World::new().await, Echo::start().await);
    let ready = ready(&world, world.blob(echo.port).await);
    let mut first = ready.connect().await.unwrap();
    let before = verified(&world, 3).await;
    assert_eq!(echo.accepted(), 1, "no packet to the service before GO");
    let mut second = ready.connect().await.unwrap();
    assert!(before.contains(&address(&second)));
    echoes(&mut first.stream, b"first").await;
    echoes(&mut second.stream, b"second").await;
    let after = verified(&world, 4).await;
    assert_eq!(after.difference(&before).count(), 1, "another took its place");
}

#[tokio::test]
async fn those_that_were_cut_are_replaced_and_nobody_notices() {
    let (world, echo) = (World::new().await, Echo::start().await);
    let wire = Wiretap::start(world.tunnel_port, usize::MAX).await;
    let blob = Blob { ports: vec![wire.port], ..world.blob(echo.port).await };
    let ready = ready(&world, blob);
    let _first = ready.connect().await.unwrap();
    let before = verified(&world, 3).await;
    wire.cut();
    // At once, while the news is on its way, and again when it has come.
    let mut second = ready.connect().await.unwrap();
    echoes(&mut second.stream, b"second").await;
    soon(async { while !verified(&world, 3).await.is_disjoint(&before) {} }).await;
    let mut third = ready.connect().await.unwrap();
    echoes(&mut third.stream, b"third").await;
}

#[tokio::test]
async fn those_whose_way_was_cut_silently_are_passed_over() {
    let (world, echo) = (World::new().await, Echo::start().await);
    let wire = Wiretap::start(world.tunnel_port, usize::MAX).await;
    let blob = Blob { ports: vec![wire.port], ..world.blob(echo.port).await };
    let ready = ready(&world, blob);
    let _first = ready.connect().await.unwrap();
    verified(&world, 3).await;
    wire.silence();
    let asked = Instant::now();
    let mut second = ready.connect().await.unwrap();
    echoes(&mut second.stream, b"second").await;
    assert!(asked.elapsed() < Duration::from_secs(10), "one is waited for, the others are not");
}

#[tokio::test]
async fn ready_connections_leave_the_grants_connections_to_those_in_use() {
    for connections in [1, 2, 3] {
        let (world, echo) = (World::new().await, Echo::start().await);
        let ready = ready(&world, limited(&world, echo.port, connections).await);
        for round in 0..5 {
            let mut open = Vec::new();
            for _ in 0..connections {
                let mut connection = patiently(&ready).await;
                echoes(&mut connection.stream, b"hello").await;
                open.push(connection);
            }
            assert!(ready.connect().await.is_err(), "{connections} {round}: the grant allows no more");
            for connection in open {
                finish(connection).await;
            }
        }
    }
}

#[tokio::test]
async fn many_at_once_come_about_with_what_is_ready_and_without() {
    let (world, echo) = (World::new().await, Echo::start().await);
    let ready = Arc::new(ready(&world, limited(&world, echo.port, 12).await));
    let _first = ready.connect().await.unwrap();
    verified(&world, 3).await;
    let mut many = JoinSet::new();
    for number in 0..8 {
        let ready = ready.clone();
        many.spawn(async move {
            let mut connection = ready.connect().await.unwrap();
            echoes(&mut connection.stream, &[number; 1000]).await;
            connection
        });
    }
    assert_eq!(many.join_all().await.len(), 8);
}

#[tokio::test]
async fn one_that_was_not_needed_is_recorded_as_finished_at_both_ends() {
    let (mut world, echo) = (World::new().await, Echo::start().await);
    let ready = ready(&world, world.blob(echo.port).await);
    let _first = ready.connect().await.unwrap();
    verified(&world, 3).await;
    drop(ready);
    for _ in 0..2 {
        let (at_relay, at_target) = (soon(world.records.recv()).await, soon(world.signed.recv()).await);
        assert_eq!(at_relay.unwrap().end.reason, EndReason::Finished);
        let at_target = at_target.unwrap();
        assert_eq!((at_target.reason, at_target.resolved), (EndReason::Finished, None));
    }
}

#[tokio::test]
async fn a_session_that_is_over_is_no_stale_connection() {
    let (world, echo) = (World::new().await, Echo::start().await);
    let ready = ready(&world, world.blob(echo.port).await);
    let _first = ready.connect().await.unwrap();
    verified(&world, 3).await;
    world.relay.revoke(Scope::All).await.unwrap();
    let over = soon(ready.connect()).await.unwrap_err();
    assert!(over.wants_another_grant(), "{over}");
}

#[tokio::test]
async fn who_gives_up_waiting_leaves_the_place_to_others() {
    let (world, echo) = (World::new().await, Echo::start().await);
    let ready = ready(&world, limited(&world, echo.port, 2).await);
    let _first = ready.connect().await.unwrap();
    for _ in 0..20 {
        let mut waiting = std::pin::pin!(ready.connect());
        tokio::select! {
            biased;
            connected = &mut waiting => drop(connected),
            () = tokio::task::yield_now() => {}
        }
    }
    let mut connection = patiently(&ready).await;
    echoes(&mut connection.stream, b"hello").await;
}

#[tokio::test]
async fn without_any_to_be_kept_none_is() {
    let (world, echo) = (World::new().await, Echo::start().await);
    let initiator = world.initiator(world.blob(echo.port).await);
    let ready = Ready::new(initiator, Config { streams: 0, ..Config::default() });
    let mut connection = ready.connect().await.unwrap();
    echoes(&mut connection.stream, b"hello").await;
    assert_eq!(verified(&world, 1).await.len(), 1);
}

fn ready(world: &World, blob: Blob) -> Ready {
    Ready::new(world.initiator(blob), Config::default())
}

async fn limited(world: &World, port: u16, connections: u32) -> Blob {
    let mut grant = world.grant(port);
    grant.connections = NonZeroU32::new(connections).unwrap();
    world.mint(grant).await
}

/// Waits until `wanted` connections are verified, and gives where they come from.
async fn verified(world: &World, wanted: usize) -> BTreeSet<SocketAddr> {
    let verified = async {
        loop {
            let tunnels = world.relay.tunnels().await.unwrap();
            let pairs = tunnels.iter().flat_map(|tunnel| &tunnel.view.pairs).filter(|pair| pair.verified);
            let found: BTreeSet<_> = pairs.map(|pair| pair.initiator).collect();
            if found.len() == wanted {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(verified).await
}

fn address(connection: &Connection) -> SocketAddr {
    connection.stream.get_ref().0.local_addr().unwrap()
}

/// Connects although relay and device may not have seen the end of the last ones yet.
async fn patiently(ready: &Ready) -> Connection {
    let connected = async {
        loop {
            match ready.connect().await {
                Ok(connection) => return connection,
                Err(ConnectError::NotJoined | ConnectError::KeyRefused | ConnectError::Refused { .. }) => {
                    tokio::task::yield_now().await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    soon(connected).await
}

async fn finish(mut connection: Connection) {
    connection.stream.shutdown().await.unwrap();
    assert_eq!(connection.stream.read(&mut [0; 1]).await.unwrap(), 0);
}
