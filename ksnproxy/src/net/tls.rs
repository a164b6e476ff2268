//! TLS on 13111: a device shows its certificate, and takes a ticket or asks.

use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::Arc;
use std::time::Duration;

use klnet_wire::identity::Principal;
use rustls::ServerConfig;
use tokio::io::{AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::desk::Desk;
use super::seats::Seats;
use super::stream::{FrameError, Frames};
use crate::frame::QUERY_LIMIT;

/// Serves the connections that workers send here, until there are no workers.
pub(super) async fn serve(
    mut connections: mpsc::Receiver<(StdStream, SocketAddr)>,
    tls: Option<Arc<ServerConfig>>,
    desk: Arc<Desk>,
) {
    let seats = Seats::new(SEATS);
    while let Some((stream, peer)) = connections.recv().await {
        // Without an identity there is no TLS here.
        let Some(tls) = tls.clone() else { continue };
        let Some(seat) = seats.take(peer.ip()) else { continue };
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            let ended = connection(stream, tls, &desk).await;
            tracing::debug!(%peer, ?ended, "TLS connection ended");
            drop(seat);
        });
    }
}

async fn connection(stream: StdStream, tls: Arc<ServerConfig>, desk: &Desk) -> Result<(), FrameError> {
    let accepting = TlsAcceptor::from(tls).accept(TcpStream::from_std(stream)?);
    let stream = timeout(HANDSHAKE, accepting).await.unwrap_or_else(|late| Err(late.into()))?;
    let Some(device) = device(stream.get_ref().1) else { return Ok(()) };
    let (reader, mut writer) = split(stream);
    let (mut frames, mut output) = (Frames::new(reader, QUERY_LIMIT), Vec::new());
    while let Some((header, frame)) =
        timeout(IDLE, frames.next()).await.unwrap_or_else(|late| Err(std::io::Error::from(late).into()))?
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

/// The id in the certificate that the peer showed.
pub(super) fn device(connection: &rustls::ServerConnection) -> Option<[u8; 16]> {
    let leaf = connection.peer_certificates()?.first()?;
    Principal::named_in(leaf).map(|principal| principal.id)
}

/// Connections at once; above it one is closed.
const SEATS: usize = 1024;

/// How long a handshake may take.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a device may be silent.
const IDLE: Duration = Duration::from_secs(60);

/// Bytes of answers that leave together at most.
const OUTPUT: usize = 64 << 10;
