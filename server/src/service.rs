//! The running server: binds everything first, so that a taken port is told before anything is served, then runs.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use klnet_tunnel::net::accept::Acceptor;
use klnet_tunnel::net::lanes::Lanes;
use klnet_tunnel::net::mover::splice_works;
use klnet_tunnel::net::relay::{self, RelayHandle};
use klnet_wire::identity::Role;
use klnet_wire::identity::tls::{ALPN_AGENT, ALPN_HTTP, Clients, server_config};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::agents::Agents;
use crate::api::{self, Context};
use crate::config::Config;
use crate::directory::{Announced, Directory};
use crate::fabric::{Fabric, FabricError};
use crate::fleet::{Fleet, FleetError};
use crate::listeners::{BindError, Listeners};
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
    lanes: Lanes,
    listeners: Listeners,
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
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system gives no thread, or no reactor for a listener.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
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
        let lanes = Lanes::per_core()?;
        let listeners = Listeners::bind(&config, lanes.runtimes().len())?;
        let directory = Arc::new(Directory::new(Arc::clone(&fabric), listeners.announced(&config)));
        let fleet = Fleet::load(store, Arc::clone(&fabric), Arc::clone(&directory)).await?;
        let (config, metrics) = (Arc::new(config), Arc::default());
        Ok(Self { config, fabric, directory, fleet, metrics, lanes, listeners })
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
    /// [`StartError`] when TLS or a listener cannot be set up.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), StartError> {
        let tls = self.tls()?;
        let (relay, events) = relay::start(self.relay().await);
        let sessions = Arc::new(Sessions::default());
        let tunnels = Tunnels::start(self.tunnel_parts(&sessions, &relay), events);
        tunnels.close_books().await;
        let Self { config, directory, fleet, metrics, lanes, listeners, .. } = self;
        let agents = Agents::new(Arc::clone(&fleet), sessions, relay.clone(), Arc::clone(&metrics), config);
        tokio::spawn(Arc::clone(&agents).follow_denials(fleet.denials()));
        let tasks = TaskTracker::new();
        tasks.spawn(Arc::clone(&fleet).keep_presence(shutdown.clone()));
        let serving = Serving { agents: Arc::clone(&agents), tunnels: Arc::clone(&tunnels), relay, tls };
        let context = Context { fleet, tunnels: Arc::clone(&tunnels), directory, metrics };
        serving.spawn(listeners, &lanes, &context, &tasks, &shutdown)?;
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

    async fn relay(&self) -> relay::Config {
        let core = klnet_tunnel::relay::Config {
            secret: relay_secret(),
            audience: self.fabric.server(),
            limits: self.config.limits.relay(),
        };
        relay::Config {
            lanes: self.lanes.clone(),
            splice: self.config.splice && splices().await,
            tenant_rate: self.config.limits.tenant_rate,
            ..relay::Config::new(core)
        }
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
        lanes: &Lanes,
        context: &Context,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> io::Result<()> {
        for listener in listeners.agents {
            let listener = TcpListener::from_std(listener)?;
            let (agents, tunnels) = (Arc::clone(&self.agents), Arc::clone(&self.tunnels));
            tasks.spawn(agents.serve(listener, Arc::clone(&self.tls.agents), tunnels, shutdown.clone()));
        }
        for listeners in listeners.tunnels {
            for (listener, runtime) in listeners.into_iter().zip(lanes.runtimes().cycle()) {
                let serving = serve_tunnels(listener, self.relay.clone(), shutdown.clone());
                tasks.spawn_on(serving, runtime);
            }
        }
        if let Some(listener) = listeners.metrics {
            let listener = TcpListener::from_std(listener)?;
            tasks.spawn(metrics::serve(listener, Arc::clone(&context.metrics), shutdown.clone()));
        }
        let (limits, router) = (api::http::Limits::default(), api::router(context));
        let https = TcpListener::from_std(listeners.https)?;
        tasks.spawn(api::http::serve(https, self.tls.https, limits, router, shutdown.clone()));
        Ok(())
    }
}

/// Opens the store in a server's state folder.
///
/// # Errors
/// [`OpenError`] names the file.
pub fn open_store(state: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(&state.join(STORE))
}

async fn serve_tunnels(listener: std::net::TcpListener, relay: RelayHandle, shutdown: CancellationToken) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return error!(%error, "a tunnel port is not served"),
    };
    let mut acceptor = Acceptor::new(listener);
    loop {
        tokio::select! {
            (stream, peer) = acceptor.accept() => relay.initiator(stream, peer),
            () = shutdown.cancelled() => return,
        }
    }
}

/// Whether splice(2) can be trusted here.
async fn splices() -> bool {
    splice_works()
        .await
        .inspect_err(|error| warn!(%error, "splice(2) does not work, tunnels are copied"))
        .is_ok()
}

fn relay_secret() -> [u8; 32] {
    let mut secret = [0; 32];
    SystemRandom::new().fill(&mut secret).expect("the operating system gives randomness");
    secret
}

const STORE: &str = "state.db";
/// How long sessions and requests may take to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
