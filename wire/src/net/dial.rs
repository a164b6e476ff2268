//! Dialling a server: name, TCP, TLS, each with its own deadline and its own error.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::identity::ChainError;
use crate::identity::tls::chain_error;

/// Why a server was not reached, told apart as `klnagchk` needs it.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address.
    #[error("cannot resolve {host}: {error}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// No address answered.
    #[error("cannot connect to {address}: {error}")]
    Tcp {
        /// The last address tried.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The server's certificate was refused by this end.
    #[error("{address}: {error}")]
    Certificate {
        /// The server's address.
        address: SocketAddr,
        /// What is wrong with it.
        error: ChainError,
    },
    /// The handshake failed otherwise.
    #[error("TLS with {address} failed: {error}")]
    Tls {
        /// The server's address.
        address: SocketAddr,
        /// What failed; an alert says that the server refused.
        error: io::Error,
    },
}

/// A connection and whom it leads to.
pub type Dialled = (TlsStream<TcpStream>, SocketAddr);

/// Connects to `host` (a name or an address) and `port`, and speaks TLS.
///
/// # Errors
/// [`DialError`] says which step failed.
pub async fn dial(host: &str, port: u16, config: Arc<ClientConfig>) -> Result<Dialled, DialError> {
    let (stream, address) = connect(host, port).await?;
    let name = ServerName::try_from(host.to_owned()).unwrap_or_else(|_| ServerName::from(address.ip()));
    let connecting = TlsConnector::from(config).connect(name, stream);
    match timeout(TLS_TIMEOUT, connecting).await {
        Ok(Ok(stream)) => Ok((stream, address)),
        Ok(Err(error)) => Err(tls_failed(address, error)),
        Err(_) => Err(DialError::Tls { address, error: io::ErrorKind::TimedOut.into() }),
    }
}

/// Connects by TCP to the first address of `host` that answers.
///
/// # Errors
/// [`DialError::Resolve`] or [`DialError::Tcp`].
pub async fn connect(host: &str, port: u16) -> Result<(TcpStream, SocketAddr), DialError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let unresolved = |error| DialError::Resolve { host: host.to_owned(), error };
    let addresses = timeout(CONNECT_TIMEOUT, lookup_host((bare, port))).await;
    let addresses = addresses.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(unresolved)?;
    let mut last = unresolved(io::Error::other("it has no address"));
    for address in addresses.take(ADDRESS_LIMIT) {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).and_then(tuned) {
            Ok(stream) => return Ok((stream, address)),
            Err(error) => last = DialError::Tcp { address, error },
        }
    }
    Err(last)
}

/// Sets what every long-lived connection of ours has: no Nagle, and a peer that has vanished is noticed in less than
/// 30 s whatever the session's heartbeat is.
///
/// Keepalive notices it while nothing is under way, and keeps routers on the way from forgetting the connection; it
/// never fires while data is unacknowledged, which `TCP_USER_TIMEOUT` ends (RFC 5482). On Linux that timeout also ends
/// the keepalive (tcp(7)): equal to the time of the last probe, so that all of them count.
///
/// # Errors
/// What the system says.
pub fn tuned(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBES))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(DEAD_AFTER))?;
    Ok(stream)
}

fn tls_failed(address: SocketAddr, error: io::Error) -> DialError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner.and_then(chain_error) {
        Some(chain) => DialError::Certificate { address, error: chain.clone() },
        None => DialError::Tls { address, error },
    }
}

/// Silence after which the kernel asks whether the peer is there: below the shortest time for which routers are known
/// to remember an idle connection, 20 s to 30 s.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// Time between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(4);
/// Questions without an answer: on a line that loses every tenth packet all are lost once in some hours.
const KEEPALIVE_PROBES: u32 = 3;
/// When a peer of which nothing came is dead.
const DEAD_AFTER: Duration =
    KEEPALIVE_IDLE.saturating_add(KEEPALIVE_INTERVAL.saturating_mul(KEEPALIVE_PROBES));
/// How long a name or one address may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the TLS handshake may take.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const ADDRESS_LIMIT: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_vanished_peer_is_noticed_in_less_than_30_seconds() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = tuned(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap()).unwrap();
        let socket = SockRef::from(&stream);
        let probes = socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
        let dead_after = socket.tcp_keepalive_time().unwrap() + probes;
        assert!(dead_after < Duration::from_secs(30), "{dead_after:?}");
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(dead_after));
    }
}
