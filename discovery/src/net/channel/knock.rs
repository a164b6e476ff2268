//! Knocking: what needs no right at all. A TCP connection that is accepted or refused was answered by a host, and so was
//! a datagram that earns "port unreachable".

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::went::Went;
use crate::probe::{Answer, Kind};

/// Hosts that are being knocked at.
#[derive(Debug)]
pub(in crate::net) struct Knocking {
    ports: Vec<u16>,
    knocks: JoinSet<()>,
    tell: mpsc::Sender<Answer>,
    told: mpsc::Receiver<Answer>,
    /// One that `readable` took and `receive` will give.
    next: Option<Answer>,
}

impl Knocking {
    /// Knocks at these TCP ports, and at a UDP port where nobody listens.
    pub(in crate::net) fn new(ports: &[u16]) -> Self {
        let (tell, told) = mpsc::channel(CROWD);
        let ports = if ports.is_empty() { PORTS.to_vec() } else { ports.to_vec() };
        Self { ports, knocks: JoinSet::new(), tell, told, next: None }
    }

    pub(super) fn probe(&mut self, target: IpAddr) -> Went {
        while self.knocks.try_join_next().is_some() {}
        if self.knocks.len() * (self.ports.len() + 1) >= CROWD {
            return Went::Full;
        }
        let (ports, tell) = (self.ports.clone(), self.tell.clone());
        self.knocks.spawn(async move {
            if let Ok(Some(kind)) = tokio::time::timeout(PATIENCE, first(target, &ports)).await {
                let answer = Answer { from: target, attempt: None, kind, mac: None, hops: None };
                // Nobody is left to tell when the poll is over.
                let _ = tell.send(answer).await;
            }
        });
        Went::Out
    }

    pub(super) fn receive(&mut self, mut take: impl FnMut(Answer)) {
        self.next.take().into_iter().for_each(&mut take);
        while let Ok(answer) = self.told.try_recv() {
            take(answer);
        }
    }

    pub(super) async fn readable(&mut self) {
        if self.next.is_none() {
            self.next = self.told.recv().await;
        }
    }
}

/// The first answer of a host to any of the knocks.
async fn first(target: IpAddr, ports: &[u16]) -> Option<Kind> {
    let mut knocks = JoinSet::new();
    for port in ports.iter().copied() {
        knocks.spawn(async move { answered(TcpStream::connect((target, port)).await, port) });
    }
    knocks.spawn(async move { unreachable(target).await });
    while let Some(knock) = knocks.join_next().await {
        if let Ok(Some(kind)) = knock {
            return Some(kind);
        }
    }
    None
}

fn answered(connected: io::Result<TcpStream>, port: u16) -> Option<Kind> {
    match connected {
        Ok(_) => Some(Kind::Open(port)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Some(Kind::Closed(port)),
        Err(_) => None,
    }
}

fn unreachable(target: IpAddr) -> impl Future<Output = Option<Kind>> {
    let any: IpAddr =
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    async move {
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await.ok()?;
        socket.connect((target, DISCARDED)).await.ok()?;
        socket.send(&[]).await.ok()?;
        let refused =
            socket.recv(&mut [0; 16]).await.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
        refused.then_some(Kind::Unreachable)
    }
}

/// Where hosts are most often reached: the web, Windows, remote shells.
const PORTS: [u16; 3] = [443, 445, 22];
/// In the range that traceroute uses because nobody listens there.
const DISCARDED: u16 = 33_434;
/// Sockets in use at once, below the usual limit of 1024 descriptors.
const CROWD: usize = 800;
/// A second SYN goes after one second; one that is not answered then meets a wall.
const PATIENCE: Duration = Duration::from_millis(1500);
