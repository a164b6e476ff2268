//! A port that sends back whatever comes (RFC 862), in threads of the test.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;

use crate::lab::Host;

/// An echo port; gone once dropped, though connections live on until they end.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    host: Host,
}

impl Echo {
    /// Serves on a free port of the host's loopback.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    pub fn start(host: &Host) -> Result<Self> {
        Self::at(host, (Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Serves on any address of the host.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    pub fn at(host: &Host, address: SocketAddr) -> Result<Self> {
        let listener = host.inside(|| TcpListener::bind(address))??;
        let address = listener.local_addr()?;
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        std::thread::spawn(move || serve(&listener, &count));
        Ok(Self { address, accepted, host: host.clone() })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connections it has seen: what never arrived was never dialled.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // One connection more wakes the thread, which sees that it is the only one left with the counter.
        let accepted = std::mem::take(&mut self.accepted);
        drop(accepted);
        let to = match self.address.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => (Ipv4Addr::LOCALHOST, self.port()).into(),
            _ => self.address,
        };
        let _ = self.host.inside(|| TcpStream::connect(to));
    }
}

fn serve(listener: &TcpListener, accepted: &Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept() {
        if Arc::strong_count(accepted) == 1 {
            return;
        }
        accepted.fetch_add(1, Ordering::SeqCst);
        std::thread::spawn(move || echo(&stream));
    }
}

fn echo(stream: &TcpStream) {
    let (mut reader, mut writer) = (stream, stream);
    // Whoever connected may leave at any time.
    if io::copy(&mut reader, &mut writer).is_ok() {
        let _ = stream.shutdown(Shutdown::Write);
    }
}
