//! The relay's driver: one task owns the [`Relay`], small tasks look after its sockets.
//!
//! ```text
//! tunnel port ──▶ peek (3 s, bounded) ──label──▶ ┌────────────┐ ──▶ OPEN, REVOKE, records (bounded channel)
//! agents port ──▶ peek, consume ──────cookie───▶ │ Relay, its │ ──▶ parked sockets: watched until joined
//! control connections ──states, online, …──────▶ │ one task   │ ──▶ a mover per joined pair, on a lane
//!                                                └────────────┘
//! ```
//! The task opens no descriptor and waits for nobody but the consumer of its events.

mod driver;
mod handover;
mod leaving;
mod parked;
mod report;
mod yard;

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use klnet_wire::id::{DeviceId, GrantId};
use klnet_wire::message::{Open, TunnelState, Tunnels};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::lanes::Lanes;
use super::lobby::{self, Lobby};
use super::mover::{Flow, Means};
use super::peek::{self, PeekError};
use super::socket;
use crate::grant::Grant;
use crate::label::{Cookie, Label, LabelSecret};
use crate::relay::{AdmitError, Input, RefusedHello, Relay, RelayRecord, Scope, TunnelView};
use driver::{Command, Driver};
pub use leaving::{Departure, Part};
use yard::Movers;

/// What a relay's driver is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The core's own.
    pub core: crate::relay::Config,
    /// Where pairs run.
    pub lanes: Lanes,
    /// Whether bulk is moved by `splice(2)`: what [`splice_works`](super::mover::splice_works) says.
    pub splice: bool,
    /// Most bytes per second of one tenant's connections, both directions together; `None` is unlimited.
    pub tenant_rate: Option<NonZeroU64>,
    /// Within this a first flight must be complete.
    pub hello_timeout: Duration,
    /// How many connections may be without a complete first flight.
    pub lobby: lobby::Limits,
}

impl Config {
    /// The usual bounds around a core, everything on the current runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(core: crate::relay::Config) -> Self {
        Self {
            core,
            lanes: Lanes::current(),
            splice: cfg!(target_os = "linux"),
            tenant_rate: None,
            hello_timeout: HELLO_TIMEOUT,
            lobby: lobby::Limits::default(),
        }
    }
}

/// What a relay tells its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayEvent {
    /// Send OPEN to the device.
    Open {
        /// The device.
        device: DeviceId,
        /// The message.
        open: Open,
    },
    /// Send REVOKE to the device, in messages of at most `REVOKE_LIMIT` grants.
    RevokeAt {
        /// The device.
        device: DeviceId,
        /// The grants to end there.
        grants: Vec<GrantId>,
        /// For people and the audit log.
        reason: &'static str,
    },
    /// A first flight led to nothing. Only these are left out when the server does not keep up.
    Refused {
        /// Why.
        why: RefusedHello,
        /// The grant, when the label or cookie named one.
        grant: Option<GrantId>,
        /// The peer, when it was an initiator.
        peer: Option<SocketAddr>,
    },
    /// A verified connection is over.
    Record(RelayRecord),
}

/// A grant with what its connections have moved so far.
#[derive(Debug, Clone)]
pub struct LiveTunnel {
    /// The grant and its connections.
    pub view: TunnelView,
    /// Bytes of each connection, in the order of `view.pairs`.
    pub moved: Vec<Moved>,
}

/// Bytes moved so far, and how far the two ends are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// From the initiator to the target.
    pub to_target: u64,
    /// From the target to the initiator.
    pub to_initiator: u64,
    /// Round trip to the initiator as its socket measures it; `None` when the system does not tell.
    pub rtt_initiator: Option<Duration>,
    /// Round trip to the target's agent, likewise.
    pub rtt_target: Option<Duration>,
}

impl Moved {
    fn of(flow: &Flow) -> Self {
        let [rtt_initiator, rtt_target] = flow.round_trips();
        Self { to_target: flow.to_target(), to_initiator: flow.to_initiator(), rtt_initiator, rtt_target }
    }
}

/// What a connection to the agents' port turned out to be.
#[derive(Debug)]
pub enum Arrival {
    /// Not a dial-back: a control connection, of which nothing was read.
    Control(TcpStream),
    /// A dial-back, which the relay has taken.
    DialBack,
}

/// Why a grant was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmitFailure {
    /// The relay refuses it.
    #[error(transparent)]
    Refused(#[from] AdmitError),
    /// The relay has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// The relay's task is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the relay has stopped")]
pub struct Stopped;

/// Reaches a running relay. When the last handle is dropped the relay stops and resets its connections.
#[derive(Debug, Clone)]
pub struct RelayHandle {
    commands: mpsc::Sender<Command>,
    lobby: Arc<Lobby>,
    hello_timeout: Duration,
    means: Arc<Means>,
}

/// Starts a relay on the current runtime.
///
/// Whoever takes the events must not wait for the relay meanwhile, or both wait for ever.
pub fn start(config: Config) -> (RelayHandle, mpsc::Receiver<RelayEvent>) {
    let (commands, command_queue) = mpsc::channel(QUEUE);
    let (events, event_queue) = mpsc::channel(QUEUE);
    let Config { core, lanes, splice, tenant_rate, hello_timeout, lobby } = config;
    let means = Arc::new(Means::new(splice));
    let movers = Movers { lanes, means: Arc::clone(&means), tenant_rate };
    tokio::spawn(Driver::new(Relay::new(core), movers, command_queue, events).run());
    (RelayHandle { commands, lobby: Lobby::new(lobby), hello_timeout, means }, event_queue)
}

impl RelayHandle {
    /// Takes a grant at mint, which also asks its device for a dial-back; `now_unix` is the server's clock.
    ///
    /// # Errors
    /// [`AdmitFailure`], and nothing was changed.
    pub async fn admit(
        &self,
        now_unix: u64,
        grant: Arc<Grant>,
        secret: LabelSecret,
    ) -> Result<(), AdmitFailure> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Admit { now_unix, grant, secret, reply }).await?;
        Ok(answer.await.map_err(|_| Stopped)??)
    }

    /// Takes a connection to a tunnel port. Returns at once; what comes of it shows in events only.
    pub fn initiator(&self, stream: TcpStream, peer: SocketAddr) {
        let Some(seat) = self.lobby.enter(peer.ip()) else {
            tracing::debug!(%peer, "too many connections without a first flight, closed");
            return;
        };
        let relay = self.clone();
        tokio::spawn(async move {
            // The seat is kept until the relay has the socket.
            let _seat = seat;
            let taken = match relay.label(&stream).await {
                Ok(Some(label)) => relay.send(Command::Initiator { stream, label, peer }).await,
                Ok(None) => return tracing::debug!(%peer, "first flight without a label, closed"),
                Err(error) => return tracing::debug!(%peer, %error, "no first flight, closed"),
            };
            if let Err(error) = taken {
                tracing::debug!(%peer, %error, "connection closed");
            }
        });
    }

    /// Looks at a connection to the agents' port, takes it when it is a dial-back, and gives it back otherwise.
    ///
    /// # Errors
    /// [`PeekError`] when no complete first flight came in time, or too many connections wait for theirs.
    pub async fn agent(&self, mut stream: TcpStream, peer: SocketAddr) -> Result<Arrival, PeekError> {
        let _seat = self.lobby.enter(peer.ip()).ok_or(PeekError::Crowded)?;
        let hello = peek::first_hello(&stream, self.hello_timeout).await?;
        let Some(cookie) = hello.server_name.as_deref().and_then(Cookie::from_server_name) else {
            return Ok(Arrival::Control(stream));
        };
        peek::consume(&mut stream, hello.record_len).await?;
        socket::prepare(&stream)?;
        // A relay that has stopped drops the socket, which is all a dial-back is told in any case.
        let _ = self.send(Command::Target { stream, cookie }).await;
        Ok(Arrival::DialBack)
    }

    /// An agent reports on a grant or connection.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn state(&self, state: TunnelState, device: DeviceId) -> Result<(), Stopped> {
        self.send(Command::Tell(Input::State(state, device))).await
    }

    /// An agent says, after a reconnect, which grants still have connections.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn alive(&self, tunnels: Tunnels, device: DeviceId) -> Result<(), Stopped> {
        self.send(Command::Tell(Input::Tunnels(tunnels, device))).await
    }

    /// A device's agent has a new session.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn online(&self, device: DeviceId, epoch: u64) -> Result<(), Stopped> {
        self.send(Command::Tell(Input::Online { device, epoch })).await
    }

    /// A device's control connection is gone.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn offline(&self, device: DeviceId) -> Result<(), Stopped> {
        self.send(Command::Tell(Input::Offline { device })).await
    }

    /// Ends grants and cuts their connections, here and, when it can be reached, at the agent.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn revoke(&self, scope: Scope) -> Result<(), Stopped> {
        self.send(Command::Tell(Input::Revoke(scope))).await
    }

    /// Ends every grant and its connections, and returns when their records are told and the relay is no more.
    ///
    /// # Errors
    /// [`Stopped`] when it was so already.
    pub async fn stop(&self) -> Result<(), Stopped> {
        self.send(Command::Stop).await?;
        self.commands.closed().await;
        Ok(())
    }

    /// The live grants and what their connections have moved.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn tunnels(&self) -> Result<Vec<LiveTunnel>, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Tunnels { reply }).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// How bytes are moved, and how many were so far.
    pub fn means(&self) -> &Means {
        &self.means
    }

    async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }

    async fn label(&self, stream: &TcpStream) -> Result<Option<Label>, PeekError> {
        let hello = peek::first_hello(stream, self.hello_timeout).await?;
        socket::prepare(stream)?;
        Ok(hello.server_name.as_deref().and_then(Label::from_server_name))
    }
}

/// Within this a first flight must be complete: one round trip of a bad line, several times over.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(3);

/// Commands or events that wait; above it their senders wait.
const QUEUE: usize = 1024;
