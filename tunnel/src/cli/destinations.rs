//! What lies behind a device: one access per host and port that somebody asked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use super::access::Access;
use super::failure::Failure;
use super::keeping::Keeping;
use super::operator::Operator;
use super::recent::Recent;
use super::target::PortTarget;
use crate::grant::Host;
use crate::socks::Destination;

/// Every destination has a grant of its own, for exactly its host and port.
pub(super) struct Destinations {
    operator: Operator,
    device: String,
    keeping: Keeping,
    recent: Mutex<Recent<PortTarget, Arc<Access>>>,
}

impl Destinations {
    /// What `device` reaches, by grants of `operator`.
    pub(super) fn new(operator: Operator, device: String, keeping: Keeping) -> Self {
        Self { operator, device, keeping, recent: Mutex::new(Recent::new(LIMIT)) }
    }

    /// The access to a target.
    pub(super) fn access(&self, target: PortTarget) -> Result<Arc<Access>, Failure> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.or_make(target, |target| {
            let source = self.operator.source(target)?;
            Ok(Arc::new(Access::from(source, &self.operator, self.keeping)))
        })
    }

    /// Every access that is kept.
    pub(super) fn all(&self) -> Vec<Arc<Access>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.values().cloned().collect()
    }

    /// What a destination means: seen from the device, its loopback and its own name are the device itself.
    pub(super) fn target(&self, destination: Destination) -> PortTarget {
        let host = match destination.host {
            Host::Address(address) if LOOPBACK.contains(&address.to_canonical()) => Host::Device,
            Host::Name(name) if name == "localhost" || name.eq_ignore_ascii_case(&self.device) => {
                Host::Device
            }
            host => host,
        };
        PortTarget { user: None, device: self.device.clone(), host, port: Some(destination.port.get()) }
    }
}

/// What the target dials for the device itself.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// How many destinations are kept: well below the grants a relay allows one device, which others use as well.
const LIMIT: usize = 32;
