//! The running server: binds everything first, so that a taken port is told before anything is served, then runs.
//!
//! ```text
//! Service ──serve──▶ Running ──stop──▶ nothing left
//!                    ▲     └─suspend──▶ Suspended: the ports are bound and tunnels flow, nobody has the store
//!                    └────── resume ────────┘ └── another process serves, and is given the tunnels (`handover`)
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use klnet_tunnel::net::accept::Acceptor;
use klnet_tunnel::net::relay::{Moved, RelayEvent, RelayHandle};
use klnet_tunnel::pair::{PairEnd, PairId};
use klnet_tunnel::relay::{LivePair, RelayRecord};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use crate::agents::Agents;
use crate::api::{self, Context};
use crate::config::Config;
use crate::directory::{Announced, Directory};
use crate::distribution::{Contents, Distribution};
use crate::fabric::Fabric;
use crate::fabric::server::keep_shown;
use crate::fleet::Fleet;
use crate::ground::Ground;
use crate::listeners::{Duplicates, Inherited};
use crate::metrics;
use crate::plain;
use crate::revocation;
use crate::sessions::Sessions;
use crate::start::StartError;
use crate::store::{OpenError, SqliteStore};
use crate::tunnels::{self, Tunnels};

/// A server whose ports are bound and whose state is loaded.
pub struct Service {
    ground: Ground,
    events: mpsc::Receiver<RelayEvent>,
    duplicates: Duplicates,
    fleet: Arc<Fleet>,
    directory: Arc<Directory>,
    /// Ends of tunnel connections that the store does not have.
    unrecorded: Vec<RelayRecord>,
}

/// A server that serves.
pub struct Running {
    ground: Ground,
    serving: Serving,
    /// The API, which ends what is under way.
    api: JoinHandle<()>,
}

/// What serves.
struct Serving {
    fleet: Arc<Fleet>,
    distribution: Arc<Distribution>,
    agents: Arc<Agents>,
    tunnels: Arc<Tunnels>,
    tasks: TaskTracker,
    /// Ends whatever is served.
    shutdown: CancellationToken,
    /// Ends, alone or with that, what people and their programs are served; agents stay.
    doors: CancellationToken,
}

/// A server that serves nobody and has let go of its store; its ports are bound, and its tunnels flow.
pub struct Suspended {
    pub(crate) ground: Ground,
    events: mpsc::Receiver<RelayEvent>,
    /// Ends of tunnel connections that could not be stored in time.
    pub(crate) unrecorded: Vec<RelayRecord>,
    /// The connections that flow.
    pub(crate) live: Vec<(LivePair, Moved)>,
}

impl Service {
    /// Binds every port and loads the state.
    ///
    /// # Errors
    /// [`StartError`] names the port and what to change, or the file.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let fabric = Arc::new(Fabric::load(&config.state)?);
        // Before the ports: of a server that runs already it is the store that says so best.
        let store = open_store(&config.state)?;
        let (ground, events) = Ground::prepare(config, fabric, Inherited::default()).await?;
        Self::load(ground, events, store, Vec::new()).await
    }

    /// Loads the state on what is prepared.
    pub(crate) async fn load(
        ground: Ground,
        events: mpsc::Receiver<RelayEvent>,
        store: SqliteStore,
        unrecorded: Vec<RelayRecord>,
    ) -> Result<Self, StartError> {
        let duplicates = ground.listeners.duplicate()?;
        let (fleet, directory) = ground.load(store).await?;
        Ok(Self { ground, events, duplicates, fleet, directory, unrecorded })
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
    pub async fn run(self, shutdown: CancellationToken) {
        let running = self.serve().await;
        shutdown.cancelled().await;
        running.stop().await;
    }

    /// Begins to serve.
    pub async fn serve(self) -> Running {
        let sessions = Arc::new(Sessions::default());
        let parts = self.parts(&sessions);
        let Self { ground, events, duplicates, fleet, directory, unrecorded } = self;
        let tunnels = Tunnels::start(parts, events, unrecorded);
        tunnels.close_books().await;
        let (relay, metrics) = (ground.relay.clone(), Arc::clone(&ground.metrics));
        let contents = Arc::new(Contents::new(&ground.config.state));
        let distribution =
            Distribution::new(Arc::clone(&fleet), Arc::clone(&sessions), Arc::clone(&metrics), contents);
        let agents = Agents::new(
            Arc::clone(&fleet),
            sessions,
            Arc::clone(&distribution),
            Arc::clone(&ground.tls.crls),
            relay,
            metrics,
            Arc::clone(&ground.config),
        );
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let doors = shutdown.child_token();
        let serving = Serving { fleet, distribution, agents, tunnels, tasks, shutdown, doors };
        let api = serving.spawn(&ground, duplicates, directory);
        Running { ground, serving, api }
    }

    fn parts(&self, sessions: &Arc<Sessions>) -> tunnels::Parts {
        tunnels::Parts {
            fleet: Arc::clone(&self.fleet),
            fabric: Arc::clone(&self.ground.fabric),
            directory: Arc::clone(&self.directory),
            sessions: Arc::clone(sessions),
            relay: self.ground.relay.clone(),
            metrics: Arc::clone(&self.ground.metrics),
            config: Arc::clone(&self.ground.config),
        }
    }
}

impl Running {
    /// Ends sessions and tunnels, and returns once it is stored how each tunnel ended.
    pub async fn stop(self) {
        let Serving { agents, tunnels, tasks, shutdown, .. } = self.serving;
        info!("shutting down");
        shutdown.cancel();
        agents.farewell(SHUTDOWN_TIMEOUT).await;
        tunnels.stop(SHUTDOWN_TIMEOUT).await;
        // Whoever is still busy after this is cut; every acknowledged change is stored already.
        let _ = timeout(SHUTDOWN_TIMEOUT, tasks.wait()).await;
    }

    /// Ends whatever is served but the tunnels, and lets go of the store.
    pub(crate) async fn suspend(self) -> Suspended {
        let Self { ground, serving, api } = self;
        let Serving { fleet, agents, tunnels, tasks, shutdown, doors, .. } = serving;
        doors.cancel();
        // It takes no longer than requests may take.
        let _ = api.await;
        // While agents can still say of which connections they have verified the key.
        let live = ground.relay.retire().await.unwrap_or_default();
        agents.will_be_back();
        shutdown.cancel();
        agents.farewell(SHUTDOWN_TIMEOUT).await;
        let (events, unrecorded) = tunnels.hand_over(SHUTDOWN_TIMEOUT).await;
        let _ = timeout(SHUTDOWN_TIMEOUT, tasks.wait()).await;
        fleet.close().await;
        Suspended { ground, events, unrecorded, live }
    }

    /// Its relay.
    pub const fn relay(&self) -> &RelayHandle {
        &self.ground.relay
    }

    pub(crate) const fn ground(&self) -> &Ground {
        &self.ground
    }
}

impl Serving {
    /// Serves every listener until shutdown.
    fn spawn(&self, ground: &Ground, duplicates: Duplicates, directory: Arc<Directory>) -> JoinHandle<()> {
        let Self { fleet, distribution, agents, tunnels, tasks, shutdown, doors } = self;
        let following = Arc::clone(agents).follow_denials(fleet.denials());
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(following));
        tasks.spawn(Arc::clone(agents).follow_lists(shutdown.clone()));
        tasks.spawn(Arc::clone(fleet).keep_presence(shutdown.clone()));
        tasks.spawn(Arc::clone(fleet).keep_sightings(shutdown.clone()));
        tasks.spawn(Arc::clone(distribution).keep(shutdown.clone()));
        let (fabric, hosts) = (Arc::clone(&ground.fabric), ground.config.hosts.clone());
        tasks.spawn(keep_shown(fabric, hosts, Arc::clone(&ground.tls.shown), shutdown.clone()));
        for listener in duplicates.agents {
            let (tls, tunnels) = (Arc::clone(&ground.tls.agents), Arc::clone(tunnels));
            tasks.spawn(Arc::clone(agents).serve(listener, tls, tunnels, shutdown.clone()));
        }
        for listeners in duplicates.tunnels {
            for (listener, runtime) in listeners.into_iter().zip(ground.lanes.runtimes().cycle()) {
                tasks.spawn_on(serve_tunnels(listener, ground.relay.clone(), doors.clone()), runtime);
            }
        }
        tasks.spawn(ground.revocation(fleet).keep(fleet.denials(), shutdown.clone()));
        if let Some(listener) = duplicates.metrics {
            tasks.spawn(metrics::serve(listener, Arc::clone(&ground.metrics), doors.clone()));
        }
        if let Some(listener) = duplicates.crls {
            let (fabric, crls) = (Arc::clone(&ground.fabric), Arc::clone(&ground.tls.crls));
            let page = move |path: &str| revocation::page(&fabric, &crls, path);
            tasks.spawn(plain::serve(listener, page, doors.clone()));
        }
        let (fleet, tunnels) = (Arc::clone(fleet), Arc::clone(tunnels));
        let (distribution, metrics) = (Arc::clone(distribution), Arc::clone(&ground.metrics));
        let context = Context { fleet, tunnels, distribution, directory, metrics };
        let (limits, router) = (api::http::Limits::default(), api::router(&context));
        let tls = Arc::clone(&ground.tls.https);
        let api = tasks.spawn(api::http::serve(duplicates.https, tls, limits, router, doors.clone()));
        tasks.close();
        api
    }
}

impl Suspended {
    /// Lets connections end by themselves until `enough`, then ends the others; says how many those were.
    pub(crate) async fn drain(mut self, enough: impl Future<Output = ()>) -> usize {
        let relay = self.ground.relay.clone();
        tokio::select! {
            () = enough => {}
            // Each end comes with an event.
            () = async { while connections(&relay).await > 0 && self.events.recv().await.is_some() {} } => {}
        }
        let cut = connections(&relay).await;
        let _ = tokio::join!(relay.stop(), async { while self.events.recv().await.is_some() {} });
        cut
    }

    /// Serves again, without the connections that are lost.
    ///
    /// # Errors
    /// [`StartError`] with the server as it was, when it cannot have its store back.
    pub(crate) async fn resume(
        self,
        lost: Vec<(PairId, PairEnd)>,
    ) -> Result<Running, (Box<Self>, StartError)> {
        // A relay that has stopped has no connections to lose.
        let _ = self.ground.relay.recover(lost).await;
        let loaded = async {
            let duplicates = self.ground.listeners.duplicate()?;
            let store = open_store(&self.ground.config.state)?;
            Ok((duplicates, self.ground.load(store).await?))
        };
        match loaded.await {
            Ok((duplicates, (fleet, directory))) => {
                let Self { ground, events, unrecorded, .. } = self;
                Ok(Service { ground, events, duplicates, fleet, directory, unrecorded }.serve().await)
            }
            Err(error) => Err((Box::new(self), error)),
        }
    }
}

/// Opens the store in a server's state folder.
///
/// # Errors
/// [`OpenError`] names the file.
pub fn open_store(state: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(&store_path(state))
}

/// Where the store is in a server's state folder.
pub fn store_path(state: &Path) -> PathBuf {
    state.join(STORE)
}

/// Whether this version could open the store in a server's state folder, which another process has.
pub(crate) fn check_store(state: &Path) -> Result<(), OpenError> {
    SqliteStore::check(&store_path(state))
}

async fn connections(relay: &RelayHandle) -> usize {
    let tunnels = relay.tunnels().await.unwrap_or_default();
    tunnels.iter().map(|tunnel| tunnel.view.pairs.len()).sum()
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

const STORE: &str = "state.db";
/// How long sessions and requests may take to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
