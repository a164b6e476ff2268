//! A proxy: its ports bound, its threads started, until it is told to stop.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use klnet_wire::identity::crl::Crls;
use klnet_wire::identity::tls::{Clients, Identity, Shown, client_config, server_config};
use klnet_wire::identity::{Role, Trust};
use klnet_wire::signed::PublicKey;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::desk::Desk;
use super::fetch::Fetch;
use super::inbox::inbox;
use super::local::{LoadError, Local};
use super::upstream::Upstream;
use super::worker::Worker;
use super::{https, tls};
use crate::cache::Cache;
use crate::cookie::Cookies;
use crate::counters::{Counters, Counts};
use crate::limiter::{Limiter, Rate};
use crate::policy::Policy;
use crate::proxy::{self, Proxy};
use crate::responder::{Responder, Shared};
use crate::ticket::Tickets;

/// What a proxy is run with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address of all ports.
    pub listen: IpAddr,
    /// Port of sealed and plain datagrams.
    pub udp_port: u16,
    /// Port of the codec on TCP, and of TLS.
    pub tcp_port: u16,
    /// Port of HTTPS; none without one or without an identity.
    pub https_port: Option<u16>,
    /// Who the proxy is, and whose certificates it takes: there is no TLS without.
    pub identity: Option<(Identity, Trust)>,
    /// Lists of revoked certificates: with them nobody is let in who is on one, or whose issuer has no fresh one.
    pub crls: Option<Arc<Crls>>,
    /// Reputation servers, the best first: name or address, and port.
    pub upstreams: Vec<(String, u16)>,
    /// A snapshot to answer from, and by whose keys it has to be signed.
    pub snapshot: Option<(PathBuf, Vec<PublicKey>)>,
    /// How many bits of a key an upstream learns; the whole key with 0.
    pub prefix_bits: u8,
    /// Whether who shows neither ticket nor certificate is answered.
    pub allow_plain: bool,
    /// Bytes of the cache.
    pub cache: usize,
    /// Threads; one for each processor that may be used with 0.
    pub workers: usize,
    /// Most TCP connections of the codec.
    pub connections: usize,
    /// Most tickets at once.
    pub tickets: usize,
    /// Seconds a ticket is good for.
    pub ticket_lifetime: u32,
    /// Most keys a device may ask about.
    pub rate: Rate,
    /// How long verdicts are used.
    pub policy: Policy,
    /// Limits of the core.
    pub proxy: proxy::Config,
}

/// A proxy that runs; it stops when it is dropped.
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
    counters: Vec<Arc<Counters>>,
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
    /// The system gives no thread, or the like.
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
}

/// The sockets of one worker.
struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
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
        if let Some((path, trusted)) = config.snapshot.clone() {
            let local = Local::load(path, trusted, &shared)?;
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
        let mut slots = Vec::new();
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
                    connections: config.connections.div_ceil(processors.len()),
                    stop: Arc::clone(&stop),
                },
            ));
        }
        let fetch_counters = Arc::<Counters>::default();
        counters.push(Arc::clone(&fetch_counters));
        let identities = Configs::new(&config)?;
        let (answers, answered) = mpsc::channel(ANSWERS);
        let upstreams = identities.upstreams(&config, &answers, &runtime);
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
        runtime.spawn(tls::serve(from_workers, identities.devices, Arc::clone(&desk)));
        if let (Some(port), Some(config_of_https)) = (config.https_port, identities.https) {
            let address = SocketAddr::new(config.listen, port);
            let listener = listen(address, "HTTPS", false)?;
            addresses.https = Some(listener.local_addr()?);
            let _inside = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener)?;
            runtime.spawn(https::serve(listener, config_of_https, desk, shutdown.clone()));
        }
        let workers = workers.into_iter().map(|(processor, worker)| spawn(processor, worker));
        let workers = workers.collect::<io::Result<_>>()?;
        Ok(Self { shared, counters, addresses, stop, shutdown, workers, runtime: Some(runtime) })
    }

    /// Where it listens.
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What was counted so far, and how many records are in the cache.
    pub fn counts(&self) -> (Counts, usize) {
        (Counts::sum(self.counters.iter().map(Arc::as_ref)), self.shared.cache.len())
    }

    /// The devices with a ticket, and how many keys each asked about.
    pub fn devices(&self) -> Vec<([u8; 16], u64)> {
        self.shared.tickets.devices(super::worker::moment().unix)
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

/// TLS as each port has it.
struct Configs {
    devices: Option<Arc<rustls::ServerConfig>>,
    https: Option<Arc<rustls::ServerConfig>>,
    upstream: Option<Arc<rustls::ClientConfig>>,
}

impl Configs {
    fn new(config: &Config) -> Result<Self, rustls::Error> {
        let Some((identity, trust)) = &config.identity else {
            return Ok(Self { devices: None, https: None, upstream: None });
        };
        let (shown, crls) = (Shown::new(identity), &config.crls);
        let https = Clients::Optional(DEVICES);
        Ok(Self {
            devices: Some(server_config(
                &shown,
                trust.clone(),
                crls.clone(),
                Clients::Required(DEVICES),
                &[],
            )?),
            https: Some(server_config(&shown, trust.clone(), crls.clone(), https, https::ALPN)?),
            upstream: Some(client_config(Some(identity), trust.clone(), &[])?),
        })
    }

    fn upstreams(
        &self,
        config: &Config,
        answers: &mpsc::Sender<super::upstream::Answered>,
        runtime: &Runtime,
    ) -> Vec<mpsc::Sender<super::upstream::Request>> {
        let Some(tls) = &self.upstream else { return Vec::new() };
        let upstreams = config.upstreams.iter().enumerate().map(|(number, (host, port))| {
            let (sender, receiver) = mpsc::channel(2 * config.proxy.window);
            let upstream = Upstream {
                number,
                host: host.clone(),
                port: *port,
                tls: Arc::clone(tls),
                prefix_bits: config.prefix_bits,
                timeout: config.proxy.timeout,
                answers: answers.clone(),
            };
            runtime.spawn(upstream.run(receiver));
            sender
        });
        upstreams.collect()
    }
}

impl Sockets {
    fn addresses(&self) -> io::Result<Addresses> {
        Ok(Addresses { udp: self.udp.local_addr()?, tcp: self.tcp.local_addr()?, https: None })
    }
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
    }
}

/// As many sockets of each port as there are workers: the kernel deals out what comes (socket(7), `SO_REUSEPORT`).
fn bind(config: &Config, workers: usize) -> Result<Vec<Sockets>, StartError> {
    let (mut udp, mut tcp) =
        (SocketAddr::new(config.listen, config.udp_port), SocketAddr::new(config.listen, config.tcp_port));
    let mut all = Vec::new();
    for _ in 0..workers {
        let sockets = Sockets { udp: datagrams(udp)?, tcp: listen(tcp, "TCP", true)? };
        // Port 0 is drawn once for all.
        (udp, tcp) = (sockets.udp.local_addr()?, sockets.tcp.local_addr()?);
        all.push(sockets);
    }
    Ok(all)
}

fn datagrams(address: SocketAddr) -> Result<UdpSocket, StartError> {
    let bound = || -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        // What the system grants of it is enough.
        let _ = socket.set_recv_buffer_size(BUFFER);
        let _ = socket.set_send_buffer_size(BUFFER);
        if address.ip().is_unspecified() {
            if address.is_ipv4() {
                addressed_v4(&socket)?
            } else {
                socket.set_only_v6(false)?;
                addressed_v6(&socket)?
            }
        }
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    bound().map_err(|error| StartError::Bind { what: "UDP", address, error })
}

fn listen(address: SocketAddr, what: &'static str, shared: bool) -> Result<TcpListener, StartError> {
    let bound = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    bound().map_err(|error| StartError::Bind { what, address, error })
}

fn addressed_v4(socket: &Socket) -> io::Result<()> {
    option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO)
}

fn addressed_v6(socket: &Socket) -> io::Result<()> {
    option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
}

#[allow(unsafe_code)] // no crate at hand sets these
fn option(socket: &Socket, level: i32, name: i32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or(4);
    // SAFETY: the kernel reads as many bytes as the integer has.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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

/// Whose certificates a proxy takes.
const DEVICES: &[Role] = &[Role::Agent, Role::Server];

/// Connections that wait for TLS; above it one is closed.
const TLS_QUEUE: usize = 256;

/// Answers that wait for the core.
const ANSWERS: usize = 256;

/// Bytes of a UDP socket's buffers: 64 batches of small datagrams.
const BUFFER: usize = 4 << 20;

/// Connections that wait to be taken.
const BACKLOG: i32 = 1024;
