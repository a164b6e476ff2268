//! A local port: open on both loopback addresses, for those who are admitted.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::failure::Failure;
use super::owner::Admission;
use super::status::Status;
use crate::net::accept::Acceptor;
use crate::net::socket;

/// Listens on both loopback addresses with one port: a name that leads to either must not lead to somebody else.
pub(super) struct LocalPort {
    v4: TcpListener,
    /// Absent on machines without IPv6.
    v6: Option<TcpListener>,
    number: u16,
}

impl LocalPort {
    /// Opens a port, or a free one.
    pub(super) async fn open(local: Option<u16>) -> Result<Self, Failure> {
        let mut tries = if local.is_some() { 1 } else { FREE_PORT_TRIES };
        loop {
            tries -= 1;
            let v4 = bind((Ipv4Addr::LOCALHOST, local.unwrap_or(0)).into()).await?;
            let number = v4.local_addr().map_err(Failure::Runtime)?.port();
            match bind((Ipv6Addr::LOCALHOST, number).into()).await {
                Ok(v6) => return Ok(Self { v4, v6: Some(v6), number }),
                Err(Failure::Listen { error, .. }) if without_v6(&error) => {
                    return Ok(Self { v4, v6: None, number });
                }
                Err(failure) if tries == 0 => return Err(failure),
                // The port is free for IPv4 and taken for IPv6: the next one may be free for both.
                Err(_) => {}
            }
        }
    }

    /// Which port it is.
    pub(super) fn number(&self) -> u16 {
        self.number
    }

    /// The addresses that are listened on.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let listeners = [Some(&self.v4), self.v6.as_ref()].into_iter().flatten();
        listeners.filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Accepts connections for ever, and serves each that is admitted in a task of its own.
    pub(super) async fn serve<F>(
        self,
        admission: Admission,
        status: &Status,
        connection: impl Fn(TcpStream) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let accepting = async |listener| {
            let mut acceptor = Acceptor::new(listener);
            loop {
                // Above the limit connections wait in the listener's own queue.
                let Ok(place) = room.clone().acquire_owned().await else { return };
                let (stream, peer) = acceptor.accept().await;
                if is_admitted(&stream, peer, admission, status) {
                    let serving = connection(stream);
                    tokio::spawn(async move {
                        serving.await;
                        drop(place);
                    });
                }
            }
        };
        let v6 = async {
            match self.v6 {
                Some(listener) => accepting(listener).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(accepting(self.v4), v6);
    }
}

fn is_admitted(stream: &TcpStream, peer: SocketAddr, admission: Admission, status: &Status) -> bool {
    let Ok(local) = stream.local_addr() else { return false };
    let checked = admission.check(peer, local);
    if let Err(stranger) = &checked {
        socket::close_by_reset(stream);
        status.failed(&format!("connection from {peer} turned away"), stranger);
    }
    checked.is_ok()
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let failed = |error| Failure::Listen { address: address.to_string(), error };
    TcpListener::bind(address).await.map_err(failed)
}

fn without_v6(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, Unsupported};
    matches!(error.kind(), AddrNotAvailable | Unsupported) || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

/// Connections at once; a grant allows fewer.
const CONNECTIONS: usize = 1024;
/// How many free ports are tried until one is free for IPv6 as well.
const FREE_PORT_TRIES: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_loopback_addresses_and_no_other_are_listened_on() {
        let port = LocalPort::open(None).await.unwrap();
        assert_eq!(port.v4.local_addr().unwrap(), (Ipv4Addr::LOCALHOST, port.number()).into());
        if let Some(v6) = &port.v6 {
            assert_eq!(v6.local_addr().unwrap(), (Ipv6Addr::LOCALHOST, port.number()).into());
        }
    }

    #[tokio::test]
    async fn a_taken_port_says_what_to_change() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let Err(failure) = LocalPort::open(Some(port)).await else { panic!("it is taken") };
        let failure = failure.to_string();
        assert!(failure.contains(&format!("127.0.0.1:{port}")) && failure.contains("--local"), "{failure}");
    }
}
