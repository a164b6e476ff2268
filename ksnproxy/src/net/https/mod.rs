//! HTTPS on 17111: the same answers as JSON and protobuf, over HTTP/1.1 and HTTP/2. `PROTOCOL.md` lists the requests.

mod body;
mod route;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use klnet_wire::identity::Principal;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::credentials::Credentials;
use super::desk::Desk;
use super::seats::Seats;
use super::tls::{HANDSHAKE, chain};

/// Who asks.
#[derive(Debug, Clone)]
struct Client {
    /// Whom the certificate names, where there is one.
    device: Option<Arc<Principal>>,
    address: SocketAddr,
}

/// Serves until shutdown.
pub(super) async fn serve(
    listener: TcpListener,
    credentials: Arc<Credentials>,
    desk: Arc<Desk>,
    shutdown: CancellationToken,
) {
    let seats = Seats::new(SEATS);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(seat) = seats.take(address.ip()) else { continue };
        let (credentials, desk) = (Arc::clone(&credentials), Arc::clone(&desk));
        tokio::spawn(async move {
            let ended = timeout(AGE, connection(stream, address, &credentials, desk)).await;
            tracing::debug!(%address, ?ended, "connection ended");
            drop(seat);
        });
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    credentials: &Credentials,
    desk: Arc<Desk>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let changes = credentials.changes();
    let accepting = TlsAcceptor::from(credentials.https()).accept(stream);
    let stream = timeout(HANDSHAKE, accepting).await??;
    let chain = chain(stream.get_ref().1);
    let client = Client { device: chain.first().and_then(Principal::named_in).map(Arc::new), address };
    tokio::select! {
        ended = serve_client(stream, client, desk) => ended,
        refused = credentials.until_refused(&chain, changes) => Err(refused.into()),
    }
}

async fn serve_client(
    stream: TlsStream<TcpStream>,
    client: Client,
    desk: Arc<Desk>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| {
        let (client, desk) = (client.clone(), Arc::clone(&desk));
        async move { Ok::<_, std::convert::Infallible>(route::answer(request, client, &desk).await) }
    });
    let io = TokioIo::new(stream);
    if http2 {
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEADERS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(4 * WINDOW)
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(RESETS)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .serve_connection(io, service)
            .await?;
    } else {
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(KEEP_ALIVE)
            .max_buf_size(BUFFER)
            .pipeline_flush(true)
            .serve_connection(io, service)
            .await?;
    }
    Ok(())
}

/// Connections at once; above it one is closed.
const SEATS: usize = 4096;

/// No connection is kept for longer, however slowly it sends.
const AGE: Duration = Duration::from_mins(30);

/// How long a lack of descriptors is left alone.
const PAUSE: Duration = Duration::from_millis(200);

/// Requests of one connection at once.
const STREAMS: u32 = 256;

/// Bytes of the headers of one request.
const HEADERS: u32 = 16 << 10;

/// Bytes of the body of one request that may be under way, as many as are taken; of all of a connection four times that.
const WINDOW: u32 = 64 << 10;

/// Requests that were taken back before they were looked at; one more ends the connection (CVE-2023-44487).
const RESETS: usize = 32;

/// How long a peer may take for the headers of a request, or say nothing at all.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Bytes that HTTP/1.1 buffers.
const BUFFER: usize = 32 << 10;
