//! Drives a browser of services on one interface: questions to the groups, answers from them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant, SystemTime};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::route;
use crate::dns::mdns::{Browser, Output};
use crate::fact::{Fact, Source};

/// Listens and asks for `patience` on the interface with the address `own`, by IPv4 and, where it is spoken, by IPv6;
/// tells what is announced. With a `lull` it ends earlier, once all is resolved and nothing new has come for so long.
///
/// # Errors
/// When the group cannot be joined there.
pub async fn browse(
    own: Ipv4Addr,
    patience: Duration,
    lull: Option<Duration>,
    facts: &mpsc::Sender<Fact>,
) -> io::Result<()> {
    let link = Link::join(own).await?;
    let mut core = Browser::new(Instant::now(), patience);
    if let Some(lull) = lull {
        core = core.ending_after(lull);
    }
    let (mut v4, mut v6) = (vec![0; DATAGRAM], vec![0; DATAGRAM]);
    loop {
        while let Some(output) = core.poll_output() {
            match output {
                Output::Send(bytes) => link.send(&bytes).await?,
                Output::Learned(address, claim) => {
                    let fact = Fact { address, claim, source: Source::Mdns, seen: SystemTime::now() };
                    if facts.send(fact).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
        let now = Instant::now();
        if now >= core.deadline() {
            return Ok(());
        }
        let heard = tokio::select! {
            heard = receive(Some(&link.v4), &mut v4) => heard,
            heard = receive(link.v6.as_ref(), &mut v6) => heard,
            () = tokio::time::sleep_until(core.poll_timeout().into()) => None,
        };
        match heard {
            Some(bytes) => core.handle_input(Instant::now(), bytes),
            None => core.handle_timeout(Instant::now()),
        }
    }
}

/// Sockets in the groups of one interface.
struct Link {
    v4: UdpSocket,
    v6: Option<UdpSocket>,
}

impl Link {
    async fn join(own: Ipv4Addr) -> io::Result<Self> {
        let v4 = member(Domain::IPV4, GROUP.port(), |socket| {
            socket.set_multicast_all_v4(false)?;
            socket.set_multicast_if_v4(&own)?;
            socket.set_multicast_ttl_v4(HOPS)?;
            socket.join_multicast_v4(GROUP.ip(), &own)
        })?;
        let index = route::interface_of(own.into()).await;
        let v6 = index
            .and_then(|index| member_v6(index).inspect_err(|error| tracing::debug!(%error, "IPv6")).ok());
        Ok(Self { v4, v6 })
    }

    async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.v4.send_to(bytes, SocketAddr::V4(GROUP)).await?;
        if let Some(v6) = &self.v6 {
            // An interface may lose its IPv6; what IPv4 says still counts.
            let sent = v6.send_to(bytes, SocketAddr::from((GROUP_V6, GROUP.port()))).await;
            sent.inspect_err(|error| tracing::debug!(%error, "multicast DNS by IPv6")).ok();
        }
        Ok(())
    }
}

/// The next datagram from the group's port: what comes from another is no announcement (RFC 6762, 6).
async fn receive<'a>(socket: Option<&UdpSocket>, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let Some(socket) = socket else { return std::future::pending().await };
    match socket.recv_from(buffer).await {
        Ok((len, from)) if from.port() == GROUP.port() => Some(&buffer[..len]),
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(%error, "multicast DNS");
            None
        }
    }
}

fn member_v6(index: u32) -> io::Result<UdpSocket> {
    member(Domain::IPV6, GROUP.port(), |socket| {
        socket.set_multicast_if_v6(index)?;
        socket.set_multicast_hops_v6(HOPS)?;
        socket.join_multicast_v6(&GROUP_V6, index)
    })
}

/// A member of the group beside others on this machine (RFC 6762, 15.1).
fn member(domain: Domain, port: u16, join: impl FnOnce(&Socket) -> io::Result<()>) -> io::Result<UdpSocket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    let any: IpAddr = if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    socket.bind(&SocketAddr::from((any, port)).into())?;
    join(&socket)?;
    UdpSocket::from_std(socket.into())
}

const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), 5353);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
/// RFC 6762, 11.
const HOPS: u32 = 255;
/// RFC 6762, 17.
const DATAGRAM: usize = 9000;
