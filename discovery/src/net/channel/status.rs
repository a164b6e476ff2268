//! NetBIOS node status: a datagram to each host, which every user may send.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::{Context, Poll};

use rustix::io::Errno;
use tokio::net::UdpSocket;

use super::Went;
use crate::cookie::CookieKey;
use crate::fact::Claim;
use crate::probe::{Answer, Kind};
use crate::windows::nbns;

/// Sockets for questions and answers, and what was said in answers.
///
/// The kernel keeps a question to a silent neighbour for three seconds, in the buffer of the socket it came from, before it
/// gives that neighbour up: so that the silent do not hold up the others, there is room for all that are kept at once.
#[derive(Debug)]
pub(in crate::net) struct StatusSockets {
    sockets: Vec<UdpSocket>,
    key: CookieKey,
    said: Vec<(IpAddr, Claim)>,
}

impl StatusSockets {
    pub(in crate::net) async fn open(key: CookieKey) -> io::Result<Self> {
        let mut sockets = Vec::with_capacity(SOCKETS);
        for _ in 0..SOCKETS {
            sockets.push(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?);
        }
        Ok(Self { sockets, key, said: Vec::new() })
    }

    pub(super) fn probe(&self, target: IpAddr) -> io::Result<Went> {
        if !target.is_ipv4() {
            return Ok(Went::Refused);
        }
        let (question, target) = (nbns::question(self.id(target)), SocketAddr::new(target, PORT));
        let mut sent = self.sockets.iter().map(|socket| socket.try_send_to(&question, target));
        let has_room = |sent: &io::Result<usize>| !sent.as_ref().is_err_and(is_full);
        match sent.find(has_room) {
            None => Ok(Went::Full),
            Some(Ok(_)) => Ok(Went::Out),
            Some(Err(error)) => match Errno::from_io_error(&error) {
                Some(Errno::NOBUFS) => Ok(Went::Full),
                Some(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ACCESS | Errno::PERM | Errno::INVAL) => {
                    Ok(Went::Refused)
                }
                _ => Err(error),
            },
        }
    }

    pub(super) fn receive(&mut self, mut take: impl FnMut(Answer)) {
        let mut bytes = [0; DATAGRAM];
        for socket in &self.sockets {
            loop {
                match socket.try_recv_from(&mut bytes) {
                    Ok((len, from)) if from.port() == PORT => {
                        let from = from.ip();
                        let Some(claims) = nbns::reply(self.id(from), &bytes[..len]) else { continue };
                        self.said.extend(claims.into_iter().map(|claim| (from, claim)));
                        take(Answer { from, attempt: None, kind: Kind::Status, mac: None, hops: None });
                    }
                    Ok(_) => {}
                    Err(error) if is_full(&error) => break,
                    Err(error) => tracing::trace!(%error, "node status"),
                }
            }
        }
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        poll_fn(|context| self.poll_readable(context)).await
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ready = self.sockets.iter().map(|socket| socket.poll_recv_ready(context));
        ready.reduce(|one, other| if one.is_ready() { one } else { other }).unwrap_or(Poll::Pending)
    }

    /// What was said since the last look.
    pub(super) fn said(&mut self) -> Vec<(IpAddr, Claim)> {
        std::mem::take(&mut self.said)
    }

    /// Two bytes of a cookie: all the room there is.
    fn id(&self, target: IpAddr) -> u16 {
        let [a, b, ..] = self.key.cookie(target, PORT).to_be_bytes();
        u16::from_be_bytes([a, b])
    }
}

/// Whether there is no room, or nothing to be read, now.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// At the pace for silent neighbours 750 questions are kept at once for each round that goes on meanwhile, which are three
/// at most; a buffer of the usual 208 KiB takes 277 of them, for the kernel counts 768 bytes for each.
const SOCKETS: usize = 9;
/// RFC 1002.
const PORT: u16 = 137;
/// RFC 1002, 4.2.1: no longer than 576 bytes as a whole.
const DATAGRAM: usize = 576;
