//! The HTTPS listener: an accept loop that never ends and never spins, and connections that all have deadlines.
//!
//! ```text
//! accept ─▶ caps ─▶ TLS, 10 s ─▶ ┌ whole request header, 10 s ─▶ router (body, 30 s) ─▶ answer ┐ ─▶ closed
//!                                └──────────── keep-alive, 10 minutes in all ◀─────────────────┘
//! ```
//! An idle connection waits for its next header, so the header's deadline is also the one of idleness.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use klnet_tunnel::net::accept::Acceptor;
use klnet_wire::identity::Principal;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use super::source::Source;

/// How much the listener takes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at one time.
    pub connections: usize,
    /// Of these, from one source.
    pub per_source: usize,
}

/// Who is at the other end of a connection; every request carries it as an extension.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whom its certificate names, which TLS has verified; `None` when it showed none.
    pub principal: Option<Principal>,
}

/// Serves `router` on `listener` until `shutdown`, then finishes what is under way for at most `DRAIN_TIMEOUT`.
///
/// The configuration is one of [`klnet_wire::identity::tls::server_config`], so that every certificate is verified.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    limits: Limits,
    router: Router,
    shutdown: CancellationToken,
) {
    let service = Connection { tls: tls.into(), router, shutdown: shutdown.clone() };
    let mut connections = Connections { limits, tasks: JoinSet::new(), sources: HashMap::new() };
    let mut acceptor = Acceptor::new(listener);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(ended) = connections.tasks.join_next_with_id() => connections.forget(ended),
            (stream, address) = acceptor.accept() => {
                connections.admit(address, |address| service.clone().run(stream, address));
            }
        }
    }
    drop(acceptor);
    connections.drain().await;
}

impl Default for Limits {
    /// 1,024 connections leave most of a usual 20,000 descriptors to agents and tunnels; one source may have 128.
    fn default() -> Self {
        Self { connections: 1024, per_source: 128 }
    }
}

/// The connections there are, and whose they are.
struct Connections {
    limits: Limits,
    tasks: JoinSet<()>,
    sources: HashMap<Id, Source>,
}

impl Connections {
    /// Starts `run`, unless a cap is reached: then the socket is closed before it costs a handshake.
    fn admit<F>(&mut self, address: SocketAddr, run: impl FnOnce(SocketAddr) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let source = Source::from(address);
        let of_source = self.sources.values().filter(|other| **other == source).count();
        if self.sources.len() >= self.limits.connections || of_source >= self.limits.per_source {
            tracing::debug!(%address, "connection refused: too many");
            return;
        }
        let id = self.tasks.spawn(run(address)).id();
        self.sources.insert(id, source);
    }

    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(%error, "a connection failed by a fault of this program");
                }
                error.id()
            }
        };
        self.sources.remove(&id);
    }

    async fn drain(&mut self) {
        let finish = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(DRAIN_TIMEOUT, finish).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Connection {
    tls: TlsAcceptor,
    router: Router,
    shutdown: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream, address: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%address, %error, "cannot set TCP_NODELAY");
        }
        match timeout(TLS_TIMEOUT, self.tls.accept(stream)).await {
            Ok(Ok(stream)) => self.exchange(stream, address).await,
            Ok(Err(error)) => tracing::debug!(%address, %error, "TLS failed"),
            Err(_) => tracing::debug!(%address, "TLS took too long"),
        }
    }

    async fn exchange(self, stream: TlsStream<TcpStream>, address: SocketAddr) {
        let peer = Peer { address, principal: principal(&stream) };
        let router = self.router;
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer.clone());
            router.clone().call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEADER_LIMIT)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let served = timeout(CONNECTION_LIFE, async {
            tokio::select! {
                served = connection.as_mut() => return served,
                () = self.shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            connection.await
        });
        match served.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%address, %error, "HTTP failed"),
            Err(_) => tracing::debug!(%address, "the connection's time is over"),
        }
    }
}

/// Whom the peer's certificate names. The TLS configuration has refused every certificate that does not verify.
fn principal(stream: &TlsStream<TcpStream>) -> Option<Principal> {
    let (_, tls) = stream.get_ref();
    Principal::named_in(tls.peer_certificates()?.first()?)
}

/// How long a handshake may take.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request's header may take, the wait for its first byte included.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be used, so that none that reads its answers too slowly stays.
const CONNECTION_LIFE: Duration = Duration::from_secs(600);
/// How long requests may go on after `shutdown`.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest header, in bytes.
const HEADER_LIMIT: usize = 16 * 1024;
#[cfg(test)]
mod tests;
