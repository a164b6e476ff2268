//! What datagrams earn instead of an answer: a host says that nobody listens there, a router or the kernel that nobody is
//! there.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use rustix::net::{RecvAncillaryBuffer, RecvFlags, recvmsg};
use socket2::SockRef;
use tokio::net::UdpSocket;

use super::batch;

/// Has the kernel keep the errors that datagrams of a socket earn (ip(7), `IP_RECVERR`).
pub(in crate::net) fn keep(socket: &UdpSocket) -> io::Result<()> {
    batch::set(&SockRef::from(socket), libc::SOL_IP, libc::IP_RECVERR, 1)
}

/// Takes the next error; whom the datagram was for. The kernel has looked whether it was one of this socket.
pub(in crate::net) fn next(socket: &UdpSocket) -> Option<IpAddr> {
    let (mut datagram, mut control) = ([0; 64], RecvAncillaryBuffer::default());
    let flags = RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT;
    let received = recvmsg(socket.as_fd(), &mut [IoSliceMut::new(&mut datagram)], &mut control, flags);
    let target = received.ok()?.address?;
    SocketAddr::try_from(target).ok().map(|target| target.ip())
}
