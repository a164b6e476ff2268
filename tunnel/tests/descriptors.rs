//! Out of file descriptors: in a test process of its own, since the limit is the process's.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use std::fs::File;
use std::time::{Duration, Instant};

use klnet_tunnel::net::accept::Acceptor;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn a_listener_serves_again_within_three_seconds_of_a_shortage() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(64);
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut acceptor = Acceptor::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = acceptor.local_addr().unwrap();
    let client = TcpStream::connect(address).await.unwrap();
    let hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let starved = tokio::time::timeout(Duration::from_millis(500), acceptor.accept()).await;
    assert!(starved.is_err(), "there is no descriptor to accept with");
    drop(hoard);
    let freed = Instant::now();
    let (_, peer) = acceptor.accept().await;
    assert_eq!(peer, client.local_addr().unwrap());
    assert!(freed.elapsed() < Duration::from_secs(3), "{:?}", freed.elapsed());
}
