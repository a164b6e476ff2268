//! Drives an inquiry into the names of hosts on one link: questions to the groups, answers from the hosts themselves.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Instant, SystemTime};

use futures_util::{Stream, StreamExt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::cards::{Link, own_links};
use super::random_key;
use crate::dns::llmnr::{Inquiry, Output};
use crate::fact::{Fact, Source};
use crate::range::Range;

/// Asks those of `hosts` that are on the link of the interface with the address `own` for their names, and by those for
/// addresses of the other family. Goes on until there are no more hosts to come.
///
/// # Errors
/// When the group cannot be asked there.
pub async fn link_names(
    own: Ipv4Addr,
    mut hosts: impl Stream<Item = IpAddr> + Unpin,
    facts: &mpsc::Sender<Fact>,
) -> io::Result<()> {
    let links = own_links().await.map_err(io::Error::other)?;
    let is_it = |link: &Link| link.addresses.iter().any(|(address, _)| *address == IpAddr::from(own));
    let Some(link) = links.into_iter().find(is_it) else { return Ok(()) };
    let groups = Groups::open(own, link.index)?;
    let (mut core, mut more) = (Inquiry::new(Instant::now(), random_key()?), true);
    let (mut v4, mut v6) = (vec![0; DATAGRAM], vec![0; DATAGRAM]);
    loop {
        while let Some(output) = core.poll_output() {
            match output {
                Output::Send(host, bytes) => groups.send(host, &bytes).await?,
                Output::Learned(address, claim) => {
                    let fact = Fact { address, claim, source: Source::Llmnr, seen: SystemTime::now() };
                    if facts.send(fact).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
        let deadline = core.poll_timeout();
        if deadline.is_none() && !more {
            return Ok(());
        }
        let heard = tokio::select! {
            heard = receive(Some(&groups.v4), &mut v4) => heard,
            heard = receive(groups.v6.as_ref(), &mut v6) => heard,
            host = hosts.next(), if more && !core.is_busy() => {
                more = host.is_some();
                if let Some(host) = host.filter(|host| is_other(&link, *host)) {
                    core.ask(Instant::now(), host);
                }
                continue;
            }
            () = at(deadline) => None,
        };
        match heard {
            Some((from, bytes)) => core.handle_input(Instant::now(), from, bytes),
            None => core.handle_timeout(Instant::now()),
        }
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Whether somebody else at this address is on the link.
fn is_other(link: &Link, host: IpAddr) -> bool {
    let is_on = |(own, bits): &(IpAddr, u8)| Range::subnet(*own, *bits).contains(host);
    let is_own = |(own, _): &(IpAddr, u8)| *own == host;
    link.addresses.iter().any(is_on) && !link.addresses.iter().any(is_own)
}

/// Sockets towards the groups of one link.
struct Groups {
    v4: UdpSocket,
    v6: Option<UdpSocket>,
    index: u32,
}

impl Groups {
    fn open(own: Ipv4Addr, index: u32) -> io::Result<Self> {
        let v4 = socket(Domain::IPV4)?;
        v4.set_multicast_if_v4(&own)?;
        v4.set_multicast_ttl_v4(HOPS)?;
        v4.bind(&SocketAddr::from((own, 0)).into())?;
        let v6 = by_ipv6(index).inspect_err(|error| tracing::debug!(%error, "LLMNR by IPv6")).ok();
        Ok(Self { v4: UdpSocket::from_std(v4.into())?, v6, index })
    }

    async fn send(&self, host: IpAddr, bytes: &[u8]) -> io::Result<()> {
        match (host, &self.v6) {
            (IpAddr::V4(_), _) => self.v4.send_to(bytes, SocketAddr::from((GROUP, PORT))).await.map(drop),
            (IpAddr::V6(_), Some(v6)) => {
                let group = SocketAddrV6::new(GROUP_V6, PORT, 0, self.index);
                // An interface may lose its IPv6; what IPv4 says still counts.
                let sent = v6.send_to(bytes, SocketAddr::V6(group)).await;
                sent.inspect_err(|error| tracing::debug!(%error, "LLMNR by IPv6")).ok();
                Ok(())
            }
            (IpAddr::V6(_), None) => Ok(()),
        }
    }
}

fn by_ipv6(index: u32) -> io::Result<UdpSocket> {
    let socket = socket(Domain::IPV6)?;
    socket.set_only_v6(true)?;
    socket.set_multicast_if_v6(index)?;
    socket.set_multicast_hops_v6(HOPS)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())?;
    UdpSocket::from_std(socket.into())
}

fn socket(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The next datagram, and the address it is from.
async fn receive<'a>(socket: Option<&UdpSocket>, buffer: &'a mut [u8]) -> Option<(IpAddr, &'a [u8])> {
    let Some(socket) = socket else { return std::future::pending().await };
    match socket.recv_from(buffer).await {
        Ok((len, from)) => Some((from.ip(), &buffer[..len])),
        Err(error) => {
            tracing::debug!(%error, "LLMNR");
            None
        }
    }
}

const PORT: u16 = 5355;
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 252);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 3);
/// RFC 4795, 2.5.
const HOPS: u32 = 255;
/// RFC 4795, 2.1: no answer is longer than 9,194 bytes.
const DATAGRAM: usize = 9216;
