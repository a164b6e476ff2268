//! A distribution point's files over HTTPS: one TLS listener, on which the application protocol says who serves.
//!
//! ```text
//! TLS 1.3, a device's certificate ─▶ ALPN http/1.1 ─▶ GET /objects/ID/BLOCK/PROOF ─▶ 200 block | 404
//!                                         klnet/1 is reserved for agents
//! ```
//! The certificate says which device asks, the proof that it is a member in this epoch. There is nothing else to ask for.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use klnet_multicast::net::Object;
use klnet_tunnel::net::accept::Acceptor;
use klnet_wire::id::{DeviceId, DistributionId};
use klnet_wire::identity::Principal;
use klnet_wire::identity::tls::ALPN_HTTP;
use ring::hmac;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::fallback::proven;
use super::place::Place;

/// Serves files until it is dropped.
#[derive(Debug)]
pub(super) struct Files {
    served: Arc<Mutex<Served>>,
    task: JoinHandle<()>,
}

/// What is served, and to whom.
#[derive(Debug, Default)]
struct Served {
    /// The secret of the epoch; without one nobody is a member.
    secret: Bytes,
    objects: HashMap<DistributionId, Arc<Object>>,
}

impl Files {
    /// Listens on the port; serves nothing and nobody yet.
    ///
    /// # Errors
    /// What the system says.
    pub(super) async fn listen(place: &Arc<Place>) -> std::io::Result<Self> {
        let address = SocketAddr::new(place.ports.listen, place.ports.files);
        let listener = match TcpListener::bind(address).await {
            // A host without IPv6.
            Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await?
            }
            listener => listener?,
        };
        let served = Arc::default();
        let door = Door { place: Arc::clone(place), served: Arc::clone(&served) };
        let task = tokio::spawn(door.serve(listener));
        Ok(Self { served, task })
    }

    /// Members of this epoch are served from now on, and nobody else.
    pub(super) fn epoch(&self, secret: Bytes) {
        self.served().secret = secret;
    }

    /// Serves an object from now on.
    pub(super) fn add(&self, id: DistributionId, object: Arc<Object>) {
        self.served().objects.insert(id, object);
    }

    /// An object that is served.
    pub(super) fn object(&self, id: DistributionId) -> Option<Arc<Object>> {
        self.served().objects.get(&id).cloned()
    }

    /// Serves those alone that `keep` says.
    pub(super) fn retain(&self, keep: impl Fn(DistributionId) -> bool) {
        self.served().objects.retain(|id, _| keep(*id));
    }

    fn served(&self) -> std::sync::MutexGuard<'_, Served> {
        self.served.lock().expect("no holder panics")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where members come in.
#[derive(Debug, Clone)]
struct Door {
    place: Arc<Place>,
    served: Arc<Mutex<Served>>,
}

impl Door {
    async fn serve(self, listener: TcpListener) {
        let (mut acceptor, room) = (Acceptor::new(listener), Arc::new(Semaphore::new(CONNECTIONS)));
        loop {
            let (stream, peer) = acceptor.accept().await;
            let Ok(seat) = Arc::clone(&room).try_acquire_owned() else {
                tracing::debug!(%peer, "connection refused: too many");
                continue;
            };
            let door = self.clone();
            tokio::spawn(async move {
                if timeout(CONNECTION_LIFE, door.exchange(stream)).await.is_err() {
                    tracing::debug!(%peer, "the connection's time is over");
                }
                drop(seat);
            });
        }
    }

    async fn exchange(self, stream: TcpStream) {
        let tls = match self.place.tls() {
            Ok(tls) => TlsAcceptor::from(tls),
            Err(error) => return tracing::warn!(%error, "files are not served"),
        };
        let Ok(Ok(stream)) = timeout(TLS_TIMEOUT, tls.accept(stream)).await else { return };
        let session = stream.get_ref().1;
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let Some(peer) = certificate.and_then(Principal::named_in) else { return };
        if session.alpn_protocol() != Some(ALPN_HTTP) || peer.tenant != self.place.device().principal.tenant {
            return;
        }
        let service = service_fn(move |request| {
            let (door, device) = (self.clone(), peer.id());
            async move { Ok::<_, Infallible>(door.answer(device, &request).await) }
        });
        let http = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEADER_LIMIT)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = http.await {
            tracing::debug!(%error, "HTTP failed");
        }
    }

    async fn answer(&self, device: DeviceId, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let asked = (request.method() == Method::GET).then(|| self.asked(device, request.uri().path()));
        let block = match asked.flatten() {
            Some((object, block)) => spawn_blocking(move || read(&object, block)).await.ok().flatten(),
            None => None,
        };
        let is_there = block.is_some();
        let mut response = Response::new(Full::new(block.unwrap_or_default()));
        if !is_there {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        response
    }

    /// The object and block that a member asks for.
    fn asked(&self, device: DeviceId, path: &str) -> Option<(Arc<Object>, u32)> {
        let mut parts = path.strip_prefix("/objects/")?.split('/');
        let (id, block) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let proof = HEXLOWER.decode(parts.next()?.as_bytes()).ok()?;
        let served = self.served.lock().expect("no holder panics");
        if served.secret.is_empty() {
            return None;
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &served.secret);
        hmac::verify(&key, &proven(device, id), &proof).ok()?;
        Some((Arc::clone(served.objects.get(&id)?), block))
    }
}

fn read(object: &Object, block: u32) -> Option<Bytes> {
    if block == 0 {
        return Some(Bytes::copy_from_slice(object.catalogue()));
    }
    let blocks = object.manifest.length.div_ceil(1 << object.manifest.block_log2);
    let mut bytes = Vec::new();
    let read = (u64::from(block) <= blocks).then(|| object.read_block(block, &mut bytes))?;
    read.inspect_err(|error| tracing::warn!(%error, "a block is not served")).ok()?;
    Some(bytes.into())
}

/// Connections at once, each with a block in memory.
const CONNECTIONS: usize = 64;
/// How long a handshake may take.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request's header may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be used.
const CONNECTION_LIFE: Duration = Duration::from_secs(120);
/// Longest header, in bytes.
const HEADER_LIMIT: usize = 16 * 1024;
