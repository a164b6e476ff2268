//! Ping sockets: echo for every user whose group may (icmp(7), `ping_group_range`).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;

use super::sockets::Sockets;
use super::went::Went;
use crate::cookie::CookieKey;
use crate::packet::echo;
use crate::probe::{ALL_NODES, Answer, Kind};

/// Sockets whose identifiers the kernel chose and keeps apart from everybody else's.
#[derive(Debug)]
pub(in crate::net) struct PingSocket {
    sockets: Sockets,
    key: CookieKey,
    v4: bool,
    /// Where not each host is asked for itself.
    group: Option<IpAddr>,
}

impl PingSocket {
    /// Opens sockets for the family of `source`.
    pub(in crate::net) fn open(source: IpAddr, key: CookieKey) -> io::Result<Self> {
        let any: IpAddr =
            if source.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let sockets = (0..SOCKETS).map(|_| bound(SocketAddr::new(any, 0))).collect::<io::Result<_>>()?;
        Ok(Self { sockets: Sockets(sockets), key, v4: source.is_ipv4(), group: None })
    }

    /// Opens a socket that asks all nodes of the link of an interface from an own address there.
    pub(in crate::net) fn open_all_nodes(
        source: Ipv6Addr,
        interface: u32,
        key: CookieKey,
    ) -> io::Result<Self> {
        // Only an address of the link itself has a scope.
        let scope = if source.is_unicast_link_local() { interface } else { 0 };
        let socket = bound(SocketAddrV6::new(source, 0, 0, scope).into())?;
        let reference = SockRef::from(&socket);
        reference.set_multicast_if_v6(interface)?;
        reference.set_multicast_loop_v6(false)?;
        Ok(Self { sockets: Sockets(vec![socket]), key, v4: false, group: Some(ALL_NODES) })
    }

    pub(super) fn probe(&self, target: IpAddr, attempt: u16) -> io::Result<Went> {
        let (kind, mut message) = (if self.v4 { REQUEST_V4 } else { REQUEST_V6 }, [0; echo::LENGTH]);
        echo::message(&mut message, kind, 0, attempt, self.key.cookie(target, attempt));
        self.sockets.send(&message, SocketAddr::new(target, 0))
    }

    pub(super) fn receive(&self, mut take: impl FnMut(Answer)) {
        self.sockets.receive(&mut [0; LENGTH], |message, from| {
            self.read(message, from.ip()).into_iter().for_each(&mut take);
        });
    }

    fn read(&self, message: &[u8], from: IpAddr) -> Option<Answer> {
        let kind = if self.v4 { REPLY_V4 } else { REPLY_V6 };
        let (_, attempt) = echo::answered(&self.key, self.group.unwrap_or(from), message)
            .ok()
            .filter(|_| message.first() == Some(&kind))?;
        let kind = if self.group.is_some() { Kind::AllNodes } else { Kind::Echo };
        Some(Answer { from, attempt: Some(attempt), kind, mac: None, hops: None })
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        self.sockets.readable().await
    }
}

fn bound(own: SocketAddr) -> io::Result<UdpSocket> {
    let (domain, protocol) = match own.is_ipv4() {
        true => (Domain::IPV4, Protocol::ICMPV4),
        false => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.set_send_buffer_size(BUFFER)?;
    socket.bind(&own.into())?;
    UdpSocket::from_std(socket.into())
}

/// RFC 792 and RFC 4443.
const REQUEST_V4: u8 = 8;
const REPLY_V4: u8 = 0;
const REQUEST_V6: u8 = 128;
const REPLY_V6: u8 = 129;
/// Longer than any answer to these probes.
const LENGTH: usize = 256;
/// As much as is asked for; the kernel gives at most rmem_max and wmem_max.
const BUFFER: usize = 4 << 20;
/// Of 768 neighbours that are looked for at once, 554 find room in the largest buffer that is usual, for the kernel counts
/// 768 bytes for each of 416 KiB.
const SOCKETS: usize = 2;
