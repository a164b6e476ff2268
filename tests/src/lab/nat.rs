//! A home router: masquerades what goes out, lets nothing in that was not asked for.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::{Host, Lab, Switch};

/// A router with a switch on its inside; clones are the same router.
#[derive(Clone, Debug)]
pub struct Nat {
    router: Host,
    inside: Switch,
}

impl Nat {
    pub(super) fn create(lab: &Lab, name: &str, outside: &Switch) -> Result<Self> {
        let router = lab.host(name)?;
        outside.attach(&router)?; // eth0
        let inside = lab.switch(&format!("{name}-lan"))?;
        let gateway = inside.attach(&router)?; // eth1
        router.inside(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))??;
        router.namespace().nft(MASQUERADE)?;
        Ok(Self { router, inside: inside.with_gateway(gateway) })
    }

    /// Adds a host behind this router.
    ///
    /// # Errors
    /// When the kernel refuses, or the subnet is full.
    pub fn host(&self, name: &str) -> Result<Host> {
        self.inside.host(name)
    }

    /// Plugs a host into the inside and returns its address there.
    ///
    /// # Errors
    /// When the kernel refuses, or the subnet is full.
    pub fn attach(&self, host: &Host) -> Result<Ipv4Addr> {
        self.inside.attach(host)
    }

    /// The router itself: its [`Host::address`] is what the outside sees, and where a partition of everything behind
    /// it belongs.
    #[must_use]
    pub fn router(&self) -> &Host {
        &self.router
    }

    /// Forgets every connection, as a router does that was switched off and on: what comes from outside is dropped
    /// until the inside speaks again.
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn reboot(&self) -> Result<()> {
        // Masquerade forgets what left through a device that goes down.
        self.router.ip("link set eth0 down")?;
        self.router.ip("link set eth0 up").map(drop)
    }
}

/// Both filters drop by default: the outside cannot reach an inside address it routes to on purpose, and a connection
/// the router has forgotten ends in silence, not in a reset.
const MASQUERADE: &str = "
table ip nat {
    chain out { type nat hook postrouting priority srcnat; oifname eth0 masquerade; }
    chain through {
        type filter hook forward priority filter; policy drop;
        iifname eth1 accept
        ct state established,related accept
    }
    chain to_router {
        type filter hook input priority filter; policy drop;
        iifname { lo, eth1 } accept
        ct state established,related accept
    }
}";
