//! The sockets of a proxy, one of each kind for every worker.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::config::Config;
use super::{Addresses, StartError};

/// The sockets of one worker.
pub(super) struct Sockets {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
}

impl Sockets {
    pub(super) fn addresses(&self) -> io::Result<Addresses> {
        Ok(Addresses { udp: self.udp.local_addr()?, tcp: self.tcp.local_addr()?, https: None })
    }
}

/// As many sockets of each port as there are workers: the kernel deals out what comes (socket(7), `SO_REUSEPORT`).
pub(super) fn bind(config: &Config, workers: usize) -> Result<Vec<Sockets>, StartError> {
    let (mut udp, mut tcp) =
        (SocketAddr::new(config.listen, config.udp_port), SocketAddr::new(config.listen, config.tcp_port));
    let mut all = Vec::new();
    for _ in 0..workers {
        let sockets = Sockets { udp: datagrams(udp)?, tcp: listen(tcp, "TCP", true)? };
        // Port 0 is drawn once for all.
        (udp, tcp) = (sockets.udp.local_addr()?, sockets.tcp.local_addr()?);
        all.push(sockets);
    }
    Ok(all)
}

fn datagrams(address: SocketAddr) -> Result<UdpSocket, StartError> {
    let bound = || -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        // What the system grants of it is enough.
        let _ = socket.set_recv_buffer_size(BUFFER);
        let _ = socket.set_send_buffer_size(BUFFER);
        if address.ip().is_unspecified() {
            if address.is_ipv4() {
                addressed_v4(&socket)?
            } else {
                socket.set_only_v6(false)?;
                addressed_v6(&socket)?
            }
        }
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    bound().map_err(|error| StartError::Bind { what: "UDP", address, error })
}

pub(super) fn listen(
    address: SocketAddr,
    what: &'static str,
    shared: bool,
) -> Result<TcpListener, StartError> {
    let bound = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    bound().map_err(|error| StartError::Bind { what, address, error })
}

fn addressed_v4(socket: &Socket) -> io::Result<()> {
    option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO)
}

fn addressed_v6(socket: &Socket) -> io::Result<()> {
    option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
}

#[allow(unsafe_code)] // no crate at hand sets these
fn option(socket: &Socket, level: i32, name: i32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or(4);
    // SAFETY: the kernel reads as many bytes as the integer has.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Bytes of a UDP socket's buffers: 64 batches of small datagrams.
const BUFFER: usize = 4 << 20;

/// Connections that wait to be taken.
const BACKLOG: i32 = 1024;
