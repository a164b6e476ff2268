//! The agent: one loop that finds a server, keeps a session with it, and serves tunnels.

mod address;
mod failure;
mod knowledge;
mod outage;
mod refreshing;
mod renewing;
mod roles;
mod session;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use klnet_discovery::mac::Mac;
use klnet_discovery::net::own_cards;
use klnet_tunnel::net::target::Stopped;
use klnet_wire::id::{DeviceId, Id};
use klnet_wire::identity::crl::Crls;
use klnet_wire::message::Message;
use klnet_wire::message::sighting::ADDRESSES_LIMIT;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ClientConfig;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::backoff::{self, Backoff};
use crate::clock::{self, ServerClock, Skew};
use crate::config::Config;
use crate::control::{self, Dialled};
use crate::directory::Directory;
use crate::discovery;
use crate::random::Random;
use crate::state::{Device, Folder, Lock, Settled, StateError, Sync};
use crate::status::{Connection, StatusFile};
use crate::tunnels::Tunnels;
use failure::{NoSession, about_time};
use outage::Outage;
use refreshing::Refreshing;
use renewing::Renewing;
use roles::{News, Roles};

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
    roles: Roles,
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
            roles: Roles::start(&device, &crls, &folder, config.ports, Random::new(random.bits()))?,
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
                news = self.roles.news() => drop(self.shown(news)),
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

    /// Takes in how far this clock is from the server's, where somebody may look.
    fn told(&mut self, skew: Skew) {
        self.clock.measured(Instant::now(), SystemTime::now(), skew);
        self.roles.clock(self.clock);
        self.status.clock_skew(skew.seconds);
    }

    /// Shows news where somebody may look; gives what the server is to know.
    fn shown(&mut self, news: News) -> Option<Message> {
        match news {
            News::Say(message) => return Some(message),
            News::Distribution(shown) => self.status.distribution(shown),
            News::Neighbours(neighbours) => self.status.neighbours(neighbours),
        }
        None
    }

    /// Dials with what is known now.
    fn configure(&mut self) -> Result<(), String> {
        self.tls =
            control::tls(&self.device, &self.directory, &self.crls).map_err(|error| error.to_string())?;
        self.roles.identify(&self.device, &self.crls);
        Ok(())
    }

    /// Whether the list of servers may be old. A server that was there a moment ago restarts, and a fleet that asks
    /// where it is would cost it a second handshake each.
    fn is_lost(&self) -> bool {
        self.astray && self.reached.is_none_or(|reached| reached.elapsed() >= RESTART)
    }
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
