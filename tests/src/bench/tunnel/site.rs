//! The machines a product is spread over, and the wires between them.

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::bench::place::Place;
use crate::lab::{Host, Lab};

/// An operator's machine, a relay's and a device's; on the loopback all three are one.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) wires: Wires,
    pub(super) operator: Host,
    pub(super) relay: Host,
    pub(super) device: Host,
    /// Where the relay's machine is reached, from either side.
    pub(super) relay_address: Ipv4Addr,
    /// Where the device's machine is reached from the relay's.
    pub(super) device_address: Ipv4Addr,
}

/// What lies between the machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wires {
    /// Nothing: one machine's loopback, with its 64 KiB packets.
    Loopback,
    /// Pairs of virtual Ethernet devices that pass packets of 64 KiB on whole, as offloading network cards do.
    Offloading,
    /// The same without offloads: every segment is a packet of 1,500 bytes.
    Segments,
}

impl Site {
    /// Makes the machines, and has every connection between them use the same congestion control.
    pub(super) fn new(lab: &Lab, wires: Wires) -> Result<Self> {
        match wires {
            Wires::Loopback => Self::loopback(lab),
            Wires::Offloading | Wires::Segments => Self::wired(lab, wires),
        }
    }

    fn loopback(lab: &Lab) -> Result<Self> {
        let host = lab.host("all")?;
        let route = "local 127.0.0.1 dev lo proto kernel scope host src 127.0.0.1";
        host.ip(&format!("route replace table local {route} congctl {CONGESTION_CONTROL}"))?;
        let [operator, relay, device] = [host.clone(), host.clone(), host];
        let [relay_address, device_address] = [Ipv4Addr::LOCALHOST; 2];
        Ok(Self { wires: Wires::Loopback, operator, relay, device, relay_address, device_address })
    }

    fn wired(lab: &Lab, wires: Wires) -> Result<Self> {
        let (operator, relay, device) = (lab.host("operator")?, lab.host("relay")?, lab.host("device")?);
        let (operator_address, relay_address) = lab.link(&operator, &relay)?;
        let (relay_gate, device_address) = lab.link(&relay, &device)?;
        for (host, interface, address) in [
            (&operator, "eth0", operator_address),
            (&relay, "eth0", relay_address),
            (&relay, "eth1", relay_gate),
            (&device, "eth0", device_address),
        ] {
            shape(host, interface, address, wires)?;
        }
        device.ip(&format!("route replace default via {relay_gate} congctl {CONGESTION_CONTROL}"))?;
        Ok(Self { wires, operator, relay, device, relay_address, device_address })
    }

    /// Where a relay alone runs: on a core of its own, so that it and nothing else is the bottleneck.
    pub(super) fn relay_core(&self) -> Place {
        Place::on_core(&self.relay, RELAY_CORE)
    }
}

impl Wires {
    /// As a part of a sentence.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Offloading => "veth with offloads",
            Self::Segments => "veth without offloads",
        }
    }
}

/// A laboratory's wire has no offloads until told otherwise.
fn shape(host: &Host, interface: &str, address: Ipv4Addr, wires: Wires) -> Result<()> {
    if wires == Wires::Offloading {
        host.ip(&format!("link set {interface} gso_max_segs 65535"))?;
    }
    let [a, b, c, _] = address.octets();
    let route = format!("{a}.{b}.{c}.0/24 dev {interface} proto kernel scope link src {address}");
    host.ip(&format!("route replace {route} congctl {CONGESTION_CONTROL}"))?;
    Ok(())
}

/// BBR, where it is the default, paces its packets by what it measures, which on a loopback measures nothing.
const CONGESTION_CONTROL: &str = "reno";
/// The relay alone runs here.
const RELAY_CORE: usize = 0;
/// What loads it and measures it runs here.
pub(super) const LOAD_CORE: usize = 1;
