//! A local port that leads to the target.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::access::Access;
use super::args::Options;
use super::failure::Failure;
use super::operator::Operator;
use super::owner::Admission;
use super::pasted::or_read;
use super::status::Status;
use super::target::Target;
use crate::net::accept::Acceptor;
use crate::net::mover::{self, Flow};
use crate::net::socket;
use crate::pair::{EndReason, LINGER, PairLimits};

/// Opens the port and serves it until the user ends it.
pub(super) async fn main(target: Target, local: Option<u16>, options: &Options) -> Result<ExitCode, Failure> {
    let forward = Forward::open(target, local, options).await?;
    forward.serve_until(tokio::signal::ctrl_c()).await.map_err(Failure::Runtime)?;
    Ok(ExitCode::SUCCESS)
}

/// An open local port.
pub(super) struct Forward {
    v4: TcpListener,
    /// Absent on machines without IPv6.
    v6: Option<TcpListener>,
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    access: Access,
    status: Status,
    admission: Admission,
}

impl Forward {
    /// Gets the grant and opens the port.
    pub(super) async fn open(target: Target, local: Option<u16>, options: &Options) -> Result<Self, Failure> {
        let target = or_read(target)?;
        let access = Access::open(&target, &Operator::load(options)?, options.keep).await?;
        let (v4, v6, port) = listen(local).await?;
        access.begin().await?;
        let admission = if options.show.any_user { Admission::AnyUser } else { Admission::SameUser };
        let status = Status::new(target.to_string(), options);
        let addresses = [Some(&v4), v6.as_ref()].into_iter().flatten();
        let addresses: Vec<_> = addresses.filter_map(|listener| listener.local_addr().ok()).collect();
        status.listening(&addresses, access.terms().await);
        Ok(Self { v4, v6, port, shared: Arc::new(Shared { access, status, admission }) })
    }

    /// The port that is open.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Accepts connections until something else is done, and gives that; leaves no live line behind.
    pub(super) async fn serve_until<T>(self, done: impl Future<Output = T>) -> T {
        let shared = self.shared.clone();
        let result = tokio::select! {
            result = done => result,
            () = self.serve() => unreachable!("a port is served for ever"),
        };
        // Connections that are open hold on to the status: it would not go by itself.
        shared.status.clear();
        shared.access.close().await;
        result
    }

    /// Accepts connections for ever.
    async fn serve(self) {
        let Self { v4, v6, port: _, shared } = self;
        let ticking = async {
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            loop {
                tick.tick().await;
                shared.access.tidy().await;
                shared.status.refresh();
            }
        };
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let accepting = async |listener| accept(listener, &shared, &room).await;
        let v6 = async {
            match v6 {
                Some(listener) => accepting(listener).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(accepting(v4), v6, ticking);
    }
}

async fn accept(listener: TcpListener, shared: &Arc<Shared>, room: &Arc<Semaphore>) {
    let mut acceptor = Acceptor::new(listener);
    loop {
        // Above the limit connections wait in the listener's own queue.
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let (stream, peer) = acceptor.accept().await;
        let shared = shared.clone();
        tokio::spawn(async move {
            shared.connection(stream, peer).await;
            drop(place);
        });
    }
}

impl Shared {
    async fn connection(&self, stream: TcpStream, peer: SocketAddr) {
        let Ok(local) = stream.local_addr() else { return };
        if let Err(stranger) = self.admission.check(peer, local) {
            socket::close_by_reset(&stream);
            return self.status.failed(&format!("connection from {peer} turned away"), &stranger);
        }
        let connection = match self.access.wait(&self.status).await {
            Ok(connection) => connection,
            Err(failure) => {
                socket::close_by_reset(&stream);
                return self.status.failed("no connection", &failure);
            }
        };
        // Keystrokes are not kept waiting; a socket that refuses has closed, which the mover sees.
        let _ = stream.set_nodelay(true);
        let flow = Arc::new(Flow::default());
        let number = self.status.opened(&connection, flow.clone(), self.access.terms().await);
        let limits =
            PairLimits { idle: self.access.idle().await, linger: LINGER, deadline: None, rate: None };
        let forever = std::future::pending::<EndReason>();
        let reason = mover::join(stream, connection.stream, &limits, &flow, forever).await;
        self.status.closed(number, flow.ended(reason));
    }
}

type Listeners = (TcpListener, Option<TcpListener>, u16);

/// Listens on both loopback addresses with one port: a name that leads to either must not lead to somebody else.
async fn listen(local: Option<u16>) -> Result<Listeners, Failure> {
    let mut tries = if local.is_some() { 1 } else { FREE_PORT_TRIES };
    loop {
        tries -= 1;
        let v4 = bind((Ipv4Addr::LOCALHOST, local.unwrap_or(0)).into()).await?;
        let port = v4.local_addr().map_err(Failure::Runtime)?.port();
        match bind((Ipv6Addr::LOCALHOST, port).into()).await {
            Ok(v6) => return Ok((v4, Some(v6), port)),
            Err(Failure::Listen { error, .. }) if without_v6(&error) => return Ok((v4, None, port)),
            Err(failure) if tries == 0 => return Err(failure),
            // The port is free for IPv4 and taken for IPv6: the next one may be free for both.
            Err(_) => {}
        }
    }
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
        let (v4, v6, port) = listen(None).await.unwrap();
        assert_eq!(v4.local_addr().unwrap(), (Ipv4Addr::LOCALHOST, port).into());
        if let Some(v6) = v6 {
            assert_eq!(v6.local_addr().unwrap(), (Ipv6Addr::LOCALHOST, port).into());
        }
    }

    #[tokio::test]
    async fn a_taken_port_says_what_to_change() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let failure = listen(Some(port)).await.unwrap_err().to_string();
        assert!(failure.contains(&format!("127.0.0.1:{port}")) && failure.contains("--local"), "{failure}");
    }
}
