//! Peers that stall, talk nonsense or come in crowds. Connections are set up in real time; then time is virtual, so
//! that deadlines pass as soon as nothing else happens.

use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::process::Command;

use axum::Extension;
use axum::routing::get;
use klnet_wire::id::TenantId;
use klnet_wire::identity::authority::{Authority, Leaf, SERVER_LIFE, make_root};
use klnet_wire::identity::tls::{
    ALPN_AGENT, ALPN_HTTP, Clients, Identity, Shown, client_config, server_config,
};
use klnet_wire::identity::{Role, Trust};
use klnet_wire::signing::SigningKey;
use rustls::pki_types::ServerName;
use std::time::SystemTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use tokio::time::pause;
use tokio_rustls::{TlsConnector, client};

use std::io;

use tokio::time::Instant;

use super::*;

type Stream = client::TlsStream<TcpStream>;

#[tokio::test]
async fn a_request_is_answered_and_says_who_asks() {
    let site = Site::start(Limits::default()).await;
    assert!(site.ask(None).await.unwrap().ends_with("nobody"));
    let operator = site.identity(Role::Operator);
    assert!(site.ask(Some(&operator)).await.unwrap().ends_with("operator"));
    let agent = site.identity(Role::Agent);
    assert!(site.ask(Some(&agent)).await.unwrap().ends_with("agent"));
}

#[tokio::test]
async fn a_certificate_of_another_role_or_fabric_is_refused_by_tls() {
    let (site, other) = (Site::start(Limits::default()).await, Site::start(Limits::default()).await);
    assert!(site.ask(Some(&site.identity(Role::Server))).await.is_err());
    assert!(site.ask(Some(&other.identity(Role::Operator))).await.is_err());
    assert!(site.ask(None).await.is_ok());
}

#[tokio::test]
async fn a_peer_that_stalls_is_cut_at_its_deadline() {
    let site = Site::start(Limits::default()).await;
    let hello = first_flight(&site);
    let half_header = b"GET / HTTP/1.1\r\nHost: x\r\nX: ".to_vec();
    let mut plain = vec![];
    for sent in [vec![], hello[..1].to_vec(), hello[..hello.len() / 2].to_vec(), hello] {
        let mut stream = TcpStream::connect(site.address).await.unwrap();
        stream.write_all(&sent).await.unwrap();
        plain.push(stream);
    }
    let mut secure = vec![];
    for sent in [vec![], b"G".to_vec(), half_header] {
        let mut stream = site.connect(None, &[ALPN_HTTP]).await.unwrap();
        stream.write_all(&sent).await.unwrap();
        stream.flush().await.unwrap();
        secure.push(stream);
    }
    // An exchange makes sure that the listener has taken them all.
    site.ask(None).await.unwrap();
    pause();
    let begun = Instant::now();
    for mut stream in plain {
        until_closed(&mut stream).await;
    }
    for mut stream in secure {
        until_closed(&mut stream).await;
    }
    let limit = TLS_TIMEOUT.max(HEADER_TIMEOUT) + Duration::from_secs(1);
    assert!(begun.elapsed() <= limit, "the last was cut after {:?}", begun.elapsed());
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_kept() {
    let site = Site::start(Limits::default()).await;
    let mut stream = site.connect(None, &[ALPN_HTTP]).await.unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"nobody") {
            answer.push(stream.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
    }
    pause();
    let begun = Instant::now();
    until_closed(&mut stream).await;
    assert!(begun.elapsed() <= HEADER_TIMEOUT + Duration::from_secs(1));
}

#[tokio::test]
async fn nonsense_ends_its_own_connection_only() {
    let site = Site::start(Limits::default()).await;
    let mut held = site.connect(None, &[ALPN_HTTP]).await.unwrap();
    let mut seed = 1_u64;
    for _ in 0..200 {
        let mut stream = TcpStream::connect(site.address).await.unwrap();
        let noise: Vec<u8> = (0..400).map(|_| next(&mut seed)).collect();
        // The server may have hung up before everything was written.
        let _ = stream.write_all(&noise).await;
        let _ = stream.shutdown().await;
        until_closed(&mut stream).await;
    }
    for nonsense in
        [&b"\x00\xff\x00\n\n\n"[..], b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /"]
    {
        let mut stream = site.connect(None, &[ALPN_HTTP]).await.unwrap();
        stream.write_all(nonsense).await.unwrap();
        stream.shutdown().await.unwrap();
        until_closed(&mut stream).await;
    }
    held.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    held.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_header_beyond_the_limit_is_refused() {
    let site = Site::start(Limits::default()).await;
    let mut stream = site.connect(None, &[ALPN_HTTP]).await.unwrap();
    let header = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(2 * HEADER_LIMIT));
    let _ = stream.write_all(header.as_bytes()).await;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(!answer.contains(" 200 "), "{answer}");
    assert!(site.ask(None).await.is_ok());
}

#[tokio::test]
async fn tls_1_2_and_other_protocols_are_refused() {
    let site = Site::start(Limits::default()).await;
    assert!(site.connect(None, &[ALPN_AGENT]).await.is_err());
    assert!(site.connect(None, &[b"h2"]).await.is_err());
    assert!(site.connect(None, &[ALPN_HTTP]).await.is_ok());
    // A ClientHello without supported_versions offers TLS 1.2 at most (RFC 8446, 4.2.1).
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    stream.write_all(&hello_of_tls_1_2()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 70], "a fatal protocol_version alert");
}

#[tokio::test]
async fn a_source_has_only_so_many_connections() {
    let site = Site::start(Limits { connections: 100, per_source: 3 }).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(site.connect(None, &[ALPN_HTTP]).await.unwrap());
    }
    assert!(site.connect(None, &[ALPN_HTTP]).await.is_err(), "the fourth is closed before TLS");
    drop(held.pop());
    until(async || site.ask(None).await.is_ok()).await;
}

#[tokio::test]
async fn the_listener_has_only_so_many_connections() {
    let site = Site::start(Limits { connections: 2, per_source: 100 }).await;
    let held =
        [site.connect(None, &[ALPN_HTTP]).await.unwrap(), site.connect(None, &[ALPN_HTTP]).await.unwrap()];
    assert!(site.connect(None, &[ALPN_HTTP]).await.is_err());
    drop(held);
    until(async || site.ask(None).await.is_ok()).await;
}

#[tokio::test]
async fn a_crowd_of_stalled_peers_leaves_others_unaffected() {
    let site = Site::start(Limits { connections: 200, per_source: 50 }).await;
    let mut crowd = Vec::new();
    for _ in 0..500 {
        crowd.push(TcpStream::connect(site.address).await.unwrap());
    }
    assert!(site.ask(None).await.is_err(), "the crowd's own source is at its cap");
    let elsewhere = TcpSocket::new_v4().unwrap();
    elsewhere.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let other = elsewhere.connect(site.address).await.unwrap();
    assert!(site.secure(None, &[ALPN_HTTP], other).await.is_ok());
    pause();
    let begun = Instant::now();
    for mut stalled in crowd {
        until_closed(&mut stalled).await;
    }
    assert!(begun.elapsed() <= TLS_TIMEOUT + Duration::from_secs(1), "{:?}", begun.elapsed());
    tokio::time::resume();
    until(async || site.ask(None).await.is_ok()).await;
}

#[tokio::test]
async fn a_panic_ends_its_own_connection_only() {
    let site = Site::start(Limits::default()).await;
    let mut held = site.connect(None, &[ALPN_HTTP]).await.unwrap();
    let mut stream = site.connect(None, &[ALPN_HTTP]).await.unwrap();
    stream.write_all(b"GET /panic HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    until_closed(&mut stream).await;
    held.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    held.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("nobody"));
    assert!(site.ask(None).await.is_ok());
}

#[tokio::test]
async fn shutdown_closes_idle_connections_and_the_port() {
    let site = Site::start(Limits::default()).await;
    let mut idle = site.connect(None, &[ALPN_HTTP]).await.unwrap();
    site.shutdown.cancel();
    until_closed(&mut idle).await;
    site.serving.await.unwrap();
    assert!(TcpStream::connect(site.address).await.is_err());
}

/// Runs in a process of its own, since the limit is the whole process's.
#[test]
fn without_descriptors_the_listener_waits_and_serves_again() {
    if std::env::var_os(FEW_DESCRIPTORS).is_some() {
        return tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(exhausted());
    }
    let name = "api::http::tests::without_descriptors_the_listener_waits_and_serves_again";
    let test = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(FEW_DESCRIPTORS, "1")
        .output()
        .unwrap();
    assert!(
        test.status.success(),
        "{}{}",
        String::from_utf8_lossy(&test.stdout),
        String::from_utf8_lossy(&test.stderr)
    );
}

async fn exhausted() {
    let site = Site::start(Limits::default()).await;
    site.ask(None).await.unwrap();
    // The sockets of connections that wait to be accepted take no descriptor of the listener, so the kernel's queue
    // fills while accept(2) fails.
    let limit = rustix::process::Rlimit { current: Some(64), maximum: Some(64) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    let mut waiting = TcpStream::connect(site.address).await.unwrap();
    let stat = std::fs::File::open("/proc/self/stat").unwrap();
    let mut hoard = Vec::new();
    while let Ok(descriptor) = stat.as_fd().try_clone_to_owned() {
        hoard.push(descriptor);
    }
    waiting.write_all(&first_flight(&site)).await.unwrap();
    let used = processor_time(&stat);
    assert!(
        timeout(Duration::from_secs(2), waiting.read_u8()).await.is_err(),
        "accepted without a descriptor"
    );
    assert!(processor_time(&stat) - used < Duration::from_millis(200), "the loop spins");
    drop(hoard);
    let served = timeout(Duration::from_secs(3), waiting.read_u8()).await;
    assert_eq!(served.expect("serves again within 3 s").unwrap(), 22, "a handshake record");
}

const FEW_DESCRIPTORS: &str = "KLNET_TEST_FEW_DESCRIPTORS";

/// What this process has used so far, from /proc/self/stat (proc_pid_stat(5)): fields 14 and 15, in hundredths.
fn processor_time(mut stat: &std::fs::File) -> Duration {
    let mut text = String::new();
    stat.rewind().unwrap();
    stat.read_to_string(&mut text).unwrap();
    let after_name = text.rsplit_once(')').unwrap().1;
    let ticks = after_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap());
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// A listener with one route, and the authority its peers are certified by.
struct Site {
    address: SocketAddr,
    trust: Trust,
    authority: Authority,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Site {
    async fn start(limits: Limits) -> Self {
        let (root_key, now) = (SigningKey::generate_p256(), SystemTime::now());
        let trust = make_root(&root_key, now).unwrap();
        let authority = Authority::make(trust.clone(), &root_key, SigningKey::generate_p256(), now).unwrap();
        let clients = Clients::Optional(&[Role::Agent, Role::Operator]);
        let tls = server_config(
            &Shown::new(&issue(&authority, Role::Server)),
            trust.clone(),
            None,
            clients,
            &[ALPN_HTTP],
        )
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(who)).route("/panic", get(fault));
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, tls, limits, router, shutdown.clone()));
        Self { address, trust, authority, shutdown, serving }
    }

    fn identity(&self, role: Role) -> Identity {
        issue(&self.authority, role)
    }

    async fn connect(&self, identity: Option<&Identity>, alpn: &[&[u8]]) -> io::Result<Stream> {
        self.secure(identity, alpn, TcpStream::connect(self.address).await?).await
    }

    async fn secure(
        &self,
        identity: Option<&Identity>,
        alpn: &[&[u8]],
        stream: TcpStream,
    ) -> io::Result<Stream> {
        let config = client_config(identity, self.trust.clone(), alpn).unwrap();
        TlsConnector::from(config).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    async fn ask(&self, identity: Option<&Identity>) -> io::Result<String> {
        let mut stream = self.connect(identity, &[ALPN_HTTP]).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

async fn who(Extension(peer): Extension<Peer>) -> String {
    peer.principal.map_or("nobody".to_owned(), |principal| principal.role.to_string())
}

async fn fault() {
    panic!("as a handler with a fault would");
}

fn issue(authority: &Authority, role: Role) -> Identity {
    let (fabric, tenant, key) = (authority.trust().fabric(), TenantId::random(), SigningKey::generate_p256());
    let principal = Principal { fabric, tenant, role, id: [7; 16], serial: Vec::new() };
    let leaf = Leaf::new(principal, vec!["localhost".into()], SystemTime::now(), SERVER_LIFE);
    Identity { chain: authority.issue(key.public(), &leaf).unwrap(), key }
}

/// A whole ClientHello, as the first thing on the wire.
fn first_flight(site: &Site) -> Vec<u8> {
    let config = client_config(None, site.trust.clone(), &[ALPN_HTTP]).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = rustls::ClientConnection::new(config, name).unwrap();
    let mut flight = Vec::new();
    connection.write_tls(&mut flight).unwrap();
    flight
}

fn hello_of_tls_1_2() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([9; 32]); // random
    body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]); // no session, one suite, no compression
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 23][..], // supported_groups: secp256r1
        &[0, 13, 0, 4, 0, 2, 4, 3],      // signature_algorithms: ecdsa_secp256r1_sha256
    ]
    .concat();
    body.extend([0, u8::try_from(extensions.len()).unwrap()]);
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

async fn until_closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    // An alert or an error page may come first, and a reset is an end too.
    while stream.read_u8().await.is_ok() {}
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..10_000 {
        if holds().await {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never came to hold");
}

#[allow(clippy::cast_possible_truncation)] // one byte of noise is wanted
fn next(seed: &mut u64) -> u8 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed as u8
}
