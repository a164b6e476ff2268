//! Agents: the listeners on 23100-23199, and one session for each connected device.
//!
//! A connection is peeked at first: a dialled-back tunnel connection goes to the relay, anything else is TLS with a
//! device's certificate. Nothing durable happens on this path; what a session is told comes from memory.

mod session;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use klnet_tunnel::net::accept::Acceptor;
use klnet_tunnel::net::relay::{Arrival, RelayHandle};
use klnet_tunnel::relay::Scope;
use klnet_wire::id::{DeviceId, TenantId};
use klnet_wire::message::{GoAway, Message};
use klnet_wire::net::dial::tuned;
use klnet_wire::net::link::Command;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::config::Config;
use crate::fleet::{Denied, Fleet};
use crate::metrics::{Metrics, Why};
use crate::tunnels::Tunnels;

/// The sessions of every connected device.
#[derive(Debug)]
pub struct Agents {
    fleet: Arc<Fleet>,
    relay: RelayHandle,
    metrics: Arc<Metrics>,
    config: Arc<Config>,
    sessions: Mutex<HashMap<DeviceId, Live>>,
    /// Numbers sessions: an epoch is the agent's word, and two sessions may name the same.
    serials: AtomicU64,
    /// Held while the relay is told who comes and goes, so that it hears of it in the order in which it happened.
    turn: tokio::sync::Mutex<()>,
    /// Handshakes under way.
    handshakes: Semaphore,
}

/// A session others can reach.
#[derive(Debug, Clone)]
struct Live {
    tenant: TenantId,
    serial: u64,
    epoch: u64,
    commands: mpsc::Sender<Command>,
    /// Where the agent connected to: dial-backs come to the same place.
    address: SocketAddr,
}

/// A message that did not get on its way to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendFailure {
    /// It has no session.
    #[error("the device is not connected")]
    Offline,
    /// Its session does not take more.
    #[error("the device does not keep up with what it is told")]
    Stalled,
}

impl Agents {
    /// No sessions yet.
    pub fn new(
        fleet: Arc<Fleet>,
        relay: RelayHandle,
        metrics: Arc<Metrics>,
        config: Arc<Config>,
    ) -> Arc<Self> {
        Arc::new(Self {
            fleet,
            relay,
            metrics,
            config,
            sessions: Mutex::default(),
            serials: AtomicU64::new(0),
            turn: tokio::sync::Mutex::default(),
            handshakes: Semaphore::new(HANDSHAKES_LIMIT),
        })
    }

    /// Serves one listener until shutdown.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        tls: Arc<ServerConfig>,
        tunnels: Arc<Tunnels>,
        shutdown: CancellationToken,
    ) {
        let (mut acceptor, tls) = (Acceptor::new(listener), TlsAcceptor::from(tls));
        loop {
            let (stream, peer) = tokio::select! {
                accepted = acceptor.accept() => accepted,
                () = shutdown.cancelled() => return,
            };
            let (agents, tls, tunnels) = (Arc::clone(&self), tls.clone(), Arc::clone(&tunnels));
            let shutdown = shutdown.clone();
            tokio::spawn(async move { agents.arrived(stream, peer, tls, &tunnels, shutdown).await });
        }
    }

    async fn arrived(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        tls: TlsAcceptor,
        tunnels: &Tunnels,
        shutdown: CancellationToken,
    ) {
        let stream = match self.relay.agent(stream, peer).await {
            Ok(Arrival::Control(stream)) => stream,
            Ok(Arrival::DialBack) => return,
            Err(error) => return self.refused("no first flight", peer, &error),
        };
        let handshake = async {
            let _seat = self.handshakes.acquire().await.map_err(std::io::Error::other)?;
            tls.accept(tuned(stream)?).await
        };
        match timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => self.run(stream, peer, tunnels, shutdown).await,
            Ok(Err(error)) => self.refused("handshake", peer, &error),
            Err(error) => self.refused("handshake timeout", peer, &error),
        }
    }

    fn refused(&self, why: &'static str, peer: SocketAddr, error: &dyn std::fmt::Display) {
        debug!(%peer, why, %error, "connection of an agent refused");
        self.metrics.agents_refused.get_or_create(&Why { why }).inc();
    }

    /// Sends a message to a device's session, if it is still the one of `epoch` (any, when `None`).
    ///
    /// # Errors
    /// [`SendFailure`]; it never waits.
    pub fn send(&self, device: DeviceId, epoch: Option<u64>, message: Message) -> Result<(), SendFailure> {
        let live = self.live(device).filter(|live| epoch.is_none_or(|epoch| epoch == live.epoch));
        let live = live.ok_or(SendFailure::Offline)?;
        live.commands.try_send(Command::Send(message)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendFailure::Stalled,
            mpsc::error::TrySendError::Closed(_) => SendFailure::Offline,
        })
    }

    /// The epoch of a device's session, and the address of ours it is connected to.
    pub fn session(&self, device: DeviceId) -> Option<(u64, SocketAddr)> {
        self.live(device).map(|live| (live.epoch, live.address))
    }

    /// Ends the sessions and tunnels of whom the fleet revokes, as long as it does.
    pub async fn follow_denials(self: Arc<Self>, mut denials: broadcast::Receiver<Denied>) {
        loop {
            match denials.recv().await {
                Ok(Denied::Device(device)) => self.deny_device(device).await,
                Ok(Denied::Operator(operator)) => self.revoke(Scope::Operator(operator)).await,
                Err(broadcast::error::RecvError::Lagged(_)) => self.check_all().await,
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// Waits until every session has said goodbye, but not longer than `limit`.
    pub async fn farewell(&self, limit: Duration) {
        let mut live: Vec<_> = {
            let sessions = self.sessions.lock().expect("no holder panics");
            sessions.values().map(|live| live.commands.clone()).collect()
        };
        let gone = async {
            while let Some(commands) = live.pop() {
                commands.closed().await;
            }
        };
        let _ = timeout(limit, gone).await;
    }

    async fn deny_device(&self, device: DeviceId) {
        self.revoke(Scope::Device(device)).await;
        let Some(live) = self.live(device) else { return };
        info!(%device, "device revoked, its session ends");
        let last = GoAway { reason: REVOKED.into(), reconnect_ms: 0, forever: true };
        // A session too busy to hear of it is dropped instead.
        if live.commands.try_send(Command::Finish(Message::GoAway(last), REVOKED.into())).is_err() {
            self.remove(device, live.serial);
        }
    }

    async fn revoke(&self, scope: Scope) {
        if self.relay.revoke(scope).await.is_err() {
            debug!("the relay has stopped; its connections are cut already");
        }
    }

    /// After denials were missed: looks at everyone who is connected.
    async fn check_all(&self) {
        let devices: Vec<_> = {
            let sessions = self.sessions.lock().expect("no holder panics");
            sessions.iter().map(|(device, live)| (live.tenant, *device)).collect()
        };
        for (tenant, device) in devices {
            if self.fleet.is_denied(tenant, device) {
                self.deny_device(device).await;
            }
        }
        for operator in self.fleet.denied_operators() {
            self.revoke(Scope::Operator(operator)).await;
        }
    }

    fn live(&self, device: DeviceId) -> Option<Live> {
        self.sessions.lock().expect("no holder panics").get(&device).cloned()
    }

    /// Makes this the device's session; an older one loses its place and ends.
    fn insert(&self, device: DeviceId, live: Live) {
        let older = self.sessions.lock().expect("no holder panics").insert(device, live);
        if let Some(older) = older {
            let last = GoAway { reason: "a newer session took over".into(), reconnect_ms: 0, forever: false };
            let _ = older.commands.try_send(Command::Finish(Message::GoAway(last), "replaced".into()));
        }
    }

    /// Forgets a session unless a newer one has taken its place; says whether it was still the device's.
    fn remove(&self, device: DeviceId, serial: u64) -> bool {
        let mut sessions = self.sessions.lock().expect("no holder panics");
        let ours = sessions.get(&device).is_some_and(|live| live.serial == serial);
        if ours {
            sessions.remove(&device);
        }
        ours
    }
}

const REVOKED: &str = "this device was revoked";
/// From the first flight to an established TLS connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes under way at once; each costs a core about a quarter of a millisecond.
const HANDSHAKES_LIMIT: usize = 1024;
