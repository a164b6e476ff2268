//! An Ethernet switch: a bridge in a namespace of its own.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, Result};

use super::namespace::Namespace;
use super::tool::{run, system};
use super::{Host, Lab, Subnet};

/// A switch and the subnet on it; clones are the same switch.
#[derive(Clone, Debug)]
pub struct Switch {
    lab: Lab,
    namespace: Arc<Namespace>,
    subnet: Subnet,
    /// The last number of the next address.
    next: Arc<AtomicU8>,
    gateway: Option<Ipv4Addr>,
}

impl Switch {
    pub(super) fn create(lab: &Lab, name: &str) -> Result<Self> {
        let namespace = Namespace::create(&lab.plan.name, name)?;
        // Snooping would filter multicast as soon as a querier shows up; a test that wants it turns it on.
        namespace.ip("link add bridge type bridge mcast_snooping 0")?;
        namespace.ip("link set bridge up")?;
        run(namespace.place(system("sysctl")).args(["-e", "-q", "-w"]).args(PLAIN))?;
        let subnet = lab.subnet()?;
        Ok(Self { lab: lab.clone(), namespace, subnet, next: Arc::new(AtomicU8::new(1)), gateway: None })
    }

    /// Adds a host that is plugged into this switch.
    ///
    /// # Errors
    /// When the kernel refuses, or the subnet is full.
    pub fn host(&self, name: &str) -> Result<Host> {
        let host = self.lab.host(name)?;
        self.attach(&host)?;
        Ok(host)
    }

    /// Plugs a host into this switch and returns its address there.
    ///
    /// # Errors
    /// When the kernel refuses, or the subnet is full.
    pub fn attach(&self, host: &Host) -> Result<Ipv4Addr> {
        let last = self.next.fetch_add(1, Ordering::Relaxed);
        let last = (1..=254).contains(&last).then_some(last).context("a switch has room for 254 hosts")?;
        let (device, port) = (host.namespace().next_device(), self.namespace.next_device());
        host.namespace().wire(&device, &self.namespace, &port)?;
        self.namespace.ip(&format!("link set {port} master bridge"))?;
        let address = host.configure(&device, self.subnet.host(last))?;
        if let Some(gateway) = self.gateway {
            host.default_route(gateway)?;
        }
        Ok(address)
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Hosts attached from now on send to `gateway` what is for elsewhere.
    pub(super) fn with_gateway(self, gateway: Ipv4Addr) -> Self {
        Self { gateway: Some(gateway), ..self }
    }
}

/// A switch has no firewall; where the machine's bridges pass their frames to one, that is a third of what a frame costs.
const PLAIN: [&str; 3] = [
    "net.bridge.bridge-nf-call-arptables=0",
    "net.bridge.bridge-nf-call-ip6tables=0",
    "net.bridge.bridge-nf-call-iptables=0",
];
