//! Datagram sockets that are used as one.
//!
//! The kernel keeps what is sent to a silent neighbour until it gives that neighbour up, in the buffer of the socket it
//! came from. So that the silent do not hold up the others, there are as many sockets as have room for all that are kept
//! at once.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use rustix::io::Errno;
use tokio::net::UdpSocket;

use super::went::Went;
#[cfg(target_os = "linux")]
use crate::net::linux::errors;

/// Sockets of one kind.
#[derive(Debug)]
pub(super) struct Sockets(pub(super) Vec<UdpSocket>);

impl Sockets {
    /// Has the kernel keep the errors that are earned.
    #[cfg(target_os = "linux")]
    pub(super) fn keep_errors(&self) -> io::Result<()> {
        self.0.iter().try_for_each(errors::keep)
    }

    /// Those who were sent something that earned an error, since the last look.
    pub(super) fn refused(&self) -> Vec<IpAddr> {
        let mut refused = Vec::new();
        #[cfg(target_os = "linux")]
        for socket in &self.0 {
            refused.extend(std::iter::from_fn(|| errors::next(socket)));
        }
        refused
    }

    /// Sends by the first that has room.
    pub(super) fn send(&self, bytes: &[u8], target: SocketAddr) -> io::Result<Went> {
        let mut sent = self.0.iter().map(|socket| {
            // An error that an earlier datagram has earned is told once, instead of sending this one.
            let sent = socket.try_send_to(bytes, target);
            sent.or_else(|error| if is_full(&error) { Err(error) } else { socket.try_send_to(bytes, target) })
        });
        let has_room = |sent: &io::Result<usize>| !sent.as_ref().is_err_and(is_full);
        match sent.find(has_room) {
            None => Ok(Went::Full),
            Some(Ok(_)) => Ok(Went::Out),
            Some(Err(error)) => match Errno::from_io_error(&error) {
                // The neighbour table has no room: it empties itself within seconds.
                Some(Errno::NOBUFS) => Ok(Went::Full),
                // Again one that another has earned: this datagram is lost, as it may be on its way.
                Some(Errno::HOSTUNREACH | Errno::CONNREFUSED) => Ok(Went::Out),
                Some(Errno::NETUNREACH | Errno::ACCESS | Errno::PERM | Errno::INVAL) => Ok(Went::Refused),
                _ => Err(error),
            },
        }
    }

    /// Gives everything that has come in to `take`.
    pub(super) fn receive(&self, bytes: &mut [u8], mut take: impl FnMut(&[u8], SocketAddr)) {
        for socket in &self.0 {
            loop {
                match socket.try_recv_from(bytes) {
                    Ok((len, from)) => take(bytes.get(..len).unwrap_or_default(), from),
                    Err(error) if is_full(&error) => break,
                    // Errors of hosts, such as "unreachable", are no answers.
                    Err(error) => tracing::trace!(%error, "datagrams"),
                }
            }
        }
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        poll_fn(|context| self.poll_readable(context)).await
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ready = self.0.iter().map(|socket| socket.poll_recv_ready(context));
        ready.reduce(|one, other| if one.is_ready() { one } else { other }).unwrap_or(Poll::Pending)
    }
}

/// Whether there is no room, or nothing to be read, now.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
