//! Ping sockets: echo for every user whose group may (icmp(7), `ping_group_range`).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;

use super::Went;
use crate::cookie::CookieKey;
use crate::packet::echo;
use crate::probe::{ALL_NODES, Answer, Kind};

/// A socket whose identifier the kernel chose and keeps apart from everybody else's.
#[derive(Debug)]
pub(in crate::net) struct PingSocket {
    socket: UdpSocket,
    key: CookieKey,
    v4: bool,
    /// Where not each host is asked for itself.
    group: Option<IpAddr>,
}

impl PingSocket {
    /// Opens a socket for the family of `source`.
    pub(in crate::net) fn open(source: IpAddr, key: CookieKey) -> io::Result<Self> {
        let any: IpAddr =
            if source.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        Self::bound(SocketAddr::new(any, 0), key)
    }

    fn bound(own: SocketAddr, key: CookieKey) -> io::Result<Self> {
        let v4 = own.is_ipv4();
        let (domain, protocol) =
            if v4 { (Domain::IPV4, Protocol::ICMPV4) } else { (Domain::IPV6, Protocol::ICMPV6) };
        let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(BUFFER)?;
        socket.bind(&own.into())?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, key, v4, group: None })
    }

    /// Opens a socket that asks all nodes of the link of an interface from an own address there.
    pub(in crate::net) fn open_all_nodes(
        source: Ipv6Addr,
        interface: u32,
        key: CookieKey,
    ) -> io::Result<Self> {
        // Only an address of the link itself has a scope.
        let scope = if source.is_unicast_link_local() { interface } else { 0 };
        let opened = Self::bound(SocketAddrV6::new(source, 0, 0, scope).into(), key)?;
        let socket = SockRef::from(&opened.socket);
        socket.set_multicast_if_v6(interface)?;
        socket.set_multicast_loop_v6(false)?;
        Ok(Self { group: Some(ALL_NODES), ..opened })
    }

    pub(super) fn probe(&self, target: IpAddr, attempt: u16) -> io::Result<Went> {
        let (kind, mut message) = (if self.v4 { REQUEST_V4 } else { REQUEST_V6 }, [0; echo::LENGTH]);
        echo::message(&mut message, kind, 0, attempt, self.key.cookie(target, attempt));
        match self.socket.try_send_to(&message, SocketAddr::new(target, 0)) {
            Ok(_) => Ok(Went::Out),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Went::Full),
            Err(error) => match Errno::from_io_error(&error) {
                // The neighbour table has no room: it empties itself within seconds.
                Some(Errno::NOBUFS) => Ok(Went::Full),
                Some(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ACCESS | Errno::PERM | Errno::INVAL) => {
                    Ok(Went::Refused)
                }
                _ => Err(error),
            },
        }
    }

    pub(super) fn receive(&self, mut take: impl FnMut(Answer)) -> io::Result<()> {
        let mut message = [0; LENGTH];
        loop {
            match self.socket.try_recv_from(&mut message) {
                Ok((len, from)) => self
                    .read(message.get(..len).unwrap_or_default(), from.ip())
                    .into_iter()
                    .for_each(&mut take),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Errors of hosts, such as "unreachable", are no answers.
                Err(error) => tracing::trace!(%error, "ping socket"),
            }
        }
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
        self.socket.readable().await
    }
}

/// RFC 792 and RFC 4443.
const REQUEST_V4: u8 = 8;
const REPLY_V4: u8 = 0;
const REQUEST_V6: u8 = 128;
const REPLY_V6: u8 = 129;
/// Longer than any answer to these probes.
const LENGTH: usize = 256;
/// As much as is asked for; the kernel gives at most rmem_max.
const BUFFER: usize = 4 << 20;
