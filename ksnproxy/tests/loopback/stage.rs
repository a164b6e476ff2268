//! A fabric, a proxy and a reputation server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use klnet_ksnproxy::counters::Counts;
use klnet_ksnproxy::frame::{Prefix, Reason};
use klnet_ksnproxy::limiter::Rate;
use klnet_ksnproxy::net::client::Secure;
use klnet_ksnproxy::net::server::{Question, Reply, Server};
use klnet_ksnproxy::net::service::{Config, Service};
use klnet_ksnproxy::subject::{Digest, Key, Subject};
use klnet_ksnproxy::verdict::{Category, Reputation, Verdict};
use klnet_wire::id::TenantId;
use klnet_wire::identity::authority::{Authority, Leaf, make_root};
use klnet_wire::identity::tls::Identity;
use klnet_wire::identity::{Principal, Role, Trust};
use klnet_wire::net::https::Client;
use klnet_wire::place::Place;
use klnet_wire::signing::SigningKey;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};
use tokio_util::sync::CancellationToken;

/// A proxy with an upstream.
pub(crate) struct Stage {
    pub(crate) cloud: Cloud,
    fabric: Fabric,
    proxy: Service,
}

/// A reputation server that knows every hash of one byte, repeated, from 1 to 100.
pub(crate) struct Cloud {
    address: SocketAddr,
    seen: Arc<Seen>,
    shutdown: CancellationToken,
    server: Server,
}

#[derive(Default)]
struct Seen {
    asked: AtomicU64,
    prefixes: Mutex<Vec<Prefix>>,
    lies: AtomicBool,
    gate: Arc<RwLock<()>>,
}

struct Fabric {
    authority: Authority,
    trust: Trust,
}

impl Stage {
    pub(crate) async fn start(change: impl FnOnce(Config) -> Config) -> Self {
        let fabric = Fabric::new();
        let cloud = Cloud::start(&fabric, ([127, 0, 0, 1], 0).into(), Arc::default()).await;
        let identity = Some((fabric.issue(Role::Server), fabric.trust.clone()));
        let upstreams = vec![place(cloud.address)];
        let config = Config { upstreams, ..loopback(identity) };
        Self { proxy: Service::start(change(config)).unwrap(), cloud, fabric }
    }

    /// Starts a proxy beside the first, of the same fabric.
    pub(crate) fn beside(&self, change: impl FnOnce(Config) -> Config) -> Service {
        let identity = Some((self.fabric.issue(Role::Server), self.fabric.trust.clone()));
        Service::start(change(Config { upstreams: Vec::new(), ..loopback(identity) })).unwrap()
    }

    /// Has somebody answer on 1443 as `answer` says.
    pub(crate) async fn server<A, F>(&self, answer: A) -> (SocketAddr, CancellationToken)
    where
        A: Fn(Question) -> F + Clone + Send + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        tokio::spawn(self.cloud.server.clone().serve(listener, answer, shutdown.clone()));
        (address, shutdown)
    }

    pub(crate) const fn proxy(&self) -> &Service {
        &self.proxy
    }

    pub(crate) fn device(&self) -> (Identity, Trust) {
        (self.fabric.issue(Role::Agent), self.fabric.trust.clone())
    }

    pub(crate) async fn secure(&self) -> Secure {
        let (identity, trust) = self.device();
        Secure::connect("127.0.0.1", self.proxy.addresses().tcp.port(), &identity, trust).await.unwrap()
    }

    pub(crate) fn https(&self) -> Client {
        let (identity, trust) = self.device();
        Client::with_identity(&self.url(), &identity, trust).unwrap()
    }

    pub(crate) fn anonymous_https(&self) -> Client {
        Client::anonymous(&self.url(), self.fabric.trust.clone()).unwrap()
    }

    /// Waits until the counters are so.
    pub(crate) async fn until(&self, so: impl Fn(&Counts) -> bool) {
        until(async || so(&self.proxy.counts().0)).await;
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.proxy.addresses().https.unwrap().port())
    }
}

impl Cloud {
    async fn start(fabric: &Fabric, address: SocketAddr, seen: Arc<Seen>) -> Self {
        let server = Server::new(&fabric.issue(Role::Server), &fabric.trust, None).unwrap();
        Self::run(server, address, seen).await
    }

    pub(crate) async fn restart(stopped: &Self) -> Self {
        Self::run(stopped.server.clone(), stopped.address, Arc::clone(&stopped.seen)).await
    }

    async fn run(server: Server, address: SocketAddr, seen: Arc<Seen>) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let answering = Arc::clone(&seen);
        let answer = move |question| answer(question, Arc::clone(&answering));
        tokio::spawn(server.clone().serve(listener, answer, shutdown.clone()));
        Self { address, seen, shutdown, server }
    }

    /// No question is answered before the gate is dropped.
    pub(crate) fn close(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.seen.gate).try_write_owned().unwrap()
    }

    /// From now on there is one verdict more than keys, each of them clean.
    pub(crate) fn lie(&self, lies: bool) {
        self.seen.lies.store(lies, Ordering::Relaxed);
    }

    pub(crate) fn stop(&self) {
        self.shutdown.cancel();
    }

    pub(crate) fn asked(&self) -> u64 {
        self.seen.asked.load(Ordering::Relaxed)
    }

    pub(crate) async fn wait_for(&self, asked: u64) {
        until(async || self.asked() >= asked).await;
    }

    pub(crate) fn longest_prefix(&self) -> Option<u8> {
        self.seen.prefixes.lock().unwrap().iter().map(|prefix| prefix.bits).max()
    }
}

impl Fabric {
    fn new() -> Self {
        let now = SystemTime::now();
        let root = SigningKey::generate_p256();
        let trust = make_root(&root, now).unwrap();
        let authority = Authority::make(trust.clone(), &root, SigningKey::generate_p256(), now).unwrap();
        Self { authority, trust }
    }

    fn issue(&self, role: Role) -> Identity {
        let key = SigningKey::generate_p256();
        let principal = Principal {
            fabric: self.trust.fabric(),
            tenant: TenantId::new([0; 16]),
            role,
            id: *TenantId::random().as_bytes(),
            serial: Vec::new(),
        };
        let leaf =
            Leaf::new(principal, vec!["127.0.0.1".to_owned()], SystemTime::now(), Duration::from_hours(24));
        Identity { chain: self.authority.issue(key.public(), &leaf).unwrap(), key }
    }
}

pub(crate) fn place(address: SocketAddr) -> Place {
    Place { host: address.ip().to_string(), port: address.port(), device: None }
}

fn loopback(identity: Option<(Identity, Trust)>) -> Config {
    Config {
        listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
        udp_port: 0,
        tcp_port: 0,
        https_port: Some(0),
        identity,
        cache: 1 << 20,
        workers: 2,
        connections: 1000,
        tickets: 1000,
        ticket_lifetime: 3600,
        rate: Rate { keys: 0, burst: 0 },
        ..Config::default()
    }
}

async fn answer(question: Question, seen: Arc<Seen>) -> Reply {
    match &question {
        Question::Keys(keys) => seen.asked.fetch_add(keys.len() as u64, Ordering::Relaxed),
        Question::Prefix(prefix) => {
            seen.prefixes.lock().unwrap().push(*prefix);
            seen.asked.fetch_add(1, Ordering::Relaxed)
        }
        Question::Fetch(_) => 0,
    };
    drop(seen.gate.read().await);
    if seen.lies.load(Ordering::Relaxed) {
        let clean = Verdict { reputation: Reputation::Clean, ..Verdict::unknown(Duration::from_hours(1)) };
        return Reply::Verdicts(vec![clean; 9]);
    }
    match question {
        Question::Keys(keys) => Reply::Verdicts(keys.iter().map(verdict).collect()),
        Question::Prefix(prefix) => {
            let keys = (1..=100).map(key).filter(|key| prefix.is_of(key));
            Reply::Matches(keys.map(|key| (key, verdict(&key))).collect())
        }
        Question::Fetch(_) => Reply::Refused(Reason::Op),
    }
}

fn verdict(asked: &Key) -> Verdict {
    let unknown = Verdict::unknown(Duration::from_hours(1));
    if (1..=100).any(|n| key(n) == *asked) {
        Verdict { reputation: Reputation::Malicious, category: Category::Malware, confidence: 90, ..unknown }
    } else {
        unknown
    }
}

pub(crate) fn key(n: u8) -> Key {
    Subject::File(Digest::Sha256([n; 32]), None).key()
}

pub(crate) fn unknown() -> Key {
    key(200)
}

pub(crate) fn hash(n: u8) -> String {
    Digest::Sha256([n; 32]).to_string()
}

/// Asks until it is so; a test that waits for ever is ended by who runs it.
pub(crate) async fn until(mut so: impl AsyncFnMut() -> bool) {
    while !so().await {
        tokio::task::yield_now().await;
    }
}
