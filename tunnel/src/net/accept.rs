//! Accepting connections through a shortage of descriptors.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};

/// A listener that goes on accepting: when the process is out of descriptors or memory it pauses, then tries again.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    /// When an outage was last warned of. One success amid failures is the same outage still.
    warned: Option<Instant>,
}

impl Acceptor {
    /// Accepts from this listener.
    pub const fn new(listener: TcpListener) -> Self {
        Self { listener, warned: None }
    }

    /// The next connection. Safe to cancel: no connection is lost.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) if belongs_to_peer(&error) => {}
                Err(error) => {
                    if self.warned.is_none_or(|warned| warned.elapsed() > QUIET) {
                        tracing::warn!(%error, "cannot accept connections, will go on trying");
                        self.warned = Some(Instant::now());
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Errors of the connection that was about to be accepted, not of the listener (accept(2), "Error handling").
fn belongs_to_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | TimedOut)
}

/// Least time between two warnings.
const QUIET: Duration = Duration::from_secs(60);

/// How long to leave a shortage alone.
const PAUSE: Duration = Duration::from_millis(200);
