//! The socket between the two processes: packets of one message each, with descriptors beside them (unix(7),
//! SCM_RIGHTS).

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_send_buffer_size, socket_domain, socket_type};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::message::{DESCRIPTORS_LIMIT, LIMIT, Message, NotUnderstood};

/// One end of the socket. The runtime's type for streams only waits for it here; what is sent and received are packets.
#[derive(Debug)]
pub struct Link {
    socket: UnixStream,
    /// For one byte more than a message may have, so that a longer one is seen to be.
    buffer: Box<[u8]>,
}

/// Why nothing was sent or received.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The other process has closed its end, or is gone.
    #[error("the other process has gone")]
    Gone,
    /// The system refuses.
    #[error("the socket to the other process fails: {0}")]
    Io(io::Error),
    /// The other process said something else.
    #[error(transparent)]
    NotUnderstood(#[from] NotUnderstood),
}

impl Link {
    /// Both ends: ours, and the one that becomes the standard input of the other process.
    ///
    /// # Errors
    /// What the system says.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self::new(ours)?, theirs))
    }

    /// The end this process was started with; `None` when it was started by anyone else than its predecessor. Standard
    /// input is empty afterwards, so that no process started from here takes itself for a successor.
    ///
    /// # Errors
    /// What the system says.
    pub fn inherited() -> io::Result<Option<Self>> {
        let stdin = rustix::stdio::stdin();
        let ours = (AddressFamily::UNIX, SocketType::SEQPACKET);
        if (socket_domain(stdin), socket_type(stdin)) != (Ok(ours.0), Ok(ours.1)) {
            return Ok(None);
        }
        let socket = stdin.try_clone_to_owned()?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        Self::new(socket).map(Some)
    }

    /// An end that was made by [`Link::pair`].
    ///
    /// # Errors
    /// What the system says.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        // As much as the system allows; what a message needs is below its usual limit.
        let _ = set_socket_send_buffer_size(&socket, 2 * LIMIT);
        let buffer = vec![0; LIMIT + 1].into_boxed_slice();
        Ok(Self { socket: UnixStream::from_std(socket)?, buffer })
    }

    /// Sends a message with the descriptors beside it, which the other process gets copies of.
    ///
    /// # Errors
    /// [`LinkError`], and nothing was sent.
    pub async fn send(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        debug_assert_eq!(message.descriptors(), descriptors.len(), "{message:?}");
        let bytes = message.encode();
        let sent =
            self.socket.async_io(Interest::WRITABLE, || Ok(send(self.socket.as_fd(), &bytes, descriptors)?));
        sent.await.map(drop).map_err(LinkError::from)
    }

    /// Receives a message and what is beside it. There may be fewer descriptors than the message says: this process may
    /// not have room for them.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn receive(&mut self) -> Result<(Message, Vec<OwnedFd>), LinkError> {
        let Self { socket, buffer } = self;
        let received = socket.async_io(Interest::READABLE, || Ok(receive(socket.as_fd(), buffer)?));
        let (length, descriptors) = received.await?;
        match length {
            // Every message has bytes.
            0 => Err(LinkError::Gone),
            length => Ok((Message::decode(&buffer[..length])?, descriptors)),
        }
    }
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        let fits = beside.push(SendAncillaryMessage::ScmRights(descriptors));
        assert!(fits, "there is room for as many descriptors as a message may have");
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL)
}

fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let length = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut beside, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let mut descriptors = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    Ok((length, descriptors))
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Gone,
            _ => Self::Io(error),
        }
    }
}

const SPACE: usize = rustix::cmsg_space!(ScmRights(DESCRIPTORS_LIMIT));

#[cfg(test)]
mod tests;
