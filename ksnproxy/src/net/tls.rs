//! TLS on 13111: a device shows its certificate, and takes a ticket or asks.

use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::Arc;
use std::time::Duration;

use klnet_wire::identity::Principal;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::credentials::Credentials;
use super::desk::Desk;
use super::seats::Seats;
use super::stream::{FrameError, Frames};
use crate::frame::QUERY_LIMIT;

/// Serves the connections that workers send here, until there are no workers.
pub(super) async fn serve(
    mut connections: mpsc::Receiver<(StdStream, SocketAddr)>,
    credentials: Option<Arc<Credentials>>,
    desk: Arc<Desk>,
) {
    let seats = Seats::new(SEATS);
    while let Some((stream, peer)) = connections.recv().await {
        // Without an identity there is no TLS here.
        let Some(credentials) = credentials.clone() else { continue };
        let Some(seat) = seats.take(peer.ip()) else { continue };
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            let ended = connection(stream, &credentials, &desk).await;
            tracing::debug!(%peer, ?ended, "TLS connection ended");
            drop(seat);
        });
    }
}

async fn connection(stream: StdStream, credentials: &Credentials, desk: &Desk) -> Result<(), FrameError> {
    let changes = credentials.changes();
    let accepting = TlsAcceptor::from(credentials.devices()).accept(TcpStream::from_std(stream)?);
    let stream = timeout(HANDSHAKE, accepting).await.unwrap_or_else(|late| Err(late.into()))?;
    let chain = chain(stream.get_ref().1);
    let Some(device) = chain.first().and_then(Principal::named_in) else { return Ok(()) };
    tokio::select! {
        ended = serve_device(stream, &device, desk) => ended,
        refused = credentials.until_refused(&chain, changes) => Err(io::Error::other(refused).into()),
    }
}

async fn serve_device(
    stream: TlsStream<TcpStream>,
    device: &Principal,
    desk: &Desk,
) -> Result<(), FrameError> {
    let (reader, mut writer) = split(stream);
    let (mut frames, mut output) = (Frames::new(reader, QUERY_LIMIT), Vec::new());
    while let Some((header, frame)) =
        timeout(IDLE, frames.next()).await.unwrap_or_else(|late| Err(io::Error::from(late).into()))?
    {
        desk.frame(device, header, frame, &mut output).await?;
        if !frames.has_another() || output.len() > OUTPUT {
            let written = timeout(IDLE, async {
                writer.write_all(&output).await?;
                writer.flush().await
            });
            written.await.unwrap_or_else(|late| Err(late.into()))?;
            output.clear();
        }
    }
    Ok(())
}

/// The certificates that the peer showed.
pub(super) fn chain(connection: &rustls::ServerConnection) -> Vec<CertificateDer<'static>> {
    connection.peer_certificates().map(<[_]>::to_vec).unwrap_or_default()
}

/// Connections at once; above it one is closed.
const SEATS: usize = 1024;

/// How long a handshake may take.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a device may be silent.
const IDLE: Duration = Duration::from_secs(60);

/// Bytes of answers that leave together at most.
const OUTPUT: usize = 64 << 10;
