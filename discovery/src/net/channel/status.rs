//! NetBIOS node status: a datagram to each host, which every user may send.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rustix::io::Errno;
use tokio::net::UdpSocket;

use super::Went;
use crate::cookie::CookieKey;
use crate::fact::Claim;
use crate::probe::{Answer, Kind};
use crate::windows::nbns;

/// A socket for questions and answers, and what was said in answers.
#[derive(Debug)]
pub(in crate::net) struct StatusSocket {
    socket: UdpSocket,
    key: CookieKey,
    said: Vec<(IpAddr, Claim)>,
}

impl StatusSocket {
    pub(in crate::net) async fn open(key: CookieKey) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        Ok(Self { socket, key, said: Vec::new() })
    }

    pub(super) fn probe(&self, target: IpAddr) -> io::Result<Went> {
        if !target.is_ipv4() {
            return Ok(Went::Refused);
        }
        match self.socket.try_send_to(&nbns::question(self.id(target)), SocketAddr::new(target, PORT)) {
            Ok(_) => Ok(Went::Out),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Went::Full),
            Err(error) => match Errno::from_io_error(&error) {
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
        loop {
            match self.socket.try_recv_from(&mut bytes) {
                Ok((len, from)) if from.port() == PORT => {
                    let from = from.ip();
                    let Some(claims) = nbns::reply(self.id(from), &bytes[..len]) else { continue };
                    self.said.extend(claims.into_iter().map(|claim| (from, claim)));
                    take(Answer { from, attempt: None, kind: Kind::Status, mac: None, hops: None });
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => tracing::trace!(%error, "node status"),
            }
        }
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
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

/// RFC 1002.
const PORT: u16 = 137;
/// RFC 1002, 4.2.1: no longer than 576 bytes as a whole.
const DATAGRAM: usize = 576;
