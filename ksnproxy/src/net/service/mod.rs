//! A proxy: its ports bound, its threads started, until it is told to stop.

mod config;
mod sockets;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use klnet_wire::identity::Trust;
use klnet_wire::identity::tls::Identity;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::credentials::Credentials;
use super::desk::Desk;
use super::fetch::Fetch;
use super::inbox::inbox;
use super::local::{LoadError, Local};
use super::replicator::Replicator;
use super::seats::Seats;
pub use super::snapshot_file::{Replication, SnapshotFile};
use super::upstream::Upstream;
use super::worker::Worker;
use super::{https, tls};
use crate::cache::Cache;
use crate::cookie::Cookies;
use crate::counters::{Counters, Counts};
use crate::limiter::Limiter;
use crate::proxy::{self, Proxy};
use crate::responder::{Responder, Shared};
use crate::snapshot::{Replica, ReplicaError};
use crate::ticket::Tickets;
pub use config::Config;
use sockets::{bind, listen};

/// A proxy that runs; it stops when it is dropped.
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
    /// None without an identity.
    credentials: Option<Arc<Credentials>>,
    counters: Vec<Arc<Counters>>,
    /// When the snapshot was last known to be the newest.
    checked: Arc<AtomicU32>,
    addresses: Addresses,
    stop: Arc<AtomicBool>,
    shutdown: CancellationToken,
    workers: Vec<JoinHandle<()>>,
    runtime: Option<Runtime>,
}

/// Where a proxy listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Datagrams.
    pub udp: SocketAddr,
    /// The codec on TCP, and TLS.
    pub tcp: SocketAddr,
    /// HTTPS.
    pub https: Option<SocketAddr>,
}

/// A snapshot that is answered from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answering {
    /// Grows with each snapshot of a reputation server.
    pub sequence: u64,
    /// When it was made, in seconds of Unix time.
    pub created: u64,
    /// The names of its sources.
    pub sources: Vec<String>,
    /// How many records it has, here or not.
    pub records: u64,
    /// Whether all of it is here.
    pub whole: bool,
    /// When a server last said that nothing is newer, in Unix time; never, where it is not replicated.
    pub checked: Option<u32>,
}

/// Why a proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be bound.
    #[error("cannot listen on {what} {address}: {error}")]
    Bind {
        /// Of what.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The identity is not usable.
    #[error("the identity is not usable: {0}")]
    Identity(#[from] rustls::Error),
    /// The snapshot is not usable.
    #[error(transparent)]
    Snapshot(#[from] LoadError),
    /// There is no room for a snapshot.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// A snapshot is replicated within TLS alone.
    #[error("a snapshot is replicated by who has an identity")]
    Anonymous,
    /// The system gives no thread, or the like.
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
}

impl Service {
    /// Binds all ports and starts.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: Config) -> Result<Self, StartError> {
        let processors = processors(config.workers)?;
        let sockets = bind(&config, processors.len())?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(processors.len())
            .thread_name("ksn-runtime")
            .enable_all()
            .build()?;
        let (shared, shutdown) = (Arc::new(shared(&config)), CancellationToken::new());
        let (credentials, checked) = (credentials(&config)?, Arc::<AtomicU32>::default());
        if let Some(credentials) = &credentials {
            let tickets = Arc::clone(&shared);
            let end = move |of: &dyn Fn(&[u8]) -> bool| tickets.tickets.end(of);
            runtime.spawn(Arc::clone(credentials).follow(end, shutdown.clone()));
        }
        if let Some(file) = &config.snapshot {
            let (local, sound) = Local::open(file, &shared)?;
            if let Some(replicator) = replicator(file, sound, credentials.as_ref(), &checked)? {
                let (handle, token) = (runtime.handle().clone(), shutdown.clone());
                runtime.spawn_blocking(move || handle.block_on(replicator.run(token)));
            }
            runtime.spawn(local.follow(Arc::clone(&shared), shutdown.clone()));
        }
        let mut counters = Vec::new();
        let mut responder = || {
            counters.push(Arc::<Counters>::default());
            Responder::new(Arc::clone(&shared), Arc::clone(counters.last().expect("one was just added")))
        };
        let (asks, asked) = mpsc::channel(config.proxy.keys);
        let desk = Arc::new(Desk::new(responder(), asks.clone()));
        let (to_tls, from_workers) = mpsc::channel(TLS_QUEUE);
        let stop = Arc::new(AtomicBool::new(false));
        let mut addresses = sockets[0].addresses()?;
        let (seats, mut slots) = (Seats::new(config.connections), Vec::new());
        let mut workers = Vec::new();
        for ((number, sockets), processor) in sockets.into_iter().enumerate().zip(&processors) {
            let (inbox, slot) = inbox()?;
            slots.push(slot);
            workers.push((
                *processor,
                Worker {
                    number,
                    udp: sockets.udp,
                    listener: sockets.tcp,
                    responder: responder(),
                    inbox,
                    asks: asks.clone(),
                    tls: to_tls.clone(),
                    seats: Arc::clone(&seats),
                    stop: Arc::clone(&stop),
                },
            ));
        }
        let fetch_counters = Arc::<Counters>::default();
        counters.push(Arc::clone(&fetch_counters));
        let (answers, answered) = mpsc::channel(ANSWERS);
        let upstreams = upstreams(&config, credentials.as_ref(), &answers, &runtime);
        let fetch = Fetch {
            proxy: Proxy::new(proxy::Config { upstreams: upstreams.len(), ..config.proxy.clone() }),
            shared: Arc::clone(&shared),
            counters: fetch_counters,
            workers: slots,
            upstreams,
        };
        // The channel of answers stays open without any upstream.
        let token = shutdown.clone();
        runtime.spawn(async move {
            fetch.run(asked, answered, token).await;
            drop(answers);
        });
        runtime.spawn(tls::serve(from_workers, credentials.clone(), Arc::clone(&desk)));
        if let (Some(port), Some(credentials)) = (config.https_port, credentials.clone()) {
            let address = SocketAddr::new(config.listen, port);
            let listener = listen(address, "HTTPS", false)?;
            addresses.https = Some(listener.local_addr()?);
            let _inside = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener)?;
            runtime.spawn(https::serve(listener, credentials, desk, shutdown.clone()));
        }
        let workers = workers.into_iter().map(|(processor, worker)| spawn(processor, worker));
        let workers = workers.collect::<io::Result<_>>()?;
        let runtime = Some(runtime);
        Ok(Self { shared, credentials, counters, checked, addresses, stop, shutdown, workers, runtime })
    }

    /// Has every handshake from now on be that of another identity. Who was let in and is not any more, is put out; all others
    /// keep their tickets and connections. A proxy that was started without an identity stays without.
    ///
    /// # Errors
    /// The rustls error when the identity is not usable; the one before stays.
    pub fn identify(&self, identity: &Identity, trust: &Trust) -> Result<(), rustls::Error> {
        self.credentials.as_ref().map_or(Ok(()), |credentials| credentials.identify(identity, trust))
    }

    /// Where it listens.
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What was counted so far, and how many records are in the cache.
    pub fn counts(&self) -> (Counts, usize) {
        (Counts::sum(self.counters.iter().map(Arc::as_ref)), self.shared.cache.len())
    }

    /// The snapshot that is answered from.
    pub fn snapshot(&self) -> Option<Answering> {
        let snapshot = self.shared.snapshot.load_full()?;
        let (manifest, checked) = (snapshot.manifest(), self.checked.load(Ordering::Relaxed));
        Some(Answering {
            sequence: manifest.sequence,
            created: manifest.created,
            sources: manifest.sources.iter().map(|source| source.name.clone()).collect(),
            records: manifest.records().values().sum(),
            whole: snapshot.is_whole(),
            checked: Some(checked).filter(|checked| *checked > 0),
        })
    }

    /// The devices with a ticket, and how many keys each asked about.
    pub fn devices(&self) -> Vec<([u8; 16], u64)> {
        self.shared.tickets.devices(super::clock::moment().unix)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.shutdown.cancel();
        for worker in self.workers.drain(..) {
            // It looks at least once a second whether it is to stop.
            let _ = worker.join();
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn credentials(config: &Config) -> Result<Option<Arc<Credentials>>, rustls::Error> {
    let Some((identity, trust)) = &config.identity else { return Ok(None) };
    Ok(Some(Arc::new(Credentials::new(identity, trust, config.crls.clone())?)))
}

/// Who follows the snapshots that a file is to be, if it is.
fn replicator(
    file: &SnapshotFile,
    sound: bool,
    credentials: Option<&Arc<Credentials>>,
    checked: &Arc<AtomicU32>,
) -> Result<Option<Replicator>, StartError> {
    let Some(from) = file.replicated.clone() else { return Ok(None) };
    let credentials = Arc::clone(credentials.ok_or(StartError::Anonymous)?);
    let (path, trusted) = (file.path.clone(), file.trusted.clone());
    let replica = Replica::new(path, trusted, from.wanted.clone(), sound)?;
    Ok(Some(Replicator { replica, from, credentials, checked: Arc::clone(checked) }))
}

fn upstreams(
    config: &Config,
    credentials: Option<&Arc<Credentials>>,
    answers: &mpsc::Sender<super::upstream::Answered>,
    runtime: &Runtime,
) -> Vec<mpsc::Sender<super::upstream::Request>> {
    let Some(credentials) = credentials else { return Vec::new() };
    let upstreams = config.upstreams.iter().enumerate().map(|(number, place)| {
        let (sender, receiver) = mpsc::channel(2 * config.proxy.window);
        let upstream = Upstream {
            number,
            place: place.clone(),
            credentials: Arc::clone(credentials),
            prefix_bits: config.prefix_bits,
            timeout: config.proxy.timeout,
            answers: answers.clone(),
        };
        runtime.spawn(upstream.run(receiver));
        sender
    });
    upstreams.collect()
}

fn shared(config: &Config) -> Shared {
    Shared {
        cache: Cache::new(config.cache, secret()),
        policy: config.policy.clone(),
        tickets: Tickets::new(config.tickets, config.ticket_lifetime),
        cookies: Cookies::new(secret()),
        limiter: Limiter::new(config.rate, secret(), Instant::now()),
        allow_plain: config.allow_plain,
        snapshot: ArcSwapOption::empty(),
        alone: config.snapshot.is_some() && config.upstreams.is_empty(),
        rest: AtomicU32::new(0),
    }
}

fn spawn(processor: Option<usize>, worker: Worker) -> io::Result<JoinHandle<()>> {
    let name = format!("ksn-{}", worker.number);
    std::thread::Builder::new().name(name).spawn(move || {
        if let Some(processor) = processor {
            let mut set = CpuSet::new();
            set.set(processor);
            // On any other processor it works as well.
            let _ = sched_setaffinity(None, &set);
        }
        if let Err(error) = worker.run() {
            tracing::error!(%error, "a worker ended");
        }
    })
}

/// The processor of each worker: those this process may use. More workers than those are not bound to any.
fn processors(wanted: usize) -> io::Result<Vec<Option<usize>>> {
    let set = sched_getaffinity(None)?;
    let usable: Vec<_> = (0..CpuSet::MAX_CPU).filter(|processor| set.is_set(*processor)).map(Some).collect();
    let count = if wanted == 0 { usable.len().max(1) } else { wanted };
    Ok((0..count).map(|at| usable.get(at).copied().flatten()).collect())
}

fn secret<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// Connections that wait for TLS; above it one is closed.
const TLS_QUEUE: usize = 256;

/// Answers that wait for the core.
const ANSWERS: usize = 256;
