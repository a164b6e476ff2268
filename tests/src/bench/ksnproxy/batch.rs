//! Many datagrams with each call, on a connected socket: what asks must not be slower than who answers.
#![allow(
    unsafe_code,
    reason = "no crate at hand receives many datagrams without also joining them (UDP_GRO)"
)]

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Room for as many datagrams as one call moves, each way.
pub(super) struct Batch {
    outgoing: Box<[[u8; ROOM]; BATCH]>,
    lengths: [usize; BATCH],
    queued: usize,
    incoming: Box<[[u8; ROOM]; BATCH]>,
    received: [usize; BATCH],
}

impl Batch {
    pub(super) fn new() -> Self {
        let buffers = || Box::new([[0; ROOM]; BATCH]);
        let (lengths, received) = ([0; BATCH], [0; BATCH]);
        Self { outgoing: buffers(), lengths, queued: 0, incoming: buffers(), received }
    }

    /// Has `write` fill a datagram and say how long it is, and sends all when no other fits.
    pub(super) fn push(
        &mut self,
        socket: &UdpSocket,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> io::Result<()> {
        self.lengths[self.queued] = write(&mut self.outgoing[self.queued]);
        self.queued += 1;
        if self.queued == BATCH { self.send(socket) } else { Ok(()) }
    }

    /// Sends what is queued.
    pub(super) fn send(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let queued = std::mem::take(&mut self.queued);
        let mut vectors: [libc::iovec; BATCH] =
            std::array::from_fn(|at| vector(&mut self.outgoing[at][..self.lengths[at]]));
        let mut headers: [libc::mmsghdr; BATCH] = std::array::from_fn(|at| header(&mut vectors[at]));
        let mut rest = &mut headers[..queued];
        while !rest.is_empty() {
            let length = u32::try_from(rest.len()).unwrap_or(0);
            // SAFETY: there are `length` headers, each with one vector of bytes that live until the call returns.
            let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), length, 0) };
            let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
            rest = &mut rest[sent..];
        }
        Ok(())
    }

    /// Receives what is there, and says how many datagrams that are.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let mut vectors: [libc::iovec; BATCH] = std::array::from_fn(|at| vector(&mut self.incoming[at]));
        let mut headers: [libc::mmsghdr; BATCH] = std::array::from_fn(|at| header(&mut vectors[at]));
        // SAFETY: as above; the kernel writes no further than each vector is long.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH_U32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let Ok(received) = usize::try_from(received) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) };
        };
        for (length, header) in self.received.iter_mut().zip(&headers).take(received) {
            *length = usize::try_from(header.msg_len).unwrap_or(ROOM);
        }
        Ok(received)
    }

    /// One of those that were received last.
    pub(super) fn datagram(&mut self, at: usize) -> &mut [u8] {
        &mut self.incoming[at][..self.received[at]]
    }
}

fn vector(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
}

fn header(vector: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: integers and pointers, for which zero is a value.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_iov = vector;
    header.msg_hdr.msg_iovlen = 1;
    header
}

/// Datagrams of one call.
pub(super) const BATCH: usize = 64;
const BATCH_U32: u32 = 64;

/// No query and no answer here is as long.
const ROOM: usize = 256;
