//! Datagrams of a device and of whoever pretends to be one.

use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, Result};
use klnet_ksnproxy::frame::{Header, Op, encode_query};
use klnet_ksnproxy::net::client::Secure;
use klnet_ksnproxy::subject::{Digest, Key, Subject};
use klnet_ksnproxy::ticket::{Sealer, Ticket};
use klnet_tests::lab::Host;
use klnet_tests::sim::Rng;
use klnet_wire::identity::Role;

use super::{Lan, PATIENCE};

/// A socket of a host, bound to an address of it, that talks to the proxy.
pub(crate) struct Peer {
    pub(crate) socket: UdpSocket,
    proxy: SocketAddr,
}

impl Peer {
    pub(crate) fn new(lan: &Lan, host: &Host, local: SocketAddr) -> Result<Self> {
        let socket = host.inside(|| UdpSocket::bind(local))??;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, proxy: SocketAddr::new(lan.proxy.address().into(), 15111) })
    }

    pub(crate) fn send(&self, datagram: &[u8]) -> Result<()> {
        self.socket.send_to(datagram, self.proxy).map(drop).context("cannot send")
    }

    /// The next datagram and its header.
    pub(crate) fn receive(&self) -> Result<(Header, Vec<u8>)> {
        let mut buffer = [0; 2048];
        let (length, from) = self.socket.recv_from(&mut buffer)?;
        anyhow::ensure!(from == self.proxy, "{from} is not the proxy");
        Ok((Header::parse(&buffer)?, buffer[..length].to_vec()))
    }

    /// What came until now.
    pub(crate) fn drain(&self) -> Result<Vec<usize>> {
        self.socket.set_nonblocking(true)?;
        let mut buffer = [0; 2048];
        let lengths =
            std::iter::from_fn(|| self.socket.recv_from(&mut buffer).ok().map(|(length, _)| length));
        let lengths = lengths.collect();
        self.socket.set_nonblocking(false)?;
        Ok(lengths)
    }

    /// Takes a cookie of the proxy for this socket.
    pub(crate) fn cookie(&self) -> Result<u64> {
        self.send(&plain(0, 1, &[key(1)]))?;
        let (header, _) = self.receive()?;
        anyhow::ensure!(header.op == Op::Challenge, "{header:?}");
        Ok(header.token)
    }
}

/// A ticket for a device that is on the LAN.
pub(crate) fn ticket(lan: &Lan) -> Result<Ticket> {
    let identity = lan.fabric.issue(Role::Agent, lan.device.address())?;
    let (host, trust) = (lan.proxy.address().to_string(), lan.fabric.trust.clone());
    lan.device.inside(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { Ok(Secure::connect(&host, 13111, &identity, trust).await?.ticket().await?) })
    })?
}

pub(crate) fn sealed(ticket: &Ticket, counter: u64, keys: &[Key]) -> Vec<u8> {
    let mut query = plain(ticket.number, counter, keys);
    Sealer::new(&ticket.key).seal_query(&mut query);
    query
}

pub(crate) fn plain(token: u64, serial: u64, keys: &[Key]) -> Vec<u8> {
    let mut query = Vec::new();
    encode_query(token, serial, keys, &mut query);
    query
}

/// Anything between noise and a good query.
pub(crate) fn fuzzed(rng: &mut Rng, cookie: u64, ticket: &Ticket, counter: u64) -> Vec<u8> {
    let keys = vec![key(1); 1 + usize::try_from(rng.below(9)).unwrap_or(0)];
    let mut datagram = match rng.below(4) {
        0 => plain(cookie, rng.below(u64::MAX), &keys),
        1 => sealed(ticket, counter, &keys),
        2 => plain(rng.below(u64::MAX), 1, &keys),
        _ => {
            let mut noise = vec![0; usize::try_from(rng.below(300)).unwrap_or(0)];
            rng.fill(&mut noise);
            noise
        }
    };
    for _ in 0..rng.below(3) {
        let length = datagram.len() as u64;
        if let Some(byte) = datagram.get_mut(usize::try_from(rng.below(length.max(1))).unwrap_or(0)) {
            *byte = u8::try_from(rng.below(256)).unwrap_or(0);
        }
    }
    datagram
}

pub(crate) fn key(n: u8) -> Key {
    Subject::File(Digest::Md5([n; 16]), None).key()
}
