//! The agent: one loop that finds a server, keeps a session with it, and serves tunnels.

mod address;
mod outage;
mod refreshing;
mod renewing;
mod session;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use klnet_discovery::mac::Mac;
use klnet_discovery::net::own_cards;
use klnet_tunnel::net::target::Stopped;
use klnet_wire::id::{DeviceId, Id};
use klnet_wire::identity::crl::Crls;
use klnet_wire::identity::enroll::{Enrolled, unix};
use klnet_wire::identity::tls::Identity;
use klnet_wire::identity::{ChainError, Trust};
use klnet_wire::message::sighting::ADDRESSES_LIMIT;
use klnet_wire::net::dial::DialError;
use klnet_wire::net::https::ApiError;
use klnet_wire::net::renew::{RenewError, is_of_unknown_root, newer_roots};
use klnet_wire::outbox::Full;
use klnet_wire::session::CloseReason;
use klnet_wire::signed::Signed;
use klnet_wire::signing::KeyError;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ClientConfig;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::backoff::{self, Backoff};
use crate::clock::measure::{self, MeasureError};
use crate::clock::{self, ServerClock, Skew};
use crate::config::Config;
use crate::control::{self, Dialled, Unreachable};
use crate::directory::{Candidate, Directory, Taken};
use crate::discovery::{self, Discovered, DiscoveryError};
use crate::distribution::{Distribution, News};
use crate::ksn::Ksn;
use crate::neighbours::{self, Neighbours};
use crate::polling::Polling;
use crate::random::Random;
use crate::state::{Device, Folder, Lock, Settled, StateError, Sync};
use crate::status::{Connection, StatusFile};
use crate::tunnels::Tunnels;
use outage::Outage;
use refreshing::Refreshing;
use renewing::Renewing;

/// A Network Agent.
#[derive(Debug)]
pub struct Agent {
    folder: Folder,
    _lock: Lock,
    device: Device,
    directory: Directory,
    crls: Arc<Crls>,
    tls: Arc<ClientConfig>,
    tunnels: Tunnels,
    distribution: Distribution,
    polling: Polling,
    ksn: Ksn,
    neighbours: Neighbours,
    backoff: Backoff,
    renewing: Renewing,
    refreshing: Refreshing,
    random: Random,
    clock: ServerClock,
    status: StatusFile,
    outage: Outage,
    /// Tells a restart from a reconnect.
    boot_id: Bytes,
    /// The device's network cards, as they were when it was first connected.
    cards: Vec<Mac>,
    /// Names the session before: whoever says it is no clone.
    last_epoch: u64,
    /// The ids that this process has not exchanged with the server yet.
    sync: Option<Sync>,
    /// When a server was last there.
    reached: Option<Instant>,
    /// Until when a server must have welcomed the device, or it goes back to the identity before.
    trial: Option<Instant>,
    /// The last attempt reached no server.
    astray: bool,
}

/// Why an agent does not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The state folder is not usable.
    #[error(transparent)]
    State(#[from] StateError),
    /// TLS cannot be set up with this identity.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The server has asked the agent never to come back.
    #[error("the server refuses this device for good: {0}")]
    Banned(String),
    /// The server gave the device, which is a clone, an identity of its own: open the folder again.
    #[error("the device takes an identity of its own")]
    Separated,
    /// The device went back to the identity before, since the server of the next one did not welcome it: open the
    /// folder again.
    #[error("the device goes back to the identity before")]
    WentBack,
    /// The tunnel target's task is over.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
enum NoSession {
    #[error("no server is known: {0}")]
    NoServers(DiscoveryError),
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error("{0}")]
    OwnCertificate(String),
    #[error("this device's key cannot be used: {0}")]
    Key(#[from] KeyError),
    #[error("HELLO was not sent: {0}")]
    Greeting(Full),
    #[error("the server closed the connection before WELCOME: it may refuse this device's certificate")]
    NotWelcomed,
    #[error("{0}")]
    Ended(CloseReason),
    #[error("the server asked this agent to leave: {0}")]
    SentAway(String),
    #[error("this device no longer has the address {0}, from which it was connected")]
    Moved(IpAddr),
    #[error("this device has a new certificate")]
    Renewed,
}

impl NoSession {
    /// Whether a server shows a root that is not known here.
    fn is_about_roots(&self) -> bool {
        match self {
            Self::NoServers(DiscoveryError::Api(ApiError::Dial(error))) => is_of_unknown_root(error),
            Self::Unreachable(Unreachable(errors)) => errors.iter().any(is_of_unknown_root),
            _ => false,
        }
    }
}

impl Agent {
    /// Takes the state folder of `config` and starts a target; dials nothing yet.
    ///
    /// # Errors
    /// [`AgentError::State`] or [`AgentError::Tls`].
    ///
    /// # Panics
    /// Outside a tokio runtime, or when the operating system has no randomness to give.
    pub fn open(config: &Config) -> Result<Self, AgentError> {
        let folder = config.folder();
        let lock = folder.lock()?;
        let trial = match folder.settle()? {
            Settled::OnTrial(left) => Some(Instant::now() + left),
            Settled::Kept => None,
        };
        let device = folder.device()?;
        let directory = folder.directory(&device)?;
        let crls = Arc::new(folder.crls(&directory.issuers()));
        let tls = control::tls(&device, &directory, &crls)?;
        let mut random = Random::new(seed());
        Ok(Self {
            status: StatusFile::create(&folder, device.principal.id::<()>().to_string()),
            tunnels: Tunnels::start(&device, config.tunnel.clone()),
            distribution: Distribution::start(
                &device,
                &crls,
                folder.path().to_owned(),
                folder.announcer()?,
                config.ports,
            ),
            polling: Polling::start(),
            ksn: Ksn::start(&device, &crls, config.ports),
            neighbours: Neighbours::start(
                &device,
                &crls,
                config.ports.neighbours,
                Random::new(random.bits()),
            ),
            backoff: Backoff::new(Random::new(random.bits())),
            renewing: Renewing::new(&device, Random::new(random.bits())),
            refreshing: Refreshing::new(Random::new(random.bits())),
            boot_id: Bytes::from(Id::<()>::random().to_vec()),
            cards: Vec::new(),
            last_epoch: 0,
            sync: folder.sync().inspect_err(|error| tracing::warn!(%error, "not to be synchronised")).ok(),
            clock: ServerClock::default(),
            outage: Outage::default(),
            reached: None,
            trial,
            astray: false,
            _lock: lock,
            folder,
            device,
            directory,
            crls,
            tls,
            random,
        })
    }

    /// Which device this is.
    pub fn device(&self) -> DeviceId {
        self.device.principal.id()
    }

    /// Runs until `shutdown`, saying goodbye to the server then.
    ///
    /// # Errors
    /// [`AgentError::Banned`] when the server wants this device never to come back, [`AgentError::WentBack`] and
    /// [`AgentError::Separated`] when the folder is to be opened again.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), AgentError> {
        if let Some(keys) = self.directory.keys() {
            self.tunnels.keys(keys.clone()).await?;
        }
        let ended = self.keep(&shutdown).await;
        if self.trial.is_some() && matches!(ended, Err(AgentError::Banned(_) | AgentError::WentBack)) {
            self.folder.go_back()?;
            tracing::warn!("the new server does not welcome this device, it goes back");
            return Err(AgentError::WentBack);
        }
        match &ended {
            Err(AgentError::Banned(reason)) => {
                self.status.connection(Connection::Banned { reason: reason.clone() });
            }
            _ => self.status.connection(Connection::Stopped),
        }
        ended
    }

    async fn keep(&mut self, shutdown: &CancellationToken) -> Result<(), AgentError> {
        while !shutdown.is_cancelled() {
            // 1. Drain.
            match self.backoff.poll_output() {
                Some(backoff::Output::Dial) => {
                    self.attempt(shutdown).await?;
                    continue;
                }
                Some(backoff::Output::Stop { reason }) => return Err(AgentError::Banned(reason)),
                None => {}
            }
            let deadline = self.backoff.poll_timeout().unwrap_or_else(Instant::now);
            if self.trial.is_some_and(|until| Instant::now() >= until) {
                return Err(AgentError::WentBack);
            }
            // 2. Wait for whatever comes first.
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = sleep_until(deadline.into()) => self.backoff.handle_timeout(Instant::now()),
                refreshed = self.refreshing.answer(|| discovery::client(&self.device, &self.crls)) => {
                    self.refreshed(refreshed).await;
                }
                renewed = self.renewing.answer(&self.device, &self.crls, &self.clock) => {
                    if self.renewed(renewed) {
                        self.backoff.handle_input(Instant::now(), backoff::Input::Cleared);
                    }
                }
                // Nobody is there to be told; the target tells again after the next WELCOME.
                message = self.tunnels.message() => {
                    message?;
                    self.status.tunnel_connections(Instant::now(), self.tunnels.connections());
                }
                _ = self.polling.message() => {}
                _ = self.ksn.message() => {}
                news = self.neighbours.news() => self.neighboured(news),
                news = self.distribution.news() => {
                    if let News::Stands(shown) = news {
                        self.status.distribution(shown);
                    }
                }
                () = until(self.status.poll_timeout()) => self.status.handle_timeout(Instant::now()),
            }
        }
        Ok(())
    }

    /// One attempt: a session until it ends, or none.
    async fn attempt(&mut self, shutdown: &CancellationToken) -> Result<(), AgentError> {
        self.status.connecting();
        let dialled = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            dialled = self.dial() => dialled,
        };
        self.astray = dialled.is_err();
        let ended = match dialled {
            Ok(dialled) => {
                self.look_at_cards().await;
                let ended = self.session(dialled, shutdown).await?;
                self.reached = Some(Instant::now());
                ended
            }
            Err(error) => Err(error),
        };
        let input = match ended {
            Err(NoSession::Moved(_) | NoSession::Renewed) => backoff::Input::Moved,
            _ => backoff::Input::Ended,
        };
        self.backoff.handle_input(Instant::now(), input);
        match ended {
            Ok(()) | Err(NoSession::Renewed) => {}
            Err(error) => {
                if about_time(&error).is_some() {
                    self.measure_clock().await;
                }
                self.failed(&error);
            }
        }
        Ok(())
    }

    /// Looks which network cards there are, for the HELLO that says so.
    async fn look_at_cards(&mut self) {
        self.cards = match self.sync.is_some() {
            true => own_cards().await.unwrap_or_default(),
            false => Vec::new(),
        };
        self.cards.truncate(ADDRESSES_LIMIT);
    }

    /// Dials; a fabric that has other roots than the device knows is followed first.
    async fn dial(&mut self) -> Result<Dialled, NoSession> {
        match self.dial_as_known().await {
            Err(error) if error.is_about_roots() && self.follow().await => self.dial_as_known().await,
            dialled => dialled,
        }
    }

    async fn dial_as_known(&mut self) -> Result<Dialled, NoSession> {
        let now = SystemTime::now();
        if let Err(error) = clock::own_certificate(&self.device, now) {
            return Err(self.unfit(&error).await);
        }
        // Before anybody is bothered with a handshake that cannot be finished.
        self.device.identity.key.ready()?;
        let stale = !self.directory.is_fresh(now) || !self.knows_the_revoked(now);
        let discovered = match self.is_lost() || stale {
            true => self.discover().await,
            false => Ok(()),
        };
        let candidates = self.directory.candidates(&mut self.random);
        match discovered {
            Err(error) if candidates.is_empty() => return Err(NoSession::NoServers(error)),
            Err(error) => tracing::debug!(%error, "discovery failed; the stored server list is used"),
            Ok(()) => {}
        }
        Ok(control::dial(&candidates, &self.tls).await?)
    }

    /// Why the device's own certificate keeps it away: a clock that is wrong, or a time that is over, which its renewal
    /// ends in its own time.
    async fn unfit(&mut self, error: &ChainError) -> NoSession {
        self.measure_clock().await;
        let skew = self.clock.skew(Instant::now(), SystemTime::now());
        let words = match clock::is_about_time(error) {
            true => clock::explain("this device's certificate", error, skew),
            false => format!("this device's certificate is of before the fabric's last rotations: {error}"),
        };
        NoSession::OwnCertificate(match &self.renewing.failure {
            Some(failure) => format!("{words}; it is not renewed: {failure}"),
            None => words,
        })
    }

    /// Asks the server for its clock, which is nobody's word but says which of the two to look at.
    async fn measure_clock(&mut self) {
        let Candidate { host, port } = self.device.host_and_port();
        match measure::skew(&host, port, &self.device.trust).await {
            Ok(skew) => self.told(skew),
            // Without them the renewal would not find its server either.
            Err(MeasureError::Dial(error)) if is_of_unknown_root(&error) => drop(self.follow().await),
            Err(error) => tracing::debug!(%error, "the server's clock is not known"),
        }
    }

    /// Follows the fabric to its newest roots; says whether there are newer ones.
    async fn follow(&mut self) -> bool {
        let followed = match newer_roots(&self.device.server, &self.device.trust).await {
            Ok(Some(trust)) => self.take_roots(trust),
            Ok(None) => Err("the fabric's lineage leads to no newer roots".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = &followed {
            tracing::debug!(%reason, "no newer roots");
            return false;
        }
        tracing::info!(version = self.device.trust.version(), "the fabric has other roots");
        if let Err(error) = self.discover().await {
            tracing::warn!(%error, "nothing is known yet of what the new root has signed");
        }
        true
    }

    fn take_roots(&mut self, trust: Trust) -> Result<(), String> {
        self.folder.save_trust(&trust).map_err(|error| error.to_string())?;
        self.directory.rooted(trust.root_keys());
        self.device.trust = trust;
        self.renewing.done(&self.device);
        self.configure()
    }

    /// Takes in how far this clock is from the server's, where somebody may look.
    fn told(&mut self, skew: Skew) {
        self.clock.measured(Instant::now(), SystemTime::now(), skew);
        self.neighbours.clock(self.clock);
        self.status.clock_skew(skew.seconds);
    }

    /// Takes in who is in the device's networks.
    fn neighboured(&mut self, news: neighbours::News) {
        match news {
            neighbours::News::Heard(fact) => self.polling.heard(fact),
            neighbours::News::Stand(neighbours) => self.status.neighbours(neighbours),
        }
    }

    /// Takes a new certificate; says whether there is one. Until it is stored the old one is used, and is good.
    fn renewed(&mut self, renewed: Result<Enrolled, RenewError>) -> bool {
        let taken =
            renewed.map_err(|error| error.to_string()).and_then(|renewed| self.take_certificate(renewed));
        match taken {
            Ok(()) => {
                tracing::info!("the device has a new certificate");
                self.renewing.done(&self.device);
                true
            }
            Err(reason) => {
                tracing::warn!(%reason, "the certificate is not renewed; it is tried again");
                self.renewing.failed(reason);
                false
            }
        }
    }

    fn take_certificate(&mut self, renewed: Enrolled) -> Result<(), String> {
        let identity = Identity { chain: renewed.chain, key: self.device.identity.key.clone() };
        self.folder.save_chain(&identity.chain).map_err(|error| error.to_string())?;
        (self.device.identity, self.device.principal) = (identity, renewed.principal);
        self.configure()
    }

    /// Dials with what is known now.
    fn configure(&mut self) -> Result<(), String> {
        self.tls =
            control::tls(&self.device, &self.directory, &self.crls).map_err(|error| error.to_string())?;
        self.distribution.identify(&self.device);
        self.ksn.identify(&self.device);
        self.neighbours.identify(&self.device, &self.crls);
        Ok(())
    }

    /// Whether there is a fresh revocation list of every issuer.
    fn knows_the_revoked(&self, now: SystemTime) -> bool {
        self.crls.are_fresh(&self.directory.issuers(), unix(now))
    }

    /// Whether the list of servers may be old. A server that was there a moment ago restarts, and a fleet that asks
    /// where it is would cost it a second handshake each.
    fn is_lost(&self) -> bool {
        self.astray && self.reached.is_none_or(|reached| reached.elapsed() >= RESTART)
    }

    async fn discover(&mut self) -> Result<(), DiscoveryError> {
        let client = discovery::client(&self.device, &self.crls)?;
        let discovered = discovery::ask(&client).await?;
        self.take(&discovered).await
    }

    async fn take(&mut self, discovered: &Discovered) -> Result<(), DiscoveryError> {
        self.take_keys(&discovered.keys).await?;
        discovery::take_crls(&self.crls, &self.folder, &self.directory.issuers(), &discovered.crls)?;
        self.take_servers(&discovered.servers)
    }

    /// Takes the daily answer.
    async fn refreshed(&mut self, discovered: Result<Discovered, DiscoveryError>) {
        let taken = match discovered {
            Ok(discovered) => self.take(&discovered).await,
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            tracing::debug!(%error, "nothing newer was discovered");
        }
    }

    fn take_servers(&mut self, servers: &Signed) -> Result<(), DiscoveryError> {
        let now = self.clock.unix(Instant::now(), SystemTime::now());
        discovery::take_servers(&mut self.directory, &self.folder, servers, now).map(|_| ())
    }

    async fn take_keys(&mut self, keys: &Signed) -> Result<(), DiscoveryError> {
        let taken = discovery::take_keys(&mut self.directory, &self.folder, keys)?;
        if let (Taken::Newer, Some(keys)) = (taken, self.directory.keys().cloned()) {
            tracing::info!(version = keys.version, "the fabric has a newer key set");
            if let Err(reason) = self.configure() {
                tracing::warn!(%reason, "TLS is not configured anew");
            }
            // A target that has stopped ends the agent where its messages are read.
            let _ = self.tunnels.keys(keys).await;
        }
        Ok(())
    }

    /// Says why there is no session: one warning for each outage, the rest for whoever looks closer.
    fn failed(&mut self, error: &NoSession) {
        let reason = self.words(error);
        match self.outage.begins(Instant::now()) {
            true => tracing::warn!(%reason, "no connection to the server"),
            false => tracing::debug!(%reason, "still no connection to the server"),
        }
        let wait = self.backoff.poll_timeout().map(|next| next.saturating_duration_since(Instant::now()));
        match error {
            NoSession::Key(_) => self.status.keyless(reason, wait.unwrap_or_default()),
            _ => self.status.failed(reason, wait.unwrap_or_default()),
        }
    }

    fn words(&self, error: &NoSession) -> String {
        match about_time(error) {
            Some(error) => {
                let skew = self.clock.skew(Instant::now(), SystemTime::now());
                clock::explain("the server's certificate", error, skew)
            }
            None => error.to_string(),
        }
    }
}

/// Why the server's certificate was refused, when a clock may be to blame.
fn about_time(error: &NoSession) -> Option<&ChainError> {
    let NoSession::Unreachable(Unreachable(errors)) = error else { return None };
    errors.iter().find_map(|error| match error {
        DialError::Certificate { error, .. } if clock::is_about_time(error) => Some(error),
        _ => None,
    })
}

/// Waits for a deadline; for ever without one.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// How long the restart of a server may take before it is looked for elsewhere.
const RESTART: Duration = Duration::from_secs(10);

fn seed() -> u64 {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).expect("the operating system gives randomness");
    u64::from_le_bytes(bytes)
}
