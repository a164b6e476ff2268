//! Agents: the listeners on 23100-23199, and one session for each connected device.
//!
//! A connection is peeked at first: a dialled-back tunnel connection goes to the relay, anything else is TLS with a
//! device's certificate. Nothing durable happens on this path; what a session is told comes from memory.

mod admission;
mod lists;
mod session;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use klnet_tunnel::net::accept::Acceptor;
use klnet_tunnel::net::lobby::{Limits, Lobby};
use klnet_tunnel::net::relay::{Arrival, RelayHandle};
use klnet_tunnel::relay::Scope;
use klnet_wire::id::DeviceId;
use klnet_wire::identity::ChainError;
use klnet_wire::identity::crl::Crls;
use klnet_wire::identity::tls::chain_error;
use klnet_wire::message::GoAway;
use klnet_wire::net::dial::tuned;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::config::Config;
use crate::distribution::Distribution;
use crate::fleet::{Denied, Fleet};
use crate::metrics::{Metrics, Why};
use crate::sessions::Sessions;
use crate::tunnels::Tunnels;

/// The sessions of every connected device.
#[derive(Debug)]
pub struct Agents {
    fleet: Arc<Fleet>,
    relay: RelayHandle,
    metrics: Arc<Metrics>,
    config: Arc<Config>,
    sessions: Arc<Sessions>,
    distribution: Arc<Distribution>,
    /// The newest revocation lists, which devices are told of.
    crls: Arc<Crls>,
    /// Numbers sessions: an epoch is the agent's word, and two sessions may name the same.
    serials: AtomicU64,
    /// Held while sessions, presence and relay are told who comes and goes, so that all hear of it in one order.
    turn: tokio::sync::Mutex<()>,
    /// Handshakes under way.
    handshakes: Arc<Lobby>,
    /// Another process serves as soon as this one ends.
    back_at_once: AtomicBool,
}

impl Agents {
    /// No sessions yet.
    pub fn new(
        fleet: Arc<Fleet>,
        sessions: Arc<Sessions>,
        distribution: Arc<Distribution>,
        crls: Arc<Crls>,
        relay: RelayHandle,
        metrics: Arc<Metrics>,
        config: Arc<Config>,
    ) -> Arc<Self> {
        Arc::new(Self {
            fleet,
            relay,
            metrics,
            config,
            sessions,
            distribution,
            crls,
            serials: AtomicU64::new(0),
            turn: tokio::sync::Mutex::default(),
            handshakes: Lobby::new(HANDSHAKES),
            back_at_once: AtomicBool::new(false),
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
            // An IPv4 peer of a socket for both families is shown as what it is.
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
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
        // Boxed, like the handshake: the session that comes after both is there for months, and small.
        let stream = match Box::pin(self.relay.agent(stream, peer)).await {
            Ok(Arrival::Control(stream)) => stream,
            Ok(Arrival::DialBack) => return,
            Err(error) => return self.refused("no first flight", peer, &error),
        };
        let Some(seat) = self.handshakes.enter(peer.ip()) else {
            return self.refused("crowded", peer, &"too many handshakes under way");
        };
        self.metrics.handshakes.inc();
        let shaken = timeout(HANDSHAKE_TIMEOUT, Box::pin(shake(stream, tls))).await;
        self.metrics.handshakes.dec();
        drop(seat);
        match shaken {
            Ok(Ok(stream)) => self.run(stream, peer, tunnels, shutdown).await,
            Ok(Err(error)) => self.refused(failure(&error), peer, &error),
            Err(error) => self.refused("handshake timeout", peer, &error),
        }
    }

    fn refused(&self, why: &'static str, peer: SocketAddr, error: &dyn std::fmt::Display) {
        debug!(%peer, why, %error, "connection of an agent refused");
        self.metrics.agents_refused.get_or_create(&Why { why }).inc();
    }

    /// Ends the sessions and tunnels of whom the fleet revokes, as long as it does.
    pub async fn follow_denials(self: Arc<Self>, mut denials: broadcast::Receiver<Denied>) {
        // Connections of an earlier process may be of someone who was revoked in its last moment.
        self.check_all().await;
        loop {
            match denials.recv().await {
                Ok(Denied::Device(device)) => self.deny_device(device).await,
                Ok(Denied::Operator(operator)) => self.revoke(Scope::Operator(operator)).await,
                Err(broadcast::error::RecvError::Lagged(_)) => self.check_all().await,
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// Another process takes this one's place: agents that leave from now on may be back at once.
    pub fn will_be_back(&self) {
        self.back_at_once.store(true, Ordering::Relaxed);
    }

    /// Waits until every session has said goodbye, but not longer than `limit`.
    pub async fn farewell(&self, limit: Duration) {
        let mut live = self.sessions.all();
        let gone = async {
            while let Some((_, live)) = live.pop() {
                live.commands.closed().await;
            }
        };
        let _ = timeout(limit, gone).await;
    }

    async fn deny_device(&self, device: DeviceId) {
        self.revoke(Scope::Device(device)).await;
        let Some(live) = self.sessions.live(device) else { return };
        info!(%device, "device revoked, its session ends");
        let last = GoAway { reason: REVOKED.into(), forever: true, ..GoAway::default() };
        live.end(last, REVOKED);
    }

    async fn revoke(&self, scope: Scope) {
        if self.relay.revoke(scope).await.is_err() {
            debug!("the relay has stopped; its connections are cut already");
        }
    }

    /// After denials were missed: looks at everyone who is connected.
    async fn check_all(&self) {
        let sessions = self.sessions.all().into_iter().map(|(device, live)| (live.tenant, device));
        let tunnels = self.relay.tunnels().await.unwrap_or_default();
        let tunnels = tunnels.iter().map(|tunnel| (tunnel.view.grant.tenant, tunnel.view.grant.device));
        for (tenant, device) in sessions.chain(tunnels) {
            if self.fleet.is_denied(tenant, device) {
                self.deny_device(device).await;
            }
        }
        for operator in self.fleet.denied_operators() {
            self.revoke(Scope::Operator(operator)).await;
        }
    }
}

async fn shake(stream: TcpStream, tls: TlsAcceptor) -> std::io::Result<Box<TlsStream<TcpStream>>> {
    let stream = tls.accept(tuned(stream)?).await?;
    // TLS lets a client through that offers no protocol at all; ours is also the version it speaks.
    let spoken = stream.get_ref().1.alpn_protocol().is_some();
    let stream = spoken.then(|| Box::new(stream));
    stream.ok_or_else(|| std::io::Error::other("no application protocol offered"))
}

/// Why a handshake failed. A certificate whose time is not now is often a clock that is wrong, here or there.
fn failure(error: &std::io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner.and_then(chain_error) {
        Some(ChainError::Expired(_) | ChainError::NotYetValid(_)) => "certificate not of this time",
        Some(ChainError::Revoked) => "certificate revoked",
        Some(_) => "certificate refused",
        None => "handshake",
    }
}

const REVOKED: &str = "this device was revoked";
/// From the first flight to an established TLS connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// What an agent that shakes hands takes of the server's time, twice over.
const HANDSHAKE_TIME: Duration = Duration::from_micros(500);
/// Handshakes under way at once; above it a connection is closed, and its agent comes back by its own backoff. A whole
/// fleet may come back at once from behind one address, so one source may have many; but never all: a core does about
/// four thousand handshakes a second, and whoever only holds seats loses each after [`HANDSHAKE_TIMEOUT`].
const HANDSHAKES: Limits = Limits { total: 4096, per_source: 1024 };
