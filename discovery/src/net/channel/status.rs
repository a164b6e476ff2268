//! NetBIOS node status: a datagram to each host, which every user may send.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;

use super::sockets::Sockets;
use super::went::Went;
use crate::cookie::CookieKey;
use crate::fact::Claim;
use crate::probe::{Answer, Kind};
use crate::windows::nbns;

/// Sockets for questions and answers, and what was said in answers.
#[derive(Debug)]
pub(in crate::net) struct StatusSockets {
    sockets: Sockets,
    key: CookieKey,
    said: Vec<(IpAddr, Claim)>,
}

impl StatusSockets {
    pub(in crate::net) async fn open(key: CookieKey) -> io::Result<Self> {
        let mut sockets = Vec::with_capacity(SOCKETS);
        for _ in 0..SOCKETS {
            sockets.push(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?);
        }
        let sockets = Sockets(sockets);
        #[cfg(target_os = "linux")]
        sockets.keep_errors()?;
        Ok(Self { sockets, key, said: Vec::new() })
    }

    pub(super) fn probe(&self, target: IpAddr) -> io::Result<Went> {
        if !target.is_ipv4() {
            return Ok(Went::Refused);
        }
        self.sockets.send(&nbns::question(self.id(target)), SocketAddr::new(target, PORT))
    }

    pub(super) fn receive(&mut self, mut take: impl FnMut(Answer)) {
        let mut said = std::mem::take(&mut self.said);
        self.sockets.receive(&mut [0; DATAGRAM], |bytes, from| {
            let (from, port) = (from.ip(), from.port());
            let Some(claims) = nbns::reply(self.id(from), bytes).filter(|_| port == PORT) else { return };
            said.extend(claims.into_iter().map(|claim| (from, claim)));
            take(Answer { from, attempt: None, kind: Kind::Status, mac: None, hops: None });
        });
        self.said = said;
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        self.sockets.readable().await
    }

    /// Who says that nobody listens there, since the last look.
    pub(super) fn refused(&self) -> Vec<IpAddr> {
        self.sockets.refused()
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

/// At the pace for silent neighbours 768 questions are kept at once for each round that goes on meanwhile, which are three
/// at most; a buffer of the usual 208 KiB takes 277 of them, for the kernel counts 768 bytes for each.
const SOCKETS: usize = 9;
/// RFC 1002.
const PORT: u16 = 137;
/// RFC 1002, 4.2.1: no longer than 576 bytes as a whole.
const DATAGRAM: usize = 576;
