//! A server that lets go of its store and has it back, or not.

use std::future::ready;
use std::net::Ipv4Addr;

use klnet_tunnel::net::relay::Stopped;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn whoever_comes_while_a_server_is_suspended_waits_and_is_served_after() {
    let (running, folder) = running().await;
    let metrics = running.ground().listeners.metrics.as_ref().unwrap().local_addr().unwrap();
    let suspended = running.suspend().await;
    let mut waiting = TcpStream::connect(metrics).await.unwrap();
    waiting.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    drop(open_store(folder.path()).expect("another process may have the store"));
    let Ok(running) = suspended.resume(Vec::new()).await else { panic!("the store is free again") };
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn a_server_can_be_suspended_again_and_again() {
    let (mut running, _folder) = running().await;
    for _ in 0..3 {
        let Ok(resumed) = running.suspend().await.resume(Vec::new()).await else {
            panic!("nobody has the store")
        };
        running = resumed;
    }
    running.stop().await;
}

#[tokio::test]
async fn a_server_that_cannot_have_its_store_back_says_so_and_lets_its_tunnels_end() {
    let (running, folder) = running().await;
    let suspended = running.suspend().await;
    let _other = open_store(folder.path()).unwrap();
    let Err((suspended, error)) = suspended.resume(Vec::new()).await else { panic!("the store is taken") };
    assert!(matches!(error, StartError::Store(OpenError::Locked { .. })), "{error}");
    let relay = suspended.ground.relay.clone();
    assert_eq!(suspended.drain(ready(())).await, 0);
    assert_eq!(relay.tunnels().await.unwrap_err(), Stopped);
}

async fn running() -> (Running, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    Fabric::init(folder.path(), std::time::SystemTime::now()).unwrap();
    let config = Config {
        state: folder.path().to_owned(),
        hosts: vec!["127.0.0.1".into()],
        bind: Ipv4Addr::LOCALHOST.into(),
        https_port: 0,
        agent_ports: vec![0],
        tunnel_ports: vec![0],
        metrics: Some((Ipv4Addr::LOCALHOST, 0).into()),
        ..Config::parse("").unwrap()
    };
    (Service::start(config).await.unwrap().serve().await, folder)
}
