//! One connection at the target: dial back, inner TLS, GO, then what the core orders.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use ring::rand::{SecureRandom, SystemRandom};
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::mpsc;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::address::ForbiddenAddress;
use crate::hello;
use crate::label::Cookie;
use crate::net::exchange::{self, ExchangeError};
use crate::net::mover::{self, Flow};
use crate::net::{inner, socket};
use crate::pair::{ConnId, EndReason, PairLimits};
use crate::stream::Answer;
use crate::target::{ANSWER_WAIT, DIAL_WAIT, GO_WAIT, HANDSHAKE_WAIT, Input, RESOLVE_WAIT};

/// What the core wants done next; the end of the orders means: close.
#[derive(Debug)]
pub(super) enum Order {
    Resolve { host: String, port: u16 },
    Dial(Vec<SocketAddr>),
    Answer(Answer),
    Carry(PairLimits),
    Cut(EndReason),
}

/// What a connection begins with.
pub(super) struct Start {
    pub(super) server: Option<SocketAddr>,
    pub(super) cookie: Cookie,
    pub(super) deadline: Instant,
    pub(super) tls: Arc<ServerConfig>,
}

pub(super) struct Connection {
    conn: ConnId,
    reports: mpsc::Sender<Input>,
    orders: mpsc::Receiver<Order>,
}

/// The connection is over; whatever is to be reported has been.
struct Over;

impl Connection {
    pub(super) fn new(conn: ConnId, reports: mpsc::Sender<Input>, orders: mpsc::Receiver<Order>) -> Self {
        Self { conn, reports, orders }
    }

    /// Runs from the dial-back to the end.
    pub(super) async fn run(mut self, start: Start) {
        // Every way out has been reported where it was taken.
        let _ = self.steps(start).await;
    }

    async fn steps(&mut self, Start { server, cookie, deadline, tls }: Start) -> Result<(), Over> {
        let stream = self.dial_back(server, cookie, deadline).await?;
        let stream = self.handshake(stream, tls, deadline).await?;
        self.obey(stream).await
    }

    async fn dial_back(
        &mut self,
        server: Option<SocketAddr>,
        cookie: Cookie,
        deadline: Instant,
    ) -> Result<TcpStream, Over> {
        let conn = self.conn;
        let dialling = timeout_at(deadline.into(), dial(server, &cookie));
        let dialled = self.unless_dropped(dialling).await?;
        match dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                self.report(Input::DialedBack { conn, result: Ok(()) }).await?;
                Ok(stream)
            }
            Err(error) => {
                self.report(Input::DialedBack { conn, result: Err(error.to_string()) }).await?;
                Err(Over)
            }
        }
    }

    /// Waits for an initiator until `deadline`, then shakes hands with it.
    async fn handshake(
        &mut self,
        stream: TcpStream,
        tls: Arc<ServerConfig>,
        deadline: Instant,
    ) -> Result<TlsStream<TcpStream>, Over> {
        let conn = self.conn;
        let came = self.unless_dropped(timeout_at(deadline.into(), stream.peek(&mut [0]))).await?;
        if !came.is_ok_and(|peeked| peeked.is_ok_and(|length| length > 0)) {
            self.report(Input::Unused { conn }).await?;
            return Err(Over);
        }
        match self.unless_dropped(accept(stream, tls, deadline)).await? {
            Ok((stream, key)) => {
                self.report(Input::Handshaken { conn, key }).await?;
                Ok(stream)
            }
            Err(error) => {
                self.report(Input::HandshakeFailed { conn, why: error.to_string() }).await?;
                Err(Over)
            }
        }
    }

    /// Reads GO, then does what the core orders, until it orders the end or drops the connection.
    ///
    /// An order that comes while something is under way is the end, and is obeyed: the operator reads why.
    async fn obey(&mut self, mut stream: TlsStream<TcpStream>) -> Result<(), Over> {
        let conn = self.conn;
        let mut target = None;
        let mut next = match self.until_ordered(exchange::read_go(&mut stream, GO_WAIT)).await {
            Ok(Ok(go)) => self.ask(Input::Go { conn, go }).await?,
            // Kept ready, and not needed.
            Ok(Err(ExchangeError::Ended)) => {
                let _ = timeout(ANSWER_WAIT, stream.shutdown()).await;
                return self.ended(&Flow::default(), EndReason::Finished).await;
            }
            Ok(Err(_)) => return self.ended(&Flow::default(), EndReason::Reset).await,
            Err(order) => order,
        };
        while let Some(order) = next {
            next = match order {
                Order::Resolve { host, port } => match self.until_ordered(resolve(&host, port)).await {
                    Ok(addresses) => self.ask(Input::Resolved { conn, addresses }).await?,
                    Err(order) => order,
                },
                Order::Dial(addresses) => match self.until_ordered(dial_target(&addresses)).await {
                    Ok(dialled) => {
                        let (stream, result) = match dialled {
                            Ok((stream, address)) => (Some(stream), Ok(address)),
                            Err(why) => (None, Err(why)),
                        };
                        target = stream;
                        self.ask(Input::Dialed { conn, result }).await?
                    }
                    Err(order) => order,
                },
                Order::Answer(answer) => {
                    let written = exchange::write(&mut stream, &answer.encode(), ANSWER_WAIT).await;
                    match (written, answer) {
                        (Ok(()), Answer::Ready { .. }) => self.orders.recv().await,
                        // The core has forgotten the connection; a clean end says that the refusal is all there is.
                        (_, Answer::Refused { .. }) => {
                            let _ = timeout(ANSWER_WAIT, stream.shutdown()).await;
                            return Ok(());
                        }
                        (Err(_), Answer::Ready { .. }) => {
                            return self.ended(&Flow::default(), EndReason::Reset).await;
                        }
                    }
                }
                Order::Carry(limits) => {
                    let target = target.expect("the core carries only what was dialled");
                    return self.carry(stream, target, &limits).await;
                }
                Order::Cut(reason) => return self.ended(&Flow::default(), reason).await,
            };
        }
        Ok(())
    }

    async fn carry(
        &mut self,
        stream: TlsStream<TcpStream>,
        target: TcpStream,
        limits: &PairLimits,
    ) -> Result<(), Over> {
        if let Some(rate) = limits.rate {
            for socket in [stream.get_ref().0, &target] {
                if let Err(error) = socket::pace(socket, rate) {
                    tracing::debug!(%error, "the system does not keep a grant's rate");
                }
            }
        }
        let flow = Flow::default();
        let orders = &mut self.orders;
        let cut = async move {
            loop {
                match orders.recv().await {
                    Some(Order::Cut(reason)) => return reason,
                    Some(_) => {}
                    None => return EndReason::Shutdown,
                }
            }
        };
        let reason = mover::join(stream, target, limits, &flow, cut).await;
        self.ended(&flow, reason).await
    }

    async fn ended(&self, flow: &Flow, reason: EndReason) -> Result<(), Over> {
        self.report(Input::Ended { conn: self.conn, end: flow.ended(reason) }).await
    }

    async fn report(&self, input: Input) -> Result<(), Over> {
        self.reports.send(input).await.map_err(|_| Over)
    }

    /// Reports, and waits for what the core makes of it.
    async fn ask(&mut self, input: Input) -> Result<Option<Order>, Over> {
        self.report(input).await?;
        Ok(self.orders.recv().await)
    }

    /// Lets go of whatever takes its time as soon as the core drops the connection, which has no inner stream yet.
    async fn unless_dropped<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Over> {
        self.until_ordered(work).await.map_err(|_| Over)
    }

    /// Lets go of whatever takes its time as soon as there is an order, and gives that.
    async fn until_ordered<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Option<Order>> {
        tokio::select! {
            biased;
            order = self.orders.recv() => Err(order),
            done = work => Ok(done),
        }
    }
}

/// Connects to where the control connection leads, by the same address, so that the same firewall rule lets it pass.
async fn dial(server: Option<SocketAddr>, cookie: &Cookie) -> io::Result<TcpStream> {
    let server = server.ok_or(io::ErrorKind::NotConnected)?;
    let mut stream = TcpStream::connect(server).await?;
    socket::prepare(&stream)?;
    stream.write_all(&hello::dial_back(cookie, random(), random())).await?;
    Ok(stream)
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).expect("the system gives randomness");
    bytes
}

async fn accept(
    stream: TcpStream,
    tls: Arc<ServerConfig>,
    deadline: Instant,
) -> io::Result<(TlsStream<TcpStream>, klnet_wire::signed::PublicKey)> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    timeout_at(deadline.into(), stream.readable()).await.map_err(late)??;
    let accepting = TlsAcceptor::from(tls).accept(stream);
    let stream = timeout(HANDSHAKE_WAIT, accepting).await.map_err(late)??;
    let key = inner::peer_key(stream.get_ref().1).map_err(io::Error::other)?;
    Ok((stream, key))
}

async fn resolve(host: &str, port: u16) -> Result<Vec<IpAddr>, String> {
    match timeout(RESOLVE_WAIT, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => Ok(addresses.take(ADDRESS_LIMIT).map(|address| address.ip()).collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {RESOLVE_WAIT:?}")),
    }
}

/// Connects to the first address that accepts. All of them together have [`DIAL_WAIT`].
async fn dial_target(addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), String> {
    let each = DIAL_WAIT / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = "there is no address to dial".to_owned();
    for address in addresses {
        match timeout(each, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => match stream.local_addr().and_then(|local| {
                socket::prepare(&stream)?;
                Ok(leads_home(local.ip(), address.ip()))
            }) {
                Ok(false) => return Ok((stream, *address)),
                Ok(true) => last = format!("{address}: {}", ForbiddenAddress::Own),
                Err(error) => last = format!("{address}: {error}"),
            },
            Ok(Err(error)) => last = format!("{address}: {error}"),
            Err(_) => last = format!("{address}: no answer within {each:?}"),
        }
    }
    Err(last)
}

/// Whether a connection ends at the device itself, although not by the loopback that a grant may name: what the system
/// routes home is no other host, whatever the list of own addresses said.
fn leads_home(local: IpAddr, peer: IpAddr) -> bool {
    !peer.is_loopback() && local == peer
}

/// Most addresses of a name that are looked at.
const ADDRESS_LIMIT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loopback_leads_home() {
        let home = |local: &str, peer: &str| leads_home(local.parse().unwrap(), peer.parse().unwrap());
        assert!(home("10.0.0.7", "10.0.0.7") && home("fd00::7", "fd00::7"));
        assert!(!home("10.0.0.7", "10.0.0.8"));
        assert!(!home("127.0.0.1", "127.0.0.1") && !home("::1", "::1"));
    }
}
