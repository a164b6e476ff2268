//! Hosts as network namespaces on this machine.
//!
//! ```text
//!   operator ──┐            ┌── device
//!              ├─ internet ─┤ home (NAT: out yes, in no)
//!     server ──┘            └── printer
//! ```
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use klnet_tests::lab::{Lab, Process};
//! use std::time::Duration;
//!
//! let Some(lab) = Lab::or_skip("reach") else { return Ok(()) };
//! let internet = lab.switch("internet")?;
//! let server = internet.host("server")?;
//! let home = lab.nat("home", &internet)?;
//! let device = home.host("device")?;
//!
//! let mut listener = Process::spawn("echo", server.command("socat").args(["TCP-LISTEN:7,fork", "PIPE"]))?;
//! listener.wait_for_line("listening", Duration::from_secs(5))?;
//! let loss = device.loss(50)?;
//! println!("{} of {} packets lost", loss.lost()?, loss.seen()?);
//! # Ok(())
//! # }
//! ```
//!
//! Every fault acts on what *arrives* at a host, or leaves a switch: a packet dropped on its way out would be reported to the sending
//! socket, which a real network never does. Addresses are IPv4, taken from 10.77.0.0/16, and known only inside.

mod cables;
mod fault;
mod host;
mod line;
mod namespace;
mod nat;
mod process;
mod switch;
mod tool;
mod usage;
mod wait;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};

pub use cables::Cables;
pub use fault::Loss;
pub use host::Host;
pub use line::Line;
pub use nat::Nat;
pub use process::{Doom, Process};
pub use switch::Switch;
pub(crate) use tool::run;
pub use usage::cpu_time;
pub use wait::wait_until;

use crate::sim::Link;
use crate::skip::{Unavailable, on_path, skip};
use namespace::Namespace;

/// A set of hosts and the wires between them; all gone once this and every part of it is dropped.
#[derive(Clone, Debug)]
pub struct Lab {
    plan: Arc<Plan>,
}

/// What all parts of one lab share.
#[derive(Debug)]
struct Plan {
    name: String,
    /// The next free `10.77.x.0/24`.
    next_subnet: AtomicU8,
}

impl Lab {
    /// Opens an empty lab.
    ///
    /// # Errors
    /// When this machine cannot have namespaces: see [`Lab::available`].
    pub fn new(name: &str) -> Result<Self> {
        Self::available().map_err(|reason| anyhow::anyhow!("{reason}"))?;
        let plan = Plan { name: name.to_owned(), next_subnet: AtomicU8::new(1) };
        Ok(Self { plan: Arc::new(plan) })
    }

    /// Opens a lab, or prints `skipped: REASON` and returns `None` where there can be none.
    ///
    /// # Panics
    /// In a continuous run that merely lacks a program, and when a lab should open but does not.
    #[must_use]
    pub fn or_skip(name: &str) -> Option<Self> {
        match Self::available() {
            Ok(()) => Some(Self::new(name).expect("availability was checked in the line above")),
            Err(reason) => {
                skip(&reason);
                None
            }
        }
    }

    /// Whether this process may make hosts; tried once, by making one.
    ///
    /// # Errors
    /// What is missing or forbidden.
    pub fn available() -> Result<(), Unavailable> {
        static ANSWER: OnceLock<Result<(), Unavailable>> = OnceLock::new();
        ANSWER.get_or_init(try_one).clone()
    }

    /// Adds a host that is connected to nothing yet.
    ///
    /// # Errors
    /// When the kernel refuses the namespace.
    pub fn host(&self, name: &str) -> Result<Host> {
        let namespace = Namespace::create(&self.plan.name, name)?;
        Ok(Host::new(namespace))
    }

    /// Joins two hosts by a wire and returns the address of each on it.
    ///
    /// # Errors
    /// When the kernel refuses the pair.
    pub fn link(&self, a: &Host, b: &Host) -> Result<(std::net::Ipv4Addr, std::net::Ipv4Addr)> {
        let subnet = self.subnet()?;
        let (here, there) = (a.namespace().next_device(), b.namespace().next_device());
        a.namespace().wire(&here, b.namespace(), &there)?;
        Ok((a.configure(&here, subnet.host(1))?, b.configure(&there, subnet.host(2))?))
    }

    /// Joins two hosts by a line as good or bad as `link` says; frames draw their fate from `seed`.
    ///
    /// # Errors
    /// When the kernel refuses a device, or has no `/dev/net/tun`.
    pub fn line(&self, a: &Host, b: &Host, link: Link, seed: u64) -> Result<Line> {
        let subnet = self.subnet()?;
        Line::start([(a, subnet.host(1)), (b, subnet.host(2))], link, seed)
    }

    /// Adds an Ethernet switch.
    ///
    /// # Errors
    /// When the kernel refuses the bridge.
    pub fn switch(&self, name: &str) -> Result<Switch> {
        Switch::create(self, name)
    }

    /// Adds a router whose inside can dial out to `outside` and cannot be dialled.
    ///
    /// # Errors
    /// When the kernel refuses a part of it.
    pub fn nat(&self, name: &str, outside: &Switch) -> Result<Nat> {
        Nat::create(self, name, outside)
    }

    fn subnet(&self) -> Result<Subnet> {
        let third = self.plan.next_subnet.fetch_add(1, Ordering::Relaxed);
        // Wrapping round would hand out the same addresses twice.
        (third != 0).then_some(Subnet { third }).context("a lab has at most 255 subnets")
    }
}

/// One `10.77.x.0/24`.
#[derive(Clone, Copy, Debug)]
struct Subnet {
    third: u8,
}

impl Subnet {
    fn host(self, last: u8) -> std::net::Ipv4Addr {
        std::net::Ipv4Addr::new(10, 77, self.third, last)
    }
}

fn try_one() -> Result<(), Unavailable> {
    if let Some(missing) = ["ip", "nft", "ss", "tc"].iter().find(|p| !on_path(p)) {
        return Err(Unavailable::Missing((*missing).to_owned()));
    }
    if !is_root() {
        return Err(Unavailable::Forbidden("network namespaces need root".to_owned()));
    }
    namespace::sweep();
    Namespace::create("probe", "host").map(drop).map_err(|e| Unavailable::Forbidden(format!("{e:#}")))
}

/// /proc/self belongs to the effective user.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}
