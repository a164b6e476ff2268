//! What the command does while the network, the server or the device is away.

use std::time::{Duration, Instant};

use klnet_tunnel::blob::Blob;
use klnet_tunnel::relay::Scope;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use crate::world::{Echo, echoes};
use crate::{Bench, Events};

#[tokio::test]
async fn a_connection_waits_until_the_device_is_back_and_says_so() {
    let (bench, echo) = (Bench::new().await, Echo::start().await);
    let mut command = bench.command(&["--json", &format!("web-7:{}", echo.port)]).spawn().unwrap();
    let mut events = Events::of(&mut command);
    let address = events.listening().await;
    echoes(&mut TcpStream::connect(&address).await.unwrap(), b"before").await;
    bench.world.relay.revoke(Scope::All).await.unwrap();
    bench.api.refuse_with(OFFLINE);
    let mut first = TcpStream::connect(&address).await.unwrap();
    let waiting = events.next_of("waiting").await;
    assert!(waiting["why"].as_str().unwrap().contains("refused with 503"), "{waiting}");
    assert!(waiting["retry_in_seconds"].as_f64().unwrap() <= 0.25, "{waiting}");
    let mut second = TcpStream::connect(&address).await.unwrap();
    bench.api.refuse_with(0);
    let reconnected = events.next_of("reconnected").await;
    assert!(reconnected["after_seconds"].as_f64().unwrap() < 10.0, "{reconnected}");
    echoes(&mut first, b"it waited").await;
    echoes(&mut second, b"and so did another").await;
    assert_eq!(bench.api.grants(), 2, "one grant for both");
}

#[tokio::test]
async fn a_connection_is_reset_with_the_reason_once_patience_is_over() {
    let (bench, echo) = (Bench::new().await, Echo::start().await);
    for (patience, waits) in [("1s", true), ("0", false)] {
        bench.api.refuse_with(0);
        let target = format!("web-7:{}", echo.port);
        let mut command = bench.command(&["--json", "--patience", patience, &target]).spawn().unwrap();
        let mut events = Events::of(&mut command);
        let address = events.listening().await;
        bench.world.relay.revoke(Scope::All).await.unwrap();
        bench.api.refuse_with(OFFLINE);
        let begun = Instant::now();
        let mut local = TcpStream::connect(&address).await.unwrap();
        let event = events.next().await;
        assert_eq!(event["event"], if waits { "waiting" } else { "failed" });
        let failed = if waits { events.next_of("failed").await } else { event };
        assert!(failed["why"].as_str().unwrap().contains("refused with 503"), "{failed}");
        assert!(local.read(&mut [0; 1]).await.is_err(), "reset");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn what_waiting_cannot_heal_fails_at_once() {
    let (bench, echo) = (Bench::new().await, Echo::start().await);
    let mut command = bench.command(&["--json", &format!("web-7:{}", echo.port)]).spawn().unwrap();
    let mut events = Events::of(&mut command);
    let address = events.listening().await;
    bench.world.relay.revoke(Scope::All).await.unwrap();
    bench.api.refuse_with(DENIED);
    let mut local = TcpStream::connect(&address).await.unwrap();
    assert_eq!(events.next().await["event"], "failed", "no role, no patience");
    assert!(local.read(&mut [0; 1]).await.is_err(), "reset");
    bench.api.refuse_with(0);
    let mut local = TcpStream::connect(&address).await.unwrap();
    echoes(&mut local, b"and it goes on once that has changed").await;
}

#[tokio::test]
async fn a_pasted_session_outlives_a_relay_that_cannot_be_reached() {
    let (bench, echo) = (Bench::new().await, Echo::start().await);
    let (gate, passing) = gate(bench.world.tunnel_port).await;
    let blob = Blob { ports: vec![gate], ..bench.world.blob(echo.port).await };
    let mut command = bench.command(&["--json", "--ready", "0", &blob.to_string()]).spawn().unwrap();
    let mut events = Events::of(&mut command);
    let address = events.listening().await;
    echoes(&mut TcpStream::connect(&address).await.unwrap(), b"before").await;
    passing.abort();
    assert!(passing.await.unwrap_err().is_cancelled());
    let mut local = TcpStream::connect(&address).await.unwrap();
    let waiting = events.next_of("waiting").await;
    assert!(waiting["why"].as_str().unwrap().contains("cannot reach the relay"), "{waiting}");
    let _again = pass(TcpListener::bind(("127.0.0.1", gate)).await.unwrap(), bench.world.tunnel_port);
    echoes(&mut local, b"it waited").await;
}

/// A way to the relay that can be shut, and its port.
async fn gate(relay: u16) -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap().port(), pass(listener, relay))
}

fn pass(listener: TcpListener, relay: u16) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", relay)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    })
}

/// HTTP: the server cannot do it now.
const OFFLINE: u16 = 503;
/// HTTP: the operator may not.
const DENIED: u16 = 403;
