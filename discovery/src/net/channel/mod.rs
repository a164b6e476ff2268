//! The ways a probe can leave this machine, from the best to what every user has.
//!
//! | channel | needs | finds |
//! |---|---|---|
//! | packet socket | CAP_NET_RAW, here or in the opener | ARP, neighbours, echo, SYN |
//! | ping socket | the group in `net.ipv4.ping_group_range` | echo |
//! | kernel | one of the others, to have it look for a neighbour | neighbours, with their cards |
//! | node status | nothing | Windows and Samba by NetBIOS |
//! | knocking | nothing | ports, open or closed, by TCP and by the errors UDP earns |

mod knock;
mod ping;
mod sockets;
mod status;
mod went;

use std::io;
use std::net::IpAddr;

pub(super) use knock::Knocking;
pub(super) use ping::PingSocket;
pub(super) use status::StatusSockets;
pub(super) use went::Went;

#[cfg(target_os = "linux")]
use super::linux::{Neighbours, PacketSocket};
use crate::fact::Claim;
use crate::probe::{Answer, Prober};

/// A way for probes and their answers.
#[derive(Debug)]
pub(super) enum Channel {
    #[cfg(target_os = "linux")]
    Packet {
        socket: PacketSocket,
        prober: Prober,
    },
    /// What is sent to a neighbour makes the kernel look for it, and the kernel tells whom it finds.
    #[cfg(target_os = "linux")]
    Kernel {
        asking: Box<Self>,
        neighbours: Neighbours,
    },
    Ping(PingSocket),
    Knock(Knocking),
    Status(StatusSockets),
}

impl Channel {
    /// Sends a probe, or queues it.
    pub(super) fn probe(&mut self, target: IpAddr, attempt: u16) -> io::Result<Went> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Packet { socket, prober } => Ok(match prober.probe(target, attempt) {
                None => Went::Refused,
                Some(frame) if socket.queue(frame) => Went::Batched,
                Some(_) => Went::Out,
            }),
            #[cfg(target_os = "linux")]
            Self::Kernel { asking, .. } => asking.probe(target, attempt),
            Self::Ping(socket) => socket.probe(target, attempt),
            Self::Knock(knocking) => Ok(knocking.probe(target)),
            Self::Status(sockets) => sockets.probe(target),
        }
    }

    /// Sends what is queued; whether all of it went.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Packet { socket, .. } => socket.flush(),
            #[cfg(target_os = "linux")]
            Self::Kernel { asking, .. } => asking.flush(),
            Self::Ping(_) | Self::Knock(_) | Self::Status(_) => Ok(true),
        }
    }

    /// Reads everything that has come in.
    pub(super) fn receive(&mut self, take: &mut dyn FnMut(Answer)) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Packet { socket, prober } => socket.receive(|frame| match prober.answer(frame) {
                Ok(answer) => take(answer),
                Err(why) => tracing::trace!(%why, "frame ignored"),
            })?,
            #[cfg(target_os = "linux")]
            Self::Kernel { asking, neighbours } => {
                neighbours.receive(take)?;
                asking.receive(&mut |answer| take(Answer { mac: neighbours.card(answer.from), ..answer }))?;
            }
            Self::Ping(socket) => socket.receive(take),
            Self::Knock(knocking) => knocking.receive(take),
            Self::Status(sockets) => sockets.receive(take),
        }
        Ok(())
    }

    /// Waits until something has come in.
    pub(super) async fn readable(&mut self) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Packet { socket, .. } => socket.readable().await,
            #[cfg(target_os = "linux")]
            Self::Kernel { asking, neighbours } => tokio::select! {
                ready = Box::pin(asking.readable()) => ready,
                ready = neighbours.readable() => ready,
            },
            Self::Ping(socket) => socket.readable().await,
            Self::Knock(knocking) => {
                knocking.readable().await;
                Ok(())
            }
            Self::Status(sockets) => sockets.readable().await,
        }
    }

    /// What hosts said of themselves beyond that they are there.
    pub(super) fn said(&mut self) -> Vec<(IpAddr, Claim)> {
        if let Self::Status(sockets) = self { sockets.said() } else { Vec::new() }
    }

    /// Who is known to have no answer, since the last look.
    pub(super) fn refused(&self) -> Vec<IpAddr> {
        if let Self::Status(sockets) = self { sockets.refused() } else { Vec::new() }
    }

    /// Whether answers were lost here for lack of room since the last look.
    pub(super) fn has_dropped(&self) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Self::Packet { socket, .. } => socket.dropped() > 0,
            #[cfg(target_os = "linux")]
            Self::Kernel { asking, .. } => asking.has_dropped(),
            Self::Ping(_) | Self::Knock(_) | Self::Status(_) => false,
        }
    }
}
