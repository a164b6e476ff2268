//! Sockets towards the links of this device: on each, one to speak and one to hear by IPv4, and two by IPv6.
//!
//! Each is bound to its interface, so that what it hears is of that link. What it hears from an address that is not on
//! the link came through a router, and is no neighbour's.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use klnet_discovery::net::Link;
use klnet_discovery::range::Range;
use klnet_wire::identity::beacon::{BEACON_GROUP, BEACON_LIMIT};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::core::Own;

/// What came in.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) from: IpAddr,
    pub(super) bytes: Vec<u8>,
}

/// The sockets; they are closed when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    speaking: HashMap<Own, UdpSocket>,
    hearing: JoinSet<()>,
}

impl Sockets {
    /// Opens whatever can be opened on `links`; the last reason why something could not is given too.
    pub(super) fn open(
        links: &[Link],
        port: u16,
        datagrams: &mpsc::Sender<Datagram>,
    ) -> (Self, Option<io::Error>) {
        let (mut sockets, mut failed) = (Self::default(), None);
        for link in links {
            for own in owns(link) {
                if let Err(error) = sockets.add(link, own, port, datagrams) {
                    failed = Some(error);
                }
            }
        }
        (sockets, failed)
    }

    fn add(
        &mut self,
        link: &Link,
        own: Own,
        port: u16,
        datagrams: &mpsc::Sender<Datagram>,
    ) -> io::Result<()> {
        let (speaking, hearing) = match own.address {
            IpAddr::V4(address) => (broadcaster(link, address, port)?, listener_v4(link, port)?),
            IpAddr::V6(address) => (multicaster(link, address, port)?, listener_v6(link, port)?),
        };
        self.speaking.insert(own, speaking);
        self.hearing.spawn(hear(hearing, link.clone(), datagrams.clone()));
        Ok(())
    }

    /// Closes them all: their ports are free then.
    pub(super) async fn close(&mut self) {
        self.hearing.shutdown().await;
        self.speaking.clear();
    }

    /// Where something can be said.
    pub(super) fn own(&self) -> HashSet<Own> {
        self.speaking.keys().copied().collect()
    }

    /// Says it; what does not get out is said again in the next round.
    pub(super) async fn send(&self, own: Own, bytes: &[u8]) {
        let Some(socket) = self.speaking.get(&own) else { return };
        if let Err(error) = socket.send(bytes).await {
            tracing::debug!(%error, address = %own.address, "a beacon was not sent");
        }
    }
}

/// Where this device can speak on a link: its first IPv4 address, and its link-local one of IPv6.
pub(super) fn owns(link: &Link) -> impl Iterator<Item = Own> + '_ {
    let addresses = || link.addresses.iter().map(|(address, _)| *address);
    let v4 = addresses().find(IpAddr::is_ipv4);
    let v6 = addresses().find(is_link_local_v6);
    [v4, v6].into_iter().flatten().map(|address| Own { interface: link.index, address })
}

fn is_link_local_v6(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Whether somebody at this address is on the link. Routers pass on nothing from link-local addresses (RFC 4291, 2.5.6).
fn is_on(link: &Link, from: IpAddr) -> bool {
    match from {
        IpAddr::V4(_) => link.addresses.iter().any(|(own, bits)| Range::subnet(*own, *bits).contains(from)),
        IpAddr::V6(_) => is_link_local_v6(&from),
    }
}

/// Passes on what comes from the link, as long as somebody has room for it.
async fn hear(socket: UdpSocket, link: Link, datagrams: mpsc::Sender<Datagram>) {
    // One byte more than a beacon has: what is longer is not cut to one.
    let mut buffer = [0; BEACON_LIMIT + 1];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((len, from)) if is_on(&link, from.ip()) => {
                let _ = datagrams.try_send(Datagram { from: from.ip(), bytes: buffer[..len].to_vec() });
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, link = link.name, "no beacons are heard");
                sleep(PAUSE).await;
            }
        }
    }
}

fn broadcaster(link: &Link, own: Ipv4Addr, port: u16) -> io::Result<UdpSocket> {
    let socket = socket(Domain::IPV4, link)?;
    socket.set_broadcast(true)?;
    socket.bind(&SocketAddr::from((own, 0)).into())?;
    socket.connect(&SocketAddr::from((Ipv4Addr::BROADCAST, port)).into())?;
    UdpSocket::from_std(socket.into())
}

fn listener_v4(link: &Link, port: u16) -> io::Result<UdpSocket> {
    let socket = socket(Domain::IPV4, link)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    UdpSocket::from_std(socket.into())
}

fn multicaster(link: &Link, own: Ipv6Addr, port: u16) -> io::Result<UdpSocket> {
    let socket = socket(Domain::IPV6, link)?;
    socket.set_multicast_if_v6(link.index)?;
    socket.set_multicast_loop_v6(false)?;
    socket.bind(&on_link(link, own, 0))?;
    socket.connect(&on_link(link, BEACON_GROUP, port))?;
    UdpSocket::from_std(socket.into())
}

fn listener_v6(link: &Link, port: u16) -> io::Result<UdpSocket> {
    let socket = socket(Domain::IPV6, link)?;
    socket.set_only_v6(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    socket.join_multicast_v6(&BEACON_GROUP, link.index)?;
    UdpSocket::from_std(socket.into())
}

fn socket(domain: Domain, link: &Link) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(link.name.as_bytes()))?;
    Ok(socket)
}

fn on_link(link: &Link, address: Ipv6Addr, port: u16) -> SockAddr {
    SocketAddrV6::new(address, port, 0, link.index).into()
}

/// After an error: an interface that went away comes back, or is missing at the next look.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use klnet_discovery::mac::Mac;

    use super::*;

    #[test]
    fn who_came_through_a_router_is_no_neighbour() {
        let link = link();
        for (from, on) in [
            ("10.1.0.9", true),
            ("10.1.1.9", false),
            ("192.168.7.1", true),
            ("fe80::9", true),
            ("fd00::9", false),
        ] {
            assert_eq!(is_on(&link, from.parse().unwrap()), on, "{from}");
        }
    }

    #[test]
    fn a_device_speaks_once_on_each_link_by_each_family() {
        let own: Vec<_> = owns(&link()).map(|own| own.address.to_string()).collect();
        assert_eq!(own, ["10.1.0.1", "fe80::1"]);
    }

    fn link() -> Link {
        let addresses = [("10.1.0.1", 24), ("192.168.7.9", 16), ("fd00::1", 64), ("fe80::1", 64)];
        let addresses = addresses.map(|(address, bits)| (address.parse().unwrap(), bits)).to_vec();
        Link { index: 2, name: "eth0".into(), mac: Mac([2, 0, 0, 0, 0, 1]), addresses }
    }
}
