//! A poll for NetBIOS names.
//!
//! To ask a silent neighbour by a datagram would have the kernel look for it, unpaced, for three seconds. So who is on the
//! link is found first, by packets of our own, and only those are asked.

use std::net::IpAddr;
use std::time::Instant;

use super::{Part, Poller, Way};
use crate::mac::Mac;
use crate::net::channel::{Channel, StatusSockets};
use crate::net::error::PollError;
use crate::net::linux::PacketSocket;
use crate::net::segment::Segment;
use crate::pacer::Pacer;
use crate::plan::Plan;
use crate::probe::{Link, Method, Prober};
use crate::sweep::{Path, Sweep};

impl Poller<'_> {
    /// Asks everybody in `parts` who may be there, and this machine itself.
    pub(super) async fn netbios(
        &mut self,
        parts: Vec<Part>,
        own: impl Iterator<Item = IpAddr>,
        sockets: StatusSockets,
    ) -> Result<(), PollError> {
        let pace = self.options.profile.pace();
        let (mut channel, mut pacer) = ([Channel::Status(sockets)], Pacer::new(Instant::now(), pace));
        let mut own: Vec<IpAddr> = own.collect();
        for Part { segment, way } in parts {
            let (asked, path) = match way {
                Way::Raw { mac, neighbor, .. } => {
                    let (there, swept) = self.neighbours(&segment, mac, neighbor, pacer).await?;
                    let path = swept.path().to_programs();
                    pacer = swept.into_pacer().counting_each_as(ASKED_BY_KERNEL);
                    (Plan::of(there.into_iter().chain(own.drain(..))), path)
                }
                _ => {
                    if let Some(kernel) = segment.resolution() {
                        pacer = pacer.with_pace(kernel.pace(pace)).within(Some(kernel.bound()));
                    }
                    (Some(segment.plan), Path::default())
                }
            };
            if let Some(plan) = asked {
                pacer = self.names_of(&segment.interface.name, plan, path, &mut channel, pacer).await?;
            }
            pacer = pacer.with_pace(pace).within(None).counting_each_as(1);
        }
        if let Some(own) = Plan::of(own) {
            self.names_of("lo", own, Path::of_this_machine(), &mut channel, pacer).await?;
        }
        Ok(())
    }

    /// Who on the link answers ARP; it is nobody's fact, for a host without a NetBIOS name is not looked for.
    async fn neighbours(
        &self,
        segment: &Segment,
        mac: Mac,
        socket: PacketSocket,
        pacer: Pacer,
    ) -> Result<(Vec<IpAddr>, Sweep), PollError> {
        let link = Link { mac, source: segment.source, gateway: Mac::BROADCAST };
        let prober = Prober::new(Method::Neighbor, link, self.key);
        let (mut channel, mut answers) = ([Channel::Packet { socket, prober }], Vec::new());
        let quiet = Self { facts: None, ..*self };
        let name = &segment.interface.name;
        let core = quiet.core(&segment.plan.clone().into(), channel.len(), pacer);
        let swept = quiet.sweep(name, core, &mut channel, &mut answers).await?;
        Ok((answers.iter().map(|answer| answer.from).collect(), swept))
    }

    /// Asks everybody in a plan, on a way of which something may be known.
    async fn names_of(
        &mut self,
        interface: &str,
        plan: Plan,
        path: Path,
        channel: &mut [Channel],
        pacer: Pacer,
    ) -> Result<Pacer, PollError> {
        let mut answers = Vec::new();
        let core = self.core(&plan.into(), channel.len(), pacer).along(path);
        let swept = self.drive(interface, core, channel, &mut answers).await?;
        self.before += answers.len();
        Ok(swept.into_pacer())
    }
}

/// A datagram to a neighbour, and the kernel's question where that is.
const ASKED_BY_KERNEL: u32 = 2;
