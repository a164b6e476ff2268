//! A packet socket: frames of one EtherType on one interface, filtered by the kernel.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::want::Want;
use super::{batch, filter};
use crate::packet::Frame;

/// An open socket, and the frames that wait to be sent.
#[derive(Debug)]
pub(in crate::net) struct PacketSocket {
    fd: AsyncFd<OwnedFd>,
    queue: Vec<Frame>,
    buffers: batch::Buffers,
}

/// Opens, filters, locks and binds a socket: the only part that needs CAP_NET_RAW.
///
/// # Errors
/// When the kernel refuses: without the capability, or without such an interface.
pub(super) fn open(interface: u32, want: Want) -> io::Result<OwnedFd> {
    // With protocol 0 nothing is received before the filter is there and the socket is bound.
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    socket.set_nonblocking(true)?;
    socket.attach_filter(&filter::program(want))?;
    batch::lock_filter(&socket)?;
    // What is answered while this process is off the processor waits here; the second is bounded by rmem_max.
    if batch::force_receive_buffer(&socket, BUFFER).is_err() {
        socket.set_recv_buffer_size(BUFFER)?;
    }
    batch::bypass_queue(&socket)?;
    socket.bind(&address(interface, want)?)?;
    Ok(socket.into())
}

fn address(interface: u32, want: Want) -> io::Result<SockAddr> {
    let kind = match want {
        Want::Arp => libc::ETH_P_ARP,
        Want::Echo | Want::Tcp(_) => libc::ETH_P_IP,
        Want::V6 => libc::ETH_P_IPV6,
    };
    let kind = u16::try_from(kind).map_err(io::Error::other)?;
    let index = i32::try_from(interface).map_err(io::Error::other)?;
    batch::link_address(kind, index)
}

impl PacketSocket {
    pub(in crate::net) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            fd: batch::registered(fd)?,
            queue: Vec::with_capacity(BATCH),
            buffers: batch::Buffers::new(),
        })
    }

    /// Puts a frame behind the others; whether it is time to send.
    pub(in crate::net) fn queue(&mut self, frame: Frame) -> bool {
        self.queue.push(frame);
        self.queue.len() >= BATCH
    }

    /// Sends what waits; whether all of it went.
    ///
    /// # Errors
    /// When the interface is gone or down.
    pub(in crate::net) fn flush(&mut self) -> io::Result<bool> {
        while !self.queue.is_empty() {
            match batch::send(self.fd.as_raw_fd(), &self.queue) {
                Ok(sent) => drop(self.queue.drain(..sent)),
                Err(error) if is_full(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Gives every frame that has come in to `take`.
    ///
    /// # Errors
    /// When the interface is gone or down.
    pub(in crate::net) fn receive(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            match batch::receive(self.fd.as_raw_fd(), &mut self.buffers, &mut take) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until a frame has come in.
    pub(in crate::net) async fn readable(&self) -> io::Result<()> {
        self.fd.readable().await?.clear_ready();
        Ok(())
    }

    /// Frames that the kernel had no room for since the last look.
    pub(in crate::net) fn dropped(&self) -> u32 {
        batch::dropped(self.fd.as_fd())
    }
}

fn is_full(error: &io::Error) -> bool {
    let full = [Errno::AGAIN, Errno::NOBUFS, Errno::INTR];
    Errno::from_io_error(error).is_some_and(|errno| full.contains(&errno))
}

/// Frames handed to the kernel in one call.
const BATCH: usize = 64;
/// A second of answers at 100,000 a second.
const BUFFER: usize = 32 << 20;
