//! The running server: binds everything first, so that a taken port is told before anything is served, then runs.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use klnet_tunnel::net::accept::Acceptor;
use klnet_tunnel::net::relay::{self, RelayHandle};
use klnet_wire::identity::Role;
use klnet_wire::identity::tls::{ALPN_AGENT, ALPN_HTTP, Clients, server_config};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::agents::Agents;
use crate::api::{self, Context};
use crate::config::Config;
use crate::directory::{Announced, Directory};
use crate::fabric::{Fabric, FabricError};
use crate::fleet::{Fleet, FleetError};
use crate::metrics::{self, Metrics};
use crate::sessions::Sessions;
use crate::store::{OpenError, SqliteStore, Store};
use crate::tunnels::{self, Tunnels};

/// A server whose ports are bound and whose state is loaded.
pub struct Service {
    config: Arc<Config>,
    fabric: Arc<Fabric>,
    directory: Arc<Directory>,
    fleet: Arc<Fleet>,
    metrics: Arc<Metrics>,
    listeners: Listeners,
}

/// Every bound port.
struct Listeners {
    https: TcpListener,
    agents: Vec<TcpListener>,
    tunnels: Vec<TcpListener>,
    metrics: Option<TcpListener>,
}

/// What the listeners hand their connections to.
struct Serving {
    agents: Arc<Agents>,
    tunnels: Arc<Tunnels>,
    relay: RelayHandle,
    tls: Tls,
}

/// What each kind of listener shows and wants to see.
struct Tls {
    agents: Arc<ServerConfig>,
    https: Arc<ServerConfig>,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be bound.
    #[error("cannot listen on port {port} for {what}: {error}; change {key} in the configuration{hint}")]
    Bind {
        /// The port.
        port: u16,
        /// What would be served there.
        what: &'static str,
        /// What the system said.
        error: io::Error,
        /// What to change.
        key: &'static str,
        /// Who has the port, or what else may help.
        hint: String,
    },
    /// The keys are not usable.
    #[error(transparent)]
    Fabric(#[from] FabricError),
    /// The store is not usable.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The state cannot be loaded.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl Service {
    /// Binds every port and loads the state.
    ///
    /// # Errors
    /// [`StartError`] names the port and what to change, or the file.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let fabric = Arc::new(Fabric::load(&config.state)?);
        let store: Arc<dyn Store> = Arc::new(open_store(&config.state)?);
        let listeners = Listeners::bind(&config)?;
        let directory = Arc::new(Directory::new(Arc::clone(&fabric), listeners.announced(&config)));
        let fleet = Fleet::load(store, Arc::clone(&fabric), Arc::clone(&directory)).await?;
        Ok(Self { config: Arc::new(config), fabric, directory, fleet, metrics: Arc::default(), listeners })
    }

    /// What is known of devices, operators and the rest.
    pub const fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    /// Where everything listens.
    pub fn announced(&self) -> &Announced {
        self.directory.announced()
    }

    /// Serves until `shutdown`, then ends sessions and tunnels, stores how each tunnel ended, and returns.
    ///
    /// # Errors
    /// [`StartError`] when TLS cannot be set up.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), StartError> {
        let tls = self.tls()?;
        let (relay, events) = relay::start(self.relay());
        let sessions = Arc::new(Sessions::default());
        let tunnels = Tunnels::start(self.tunnel_parts(&sessions, &relay), events);
        let Self { config, directory, fleet, metrics, listeners, .. } = self;
        let agents = Agents::new(Arc::clone(&fleet), sessions, relay.clone(), Arc::clone(&metrics), config);
        tokio::spawn(Arc::clone(&agents).follow_denials(fleet.denials()));
        let tasks = TaskTracker::new();
        tasks.spawn(Arc::clone(&fleet).keep_presence(shutdown.clone()));
        let serving = Serving { agents: Arc::clone(&agents), tunnels: Arc::clone(&tunnels), relay, tls };
        let context = Context { fleet, tunnels: Arc::clone(&tunnels), directory, metrics };
        serving.spawn(listeners, &context, &tasks, &shutdown);
        tasks.close();
        shutdown.cancelled().await;
        info!("shutting down");
        agents.farewell(SHUTDOWN_TIMEOUT).await;
        tunnels.stop(SHUTDOWN_TIMEOUT).await;
        // Whoever is still busy after this is cut; every acknowledged change is stored already.
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, tasks.wait()).await;
        Ok(())
    }

    fn tls(&self) -> Result<Tls, StartError> {
        let identity = self.fabric.server_identity(&self.config.hosts, SystemTime::now())?;
        let trust = self.fabric.trust();
        let agents = Clients::Required(&[Role::Agent]);
        let https = Clients::Optional(&[Role::Agent, Role::Operator]);
        Ok(Tls {
            agents: server_config(&identity, trust.clone(), agents, &[ALPN_AGENT])?,
            https: server_config(&identity, trust.clone(), https, &[ALPN_HTTP])?,
        })
    }

    fn relay(&self) -> relay::Config {
        relay::Config::new(klnet_tunnel::relay::Config {
            secret: relay_secret(),
            audience: self.fabric.server(),
            limits: klnet_tunnel::relay::Limits::default(),
        })
    }

    fn tunnel_parts(&self, sessions: &Arc<Sessions>, relay: &RelayHandle) -> tunnels::Parts {
        tunnels::Parts {
            fleet: Arc::clone(&self.fleet),
            fabric: Arc::clone(&self.fabric),
            directory: Arc::clone(&self.directory),
            sessions: Arc::clone(sessions),
            relay: relay.clone(),
            metrics: Arc::clone(&self.metrics),
            config: Arc::clone(&self.config),
        }
    }
}

impl Serving {
    /// Serves every listener until `shutdown`.
    fn spawn(
        self,
        listeners: Listeners,
        context: &Context,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) {
        for listener in listeners.agents {
            let (agents, tunnels) = (Arc::clone(&self.agents), Arc::clone(&self.tunnels));
            tasks.spawn(agents.serve(listener, Arc::clone(&self.tls.agents), tunnels, shutdown.clone()));
        }
        for listener in listeners.tunnels {
            tasks.spawn(serve_tunnels(listener, self.relay.clone(), shutdown.clone()));
        }
        if let Some(listener) = listeners.metrics {
            tasks.spawn(metrics::serve(listener, Arc::clone(&context.metrics), shutdown.clone()));
        }
        let (limits, router) = (api::http::Limits::default(), api::router(context));
        tasks.spawn(api::http::serve(listeners.https, self.tls.https, limits, router, shutdown.clone()));
    }
}

impl Listeners {
    fn bind(config: &Config) -> Result<Self, StartError> {
        let bind = |port, what, key| bind(SocketAddr::new(config.bind, port), what, key);
        let all = |ports: &[u16], what, key| {
            ports.iter().map(|port| bind(*port, what, key)).collect::<Result<Vec<_>, _>>()
        };
        let metrics = config.metrics.map(|address| self::bind(address, "metrics", "metrics")).transpose()?;
        Ok(Self {
            https: bind(config.https_port, "discovery, enrolment and API", "https_port")?,
            agents: all(&config.agent_ports, "agents", "agent_ports")?,
            tunnels: all(&config.tunnel_ports, "tunnels", "tunnel_ports")?,
            metrics,
        })
    }

    fn announced(&self, config: &Config) -> Announced {
        let port = |listener: &TcpListener| listener.local_addr().map_or(0, |address| address.port());
        Announced {
            hosts: config.hosts.clone(),
            https_port: port(&self.https),
            agent_ports: self.agents.iter().map(port).collect(),
            tunnel_ports: self.tunnels.iter().map(port).collect(),
            reconnect_window: config.reconnect_window,
        }
    }
}

/// Opens the store in a server's state folder.
///
/// # Errors
/// [`OpenError`] names the file.
pub fn open_store(state: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(&state.join(STORE))
}

fn bind(address: SocketAddr, what: &'static str, key: &'static str) -> Result<TcpListener, StartError> {
    listen(address).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => crate::ports::owner(address.port())
                .map_or("; another process has it".into(), |owner| format!("; {owner} has it")),
            io::ErrorKind::PermissionDenied => {
                "; ports below 1024 need CAP_NET_BIND_SERVICE, 8443 needs nothing".into()
            }
            _ => String::new(),
        };
        StartError::Bind { port: address.port(), what, error, key, hint }
    })
}

/// A listener that also takes IPv4 when it is bound to every IPv6 address.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn serve_tunnels(listener: TcpListener, relay: RelayHandle, shutdown: CancellationToken) {
    let mut acceptor = Acceptor::new(listener);
    loop {
        tokio::select! {
            (stream, peer) = acceptor.accept() => relay.initiator(stream, peer),
            () = shutdown.cancelled() => return,
        }
    }
}

fn relay_secret() -> [u8; 32] {
    let mut secret = [0; 32];
    SystemRandom::new().fill(&mut secret).expect("the operating system gives randomness");
    secret
}

const STORE: &str = "state.db";
/// Connections the kernel keeps for us; a whole fleet may come back at once.
const BACKLOG: i32 = 4096;
/// How long sessions and requests may take to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
