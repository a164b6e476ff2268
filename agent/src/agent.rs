//! The agent: one loop that finds a server, keeps a session with it, and serves tunnels.

mod address;
mod outage;
mod session;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use klnet_tunnel::net::target::Stopped;
use klnet_wire::id::{DeviceId, Id};
use klnet_wire::identity::tls::{ALPN_AGENT, client_config};
use klnet_wire::net::dial::DialError;
use klnet_wire::outbox::Full;
use klnet_wire::session::CloseReason;
use klnet_wire::signed::Signed;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ClientConfig;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::backoff::{self, Backoff};
use crate::clock::{self, ServerClock};
use crate::config::Config;
use crate::control::{self, Dialled, Unreachable};
use crate::directory::{Directory, Taken};
use crate::discovery::{self, DiscoveryError};
use crate::random::Random;
use crate::state::{Device, Folder, Lock, StateError};
use crate::status::{Connection, StatusFile};
use crate::tunnels::Tunnels;
use outage::Outage;

/// A Network Agent.
#[derive(Debug)]
pub struct Agent {
    folder: Folder,
    _lock: Lock,
    device: Device,
    directory: Directory,
    tls: Arc<ClientConfig>,
    tunnels: Tunnels,
    backoff: Backoff,
    random: Random,
    clock: ServerClock,
    status: StatusFile,
    outage: Outage,
    /// Tells a restart from a reconnect.
    boot_id: Bytes,
    /// When a server was last there.
    reached: Option<Instant>,
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
        let folder = Folder::new(&config.state);
        let device = folder.device()?;
        let lock = folder.lock()?;
        let directory = folder.directory(&device)?;
        let tls = client_config(Some(&device.identity), device.trust.clone(), &[ALPN_AGENT])?;
        let mut random = Random::new(seed());
        Ok(Self {
            status: StatusFile::create(&folder, device.principal.id::<()>().to_string()),
            tunnels: Tunnels::start(&device, config.tunnel.clone()),
            backoff: Backoff::new(Random::new(random.bits())),
            boot_id: Bytes::from(Id::<()>::random().to_vec()),
            clock: ServerClock::default(),
            outage: Outage::default(),
            reached: None,
            astray: false,
            _lock: lock,
            folder,
            device,
            directory,
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
    /// [`AgentError::Banned`] when the server wants this device never to come back.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), AgentError> {
        if let Some(keys) = self.directory.keys() {
            self.tunnels.keys(keys.clone()).await?;
        }
        let ended = self.keep(&shutdown).await;
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
            // 2. Wait for whatever comes first.
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = sleep_until(deadline.into()) => self.backoff.handle_timeout(Instant::now()),
                // Nobody is there to be told; the target tells again after the next WELCOME.
                message = self.tunnels.message() => {
                    message?;
                    self.status.tunnel_connections(self.tunnels.connections());
                }
            }
        }
        Ok(())
    }

    /// One attempt: a session until it ends, or none.
    async fn attempt(&mut self, shutdown: &CancellationToken) -> Result<(), AgentError> {
        self.status.connection(Connection::Connecting);
        let dialled = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            dialled = self.dial() => dialled,
        };
        self.astray = dialled.is_err();
        let ended = match dialled {
            Ok(dialled) => {
                let ended = self.session(dialled, shutdown).await?;
                self.reached = Some(Instant::now());
                ended
            }
            Err(error) => Err(error),
        };
        let input = match ended {
            Err(NoSession::Moved(_)) => backoff::Input::Moved,
            _ => backoff::Input::Ended,
        };
        self.backoff.handle_input(Instant::now(), input);
        if let Err(error) = ended {
            self.failed(&error);
        }
        Ok(())
    }

    async fn dial(&mut self) -> Result<Dialled, NoSession> {
        let now = SystemTime::now();
        clock::own_certificate(&self.device, now).map_err(|error| {
            let skew = self.clock.skew(Instant::now(), now);
            NoSession::OwnCertificate(clock::explain("this device's certificate", &error, skew))
        })?;
        let discovered = match self.is_lost() || !self.directory.is_fresh(now) {
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

    /// Whether the list of servers may be old. A server that was there a moment ago restarts, and a fleet that asks
    /// where it is would cost it a second handshake each.
    fn is_lost(&self) -> bool {
        self.astray && self.reached.is_none_or(|reached| reached.elapsed() >= RESTART)
    }

    async fn discover(&mut self) -> Result<(), DiscoveryError> {
        let (keys, servers) = discovery::ask(&self.device).await?;
        self.take_keys(&keys).await?;
        self.take_servers(&servers)
    }

    fn take_servers(&mut self, servers: &Signed) -> Result<(), DiscoveryError> {
        let now = self.clock.unix(Instant::now(), SystemTime::now());
        discovery::take_servers(&mut self.directory, &self.folder, servers, now).map(|_| ())
    }

    async fn take_keys(&mut self, keys: &Signed) -> Result<(), DiscoveryError> {
        let taken = discovery::take_keys(&mut self.directory, &self.folder, keys)?;
        if let (Taken::Newer, Some(keys)) = (taken, self.directory.keys()) {
            tracing::info!(version = keys.version, "the fabric has a newer key set");
            // A target that has stopped ends the agent where its messages are read.
            let _ = self.tunnels.keys(keys.clone()).await;
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
        self.status.failed(reason, wait.unwrap_or_default());
    }

    fn words(&self, error: &NoSession) -> String {
        let NoSession::Unreachable(Unreachable(errors)) = error else { return error.to_string() };
        let about_time = errors.iter().find_map(|error| match error {
            DialError::Certificate { error, .. } if clock::is_about_time(error) => Some(error),
            _ => None,
        });
        match about_time {
            Some(error) => {
                let skew = self.clock.skew(Instant::now(), SystemTime::now());
                clock::explain("the server's certificate", error, skew)
            }
            None => error.to_string(),
        }
    }
}

/// How long the restart of a server may take before it is looked for elsewhere.
const RESTART: Duration = Duration::from_secs(10);

fn seed() -> u64 {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).expect("the operating system gives randomness");
    u64::from_le_bytes(bytes)
}
