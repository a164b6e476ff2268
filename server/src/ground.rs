//! What a server stands on before it opens its store: keys, ports, lanes and the relay. It outlives everything that is
//! built on it, so that a server which has let go of its store can be built again on the same ports and live tunnels.

use std::sync::Arc;
use std::time::SystemTime;

use klnet_tunnel::net::lanes::Lanes;
use klnet_tunnel::net::mover::splice_works;
use klnet_tunnel::net::relay::{self, RelayEvent, RelayHandle};
use klnet_wire::identity::Role;
use klnet_wire::identity::crl::Crls;
use klnet_wire::identity::tls::{ALPN_AGENT, ALPN_HTTP, Clients, Shown, server_config};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ServerConfig;
use tokio::sync::mpsc;
use tracing::warn;

use crate::config::Config;
use crate::directory::Directory;
use crate::fabric::Fabric;
use crate::fleet::Fleet;
use crate::listeners::{Inherited, Listeners};
use crate::metrics::Metrics;
use crate::revocation::Revocation;
use crate::service::StartError;
use crate::store::{SqliteStore, Store};

/// Everything but the store and what it holds.
pub(crate) struct Ground {
    pub(crate) config: Arc<Config>,
    pub(crate) fabric: Arc<Fabric>,
    pub(crate) tls: Tls,
    pub(crate) lanes: Lanes,
    pub(crate) listeners: Listeners,
    pub(crate) relay: RelayHandle,
    pub(crate) metrics: Arc<Metrics>,
}

/// What each kind of listener shows and wants to see.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) agents: Arc<ServerConfig>,
    pub(crate) https: Arc<ServerConfig>,
    /// The server's own certificate.
    pub(crate) shown: Arc<Shown>,
    /// Who may not come any more.
    pub(crate) crls: Arc<Crls>,
}

impl Ground {
    /// Binds every port that is not inherited, and starts a relay without pairs.
    pub(crate) async fn prepare(
        config: Config,
        fabric: Arc<Fabric>,
        inherited: Inherited,
    ) -> Result<(Self, mpsc::Receiver<RelayEvent>), StartError> {
        let lanes = Lanes::per_core()?;
        let listeners = Listeners::bind(&config, lanes.runtimes().len(), inherited)?;
        let tls = Tls::new(&fabric, &config)?;
        let (relay, events) = relay::start(relay_config(&config, &fabric, &lanes).await);
        let (config, metrics) = (Arc::new(config), Arc::default());
        Ok((Self { config, fabric, tls, lanes, listeners, relay, metrics }, events))
    }

    /// Loads what the store holds.
    pub(crate) async fn load(&self, store: SqliteStore) -> Result<(Arc<Fleet>, Arc<Directory>), StartError> {
        let store: Arc<dyn Store> = Arc::new(store);
        let announced = self.listeners.announced(&self.config);
        let directory =
            Arc::new(Directory::new(Arc::clone(&self.fabric), Arc::clone(&self.tls.crls), announced));
        let fleet = Fleet::load(store, Arc::clone(&self.fabric), Arc::clone(&directory)).await?;
        fleet.note_fabric().await?;
        // Before anyone comes: without a list nobody is let in.
        self.revocation(&fleet).sign(SystemTime::now()).await?;
        Ok((fleet, directory))
    }

    /// What signs revocation lists.
    pub(crate) fn revocation(&self, fleet: &Arc<Fleet>) -> Revocation {
        Revocation::new(Arc::clone(&self.fabric), Arc::clone(fleet), Arc::clone(&self.tls.crls))
    }
}

impl Tls {
    fn new(fabric: &Fabric, config: &Config) -> Result<Self, StartError> {
        let shown = Shown::new(&fabric.server_identity(&config.hosts, SystemTime::now())?);
        let (trust, crls) = (fabric.trust(), Arc::<Crls>::default());
        // The fleet asks both its own list and these, and tells whom it refuses why.
        let agents = Clients::Required(&[Role::Agent]);
        let https = Clients::Optional(&[Role::Agent, Role::Operator]);
        Ok(Self {
            agents: server_config(&shown, trust.clone(), None, agents, &[ALPN_AGENT])?,
            https: server_config(&shown, trust.clone(), None, https, &[ALPN_HTTP])?,
            shown,
            crls,
        })
    }
}

async fn relay_config(config: &Config, fabric: &Fabric, lanes: &Lanes) -> relay::Config {
    let core = klnet_tunnel::relay::Config {
        secret: relay_secret(),
        audience: fabric.server(),
        limits: config.limits.relay(),
    };
    relay::Config {
        lanes: lanes.clone(),
        splice: config.splice && splices().await,
        tenant_rate: config.limits.tenant_rate,
        ..relay::Config::new(core)
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
