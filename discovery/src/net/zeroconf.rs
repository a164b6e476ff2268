//! Drives a browser of services on one interface: questions to the group, answers from it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant, SystemTime};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::dns::mdns::{Browser, Output};
use crate::fact::{Fact, Source};

/// Listens and asks for `patience` on the interface with the address `own`, and tells what is announced.
///
/// # Errors
/// When the group cannot be joined there.
pub async fn browse(own: Ipv4Addr, patience: Duration, facts: &mpsc::Sender<Fact>) -> io::Result<()> {
    let (socket, mut core) = (member(own)?, Browser::new(Instant::now(), patience));
    let mut buffer = vec![0; DATAGRAM];
    loop {
        while let Some(output) = core.poll_output() {
            match output {
                Output::Send(bytes) => drop(socket.send_to(&bytes, SocketAddr::V4(GROUP)).await?),
                Output::Learned(address, claim) => {
                    let fact = Fact { address, claim, source: Source::Mdns, seen: SystemTime::now() };
                    if facts.send(fact).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
        let now = Instant::now();
        if now >= core.deadline() {
            return Ok(());
        }
        tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                // Only the link itself is meant: what a router let through says nothing about it (RFC 6762, 11).
                Ok((len, from)) if from.port() == GROUP.port() => core.handle_input(&buffer[..len]),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "multicast DNS"),
            },
            () = tokio::time::sleep_until(core.poll_timeout().into()) => core.handle_timeout(Instant::now()),
        }
    }
}

/// A member of the group beside others on this machine (RFC 6762, 15.1).
fn member(own: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_multicast_all_v4(false)?;
    socket.set_multicast_if_v4(&own)?;
    socket.set_multicast_ttl_v4(HOPS)?;
    socket.set_multicast_loop_v4(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, GROUP.port())).into())?;
    socket.join_multicast_v4(GROUP.ip(), &own)?;
    UdpSocket::from_std(socket.into())
}

const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), 5353);
/// RFC 6762, 11.
const HOPS: u32 = 255;
/// RFC 6762, 17.
const DATAGRAM: usize = 9000;
