//! Sockets that send to a group, or listen to one.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket as Raw, Type};

use super::interface::Interface;
use super::memory::Memory;

/// A UDP socket that sends and receives many packets with one call.
#[derive(Debug)]
pub(super) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
}

/// Room for as many datagrams as one call receives.
pub(super) struct Inbox {
    buffers: Vec<Vec<u8>>,
    metas: [RecvMeta; BATCH],
}

impl Socket {
    /// A socket that sends to groups by this interface, and is answered there.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn sending(interface: &Interface, hops: u8) -> io::Result<Self> {
        let raw = raw(interface.address)?;
        match interface.address {
            IpAddr::V4(address) => {
                raw.set_multicast_if_v4(&address)?;
                raw.set_multicast_ttl_v4(hops.into())?;
            }
            IpAddr::V6(_) => {
                raw.set_multicast_if_v6(interface.index)?;
                raw.set_multicast_hops_v6(hops.into())?;
            }
        }
        let scope = if is_link_local(interface.address) { interface.index } else { 0 };
        raw.bind(&with_scope(interface.address, 0, scope).into())?;
        Self::new(raw)
    }

    /// A socket that hears the group on the interfaces.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn listening(group: SocketAddr, interfaces: &[Interface]) -> io::Result<Self> {
        let raw = raw(group.ip())?;
        // Several receivers of one machine each get every packet of the group.
        raw.set_reuse_address(true)?;
        // Bound to the group itself, so that neither unicast nor another group's packets come here.
        #[cfg(unix)]
        raw.bind(&group.into())?;
        #[cfg(not(unix))]
        raw.bind(&SocketAddr::new(unspecified(group.ip()), group.port()).into())?;
        #[cfg(target_os = "linux")]
        if group.is_ipv4() {
            raw.set_multicast_all_v4(false)?;
        }
        let socket = Self::new(raw)?;
        interfaces.iter().try_for_each(|interface| socket.join(group.ip(), interface))?;
        Ok(socket)
    }

    /// A socket to answer from.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn answering(family: IpAddr) -> io::Result<Self> {
        let raw = raw(family)?;
        raw.bind(&SocketAddr::new(unspecified(family), 0).into())?;
        Self::new(raw)
    }

    /// Joins the group on an interface.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn join(&self, group: IpAddr, interface: &Interface) -> io::Result<()> {
        let raw = socket2::SockRef::from(&self.io);
        match group {
            IpAddr::V4(group) => {
                raw.join_multicast_v4_n(&group, &socket2::InterfaceIndexOrAddress::Index(interface.index))
            }
            IpAddr::V6(group) => raw.join_multicast_v6(&group, interface.index),
        }
    }

    /// Leaves the group on an interface.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn leave(&self, group: IpAddr, interface: &Interface) -> io::Result<()> {
        let raw = socket2::SockRef::from(&self.io);
        match group {
            IpAddr::V4(group) => {
                raw.leave_multicast_v4_n(&group, &socket2::InterfaceIndexOrAddress::Index(interface.index))
            }
            IpAddr::V6(group) => raw.leave_multicast_v6(&group, interface.index),
        }
    }

    /// Sends packets of `size` bytes that lie one behind the other; waits while the system's queue is full.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn send(&self, to: SocketAddr, packets: &[u8], size: usize) -> io::Result<()> {
        let mut rest = packets;
        while !rest.is_empty() {
            // Asked each time: a device that cannot do it is found out by trying.
            let most = self.state.max_gso_segments().min(64_000 / size.max(1)).max(1) * size;
            let (now, later) = rest.split_at(most.min(rest.len()));
            let segments = (now.len() > size).then_some(size);
            let transmit =
                Transmit { destination: to, ecn: None, contents: now, segment_size: segments, src_ip: None };
            match self.state.try_send(UdpSockRef::from(&self.io), &transmit) {
                Ok(()) => rest = later,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_to_send()?,
                // Segmentation was refused and is off now.
                Err(_) if segments.is_some() && self.state.max_gso_segments() == 1 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives what is there and hands out each datagram with its sender; says how many there were.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn receive(
        &self,
        inbox: &mut Inbox,
        mut take: impl FnMut(&mut [u8], SocketAddr),
    ) -> io::Result<usize> {
        let Inbox { buffers, metas } = inbox;
        let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        let received = match self.state.recv(UdpSockRef::from(&self.io), &mut slices, metas) {
            Ok(received) => received,
            // The last is how a datagram that nobody took is told of: not ours to mind.
            Err(error) if is_nothing(&error) => return Ok(0),
            Err(error) => return Err(error),
        };
        drop(slices);
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas.iter()).take(received) {
            let length = meta.len.min(buffer.len());
            for datagram in buffer[..length].chunks_mut(meta.stride.max(1)) {
                take(datagram, meta.addr);
                count += 1;
            }
        }
        Ok(count)
    }

    /// How its buffer for what comes stands.
    pub(super) fn memory(&self) -> Memory {
        Memory::of(&self.io)
    }

    fn new(raw: Raw) -> io::Result<Self> {
        enlarge(&raw);
        let io = UdpSocket::from(raw);
        let state = UdpSocketState::new(UdpSockRef::from(&io))?;
        Ok(Self { io, state })
    }

    fn wait_to_send(&self) -> io::Result<()> {
        let mut poll = [rustix::event::PollFd::new(&self.io, rustix::event::PollFlags::OUT)];
        match rustix::event::poll(&mut poll, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { buffers: vec![vec![0; LARGEST]; BATCH], metas: [RecvMeta::default(); BATCH] }
    }
}

fn raw(family: IpAddr) -> io::Result<Raw> {
    let domain = if family.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let raw = Raw::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if family.is_ipv6() {
        raw.set_only_v6(true)?;
    }
    Ok(raw)
}

/// Asks for large buffers, beyond the system's limit where that is allowed; less is no error.
fn enlarge(raw: &Raw) {
    let _ = raw.set_send_buffer_size(SEND_BUFFER);
    let _ = raw.set_recv_buffer_size(RECEIVE_BUFFER);
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(raw, RECEIVE_BUFFER);
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused
    )
}

const fn unspecified(family: IpAddr) -> IpAddr {
    match family {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn with_scope(address: IpAddr, port: u16, scope: u32) -> SocketAddr {
    match address {
        IpAddr::V4(_) => SocketAddr::new(address, port),
        IpAddr::V6(address) => std::net::SocketAddrV6::new(address, port, 0, scope).into(),
    }
}

/// What one call receives: with GRO each buffer holds many datagrams.
const BATCH: usize = quinn_udp::BATCH_SIZE;
/// The longest chain of datagrams.
const LARGEST: usize = 65_536;
/// A stall of the receiving thread of 13 ms at 10 Gbit/s.
const RECEIVE_BUFFER: usize = 16 << 20;
/// A few bursts: what waits here is sent late.
const SEND_BUFFER: usize = 1 << 20;
