//! Where a device listens in its roles, should it have them.

use std::net::{IpAddr, Ipv6Addr};

use klnet_wire::identity::beacon::BEACON_PORT;
use klnet_wire::multicast::FILES_PORT;
use serde::Deserialize;

/// The ports of a device's roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ports {
    /// The address of all of them.
    pub listen: IpAddr,
    /// Files of a distribution point, TCP.
    pub files: u16,
    /// A KSN proxy, TCP.
    pub ksn_tcp: u16,
    /// A KSN proxy, UDP.
    pub ksn_udp: u16,
    /// A KSN proxy, HTTPS.
    pub ksn_https: u16,
    /// Beacons, UDP, on every link; 0: this device tells its neighbours nothing, and does not hear them.
    pub neighbours: u16,
}

impl Ports {
    /// What cannot be meant, each with its key.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let Self { listen: _, files, ksn_tcp, ksn_udp, ksn_https, neighbours: _ } = *self;
        let named = [("files", files), ("ksn_tcp", ksn_tcp), ("ksn_udp", ksn_udp), ("ksn_https", ksn_https)];
        let none = named.into_iter().filter(|(_, port)| *port == 0);
        none.map(|(name, _)| format!("ports.{name}: 0 is no port")).collect()
    }
}

impl Default for Ports {
    /// Those of Kaspersky Security Center.
    fn default() -> Self {
        let listen = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let (files, neighbours) = (FILES_PORT, BEACON_PORT);
        Self { listen, files, ksn_tcp: 13_111, ksn_udp: 15_111, ksn_https: 17_111, neighbours }
    }
}
