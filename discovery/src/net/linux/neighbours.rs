//! The kernel's table of neighbours: who may open no packet socket has the kernel look for them, and is told whom it finds.
//!
//! The kernel tells everybody who asks what becomes of its neighbours (rtnetlink(7), `RTNLGRP_NEIGH`). So a neighbour that
//! answers no ping is found all the same, with its card, and a lost echo costs nothing. Whom the kernel knew before the
//! poll, and heard long ago, it does not look for at once: that one is found by its answer alone.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::batch;
use crate::mac::Mac;
use crate::probe::{Answer, Kind};
use crate::resolution::Resolution;

/// The neighbours of one interface and one family, as the kernel finds them.
#[derive(Debug)]
pub(in crate::net) struct Neighbours {
    socket: AsyncFd<Socket>,
    interface: u32,
    v4: bool,
    /// The cards of those that were found.
    cards: HashMap<IpAddr, Mac>,
    bytes: Box<[u8; DATAGRAM]>,
}

impl Neighbours {
    /// Listens to what becomes of the neighbours on an interface, and asks for those that are known.
    pub(in crate::net) fn open(interface: u32, v4: bool) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        socket.set_rx_buf_sz(BUFFER)?;
        socket.bind(&SocketAddr::new(0, GROUP))?;
        let (socket, bytes) = (batch::registered(socket)?, Box::new([0; DATAGRAM]));
        let opened = Self { socket, interface, v4, cards: HashMap::new(), bytes };
        opened.ask()?;
        Ok(opened)
    }

    /// Asks for the whole table.
    fn ask(&self) -> io::Result<()> {
        let mut all = NeighbourMessage::default();
        all.header.family = if self.v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNeighbour(all));
        request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.get_ref().send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        Ok(())
    }

    /// Takes in everything that was told.
    pub(in crate::net) fn receive(&mut self, take: &mut dyn FnMut(Answer)) -> io::Result<()> {
        loop {
            match self.socket.get_ref().recv(&mut &mut self.bytes[..], 0) {
                Ok(len) => {
                    let found: Vec<_> = messages(self.bytes.get(..len).unwrap_or_default()).collect();
                    found.iter().filter_map(|message| self.found(message)).for_each(&mut *take);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Something was told that found no room: the whole table says it again.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NOBUFS) => self.ask()?,
                Err(error) => return Err(error),
            }
        }
    }

    /// A neighbour whose card is known; an answer when the kernel has heard it by now.
    fn found(&mut self, message: &NeighbourMessage) -> Option<Answer> {
        let of_a_card = message.header.ifindex == self.interface;
        let (from, mac) = (of_a_card.then(|| address(message)).flatten()?, card(message)?);
        if from.is_ipv4() != self.v4 {
            return None;
        }
        if self.cards.len() < CARDS {
            self.cards.insert(from, mac);
        }
        let kind = if self.v4 { Kind::Arp } else { Kind::Neighbor };
        let is_heard = message.header.state == NeighbourState::Reachable;
        is_heard.then_some(Answer { from, attempt: None, kind, mac: Some(mac), hops: None })
    }

    /// The card of a neighbour, if the kernel knows it.
    pub(in crate::net) fn card(&self, address: IpAddr) -> Option<Mac> {
        self.cards.get(&address).copied()
    }

    pub(in crate::net) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await?.clear_ready();
        Ok(())
    }
}

/// How the kernel looks for neighbours on an interface; what it does not tell is as it is by default.
pub(in crate::net) fn resolution(interface: &str, v4: bool) -> Resolution {
    let family = if v4 { "ipv4" } else { "ipv6" };
    let setting = |of: &str, name: &str| -> Option<u32> {
        let text = std::fs::read_to_string(format!("/proc/sys/net/{family}/neigh/{of}/{name}")).ok()?;
        text.trim().parse().ok()
    };
    let tick = batch::tick();
    let default = Resolution::of_default(tick);
    let times = setting(interface, "mcast_solicit").and_then(|times| u8::try_from(times).ok());
    let every = setting(interface, "retrans_time_ms").map(|ms| Duration::from_millis(ms.into()));
    // Only the first namespace of a machine tells it: the table is everybody's.
    let room = setting("default", "gc_thresh3");
    Resolution {
        times: times.map_or(default.times, |times| times.clamp(1, MOST)),
        every: every.unwrap_or(default.every),
        room: room.unwrap_or(default.room),
        ..default
    }
    .ticking(tick)
}

/// The messages of a datagram about neighbours that are there or looked for.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = NeighbourMessage> {
    std::iter::from_fn(move || {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes).ok()?;
        let len = usize::try_from(message.header.length).ok()?.next_multiple_of(4);
        bytes = bytes.get(len..).unwrap_or_default();
        Some(message.payload)
    })
    .filter_map(|payload| match payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(neighbour)) => Some(neighbour),
        _ => None,
    })
}

fn address(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some((*address).into()),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some((*address).into()),
        _ => None,
    })
}

fn card(message: &NeighbourMessage) -> Option<Mac> {
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok().map(Mac),
        _ => None,
    });
    mac.filter(|mac| mac.is_of_a_host())
}

/// The group of `RTNLGRP_NEIGH`, which is number 3, as `sockaddr_nl` has it (netlink(7)).
const GROUP: u32 = 1 << 2;
/// Many times what the kernel has room for; beyond them a host that answers first has no card.
const CARDS: usize = 1 << 16;
/// As much as the kernel puts into one answer at most.
const DATAGRAM: usize = 32 << 10;
/// As much as is asked for; the kernel gives at most rmem_max.
const BUFFER: i32 = 4 << 20;
/// More questions than this for one neighbour find no place in a polite span.
const MOST: u8 = 10;
