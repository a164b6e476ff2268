//! Out of file descriptors: in a test process of its own, since the limit is the process's.

#![cfg(feature = "net")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "loopback/stage.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod stage;

use std::fs::File;

use klnet_ksnproxy::frame::{Header, Op, encode_query};
use klnet_ksnproxy::net::client::Datagrams;
use klnet_ksnproxy::verdict::Reputation;
use klnet_wire::identity::tls::client_config;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustls_pki_types::ServerName;
use stage::Stage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_datagrams_are_answered_and_connections_wait_until_there_are_some() {
    let stage = Stage::start(|mut config| {
        config.allow_plain = true;
        config
    })
    .await;
    let addresses = stage.proxy().addresses();
    let mut datagrams = Datagrams::connect("127.0.0.1", addresses.udp.port(), None).await.unwrap();
    assert_eq!(datagrams.query(&[stage::key(1)]).await.unwrap()[0].reputation, Reputation::Malicious);
    let (tcp, https) = (TcpSocket::new_v4().unwrap(), TcpSocket::new_v4().unwrap());

    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(128);
    setrlimit(Resource::Nofile, limit).unwrap();
    let hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(!hoard.is_empty());
    // The kernel takes the connections; the proxy cannot.
    let mut tcp = tcp.connect(addresses.tcp).await.unwrap();
    let https = https.connect(addresses.https.unwrap()).await.unwrap();
    let mut query = Vec::new();
    encode_query(0, 7, &[stage::key(1)], &mut query);
    tcp.write_all(&query).await.unwrap();
    for n in 1..=100 {
        let said = datagrams.query(&[stage::key(n)]).await.unwrap()[0].reputation;
        assert_eq!(said, Reputation::Malicious, "its upstream is connected, its cache is full");
    }
    assert_eq!(tcp.try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);

    drop(hoard);
    let mut answer = [0; Header::LENGTH + 16];
    tcp.read_exact(&mut answer).await.unwrap();
    assert_eq!(Header::parse(&answer).unwrap().op, Op::Answer);
    let (identity, trust) = stage.device();
    let tls = client_config(Some(&identity), trust, &[b"http/1.1"]).unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    assert!(TlsConnector::from(tls).connect(name, https).await.is_ok());
}
