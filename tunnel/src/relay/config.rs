//! A relay's identity and limits.

use std::fmt;
use std::time::Duration;

use klnet_wire::id::ServerId;

use super::Whose;
pub use crate::pair::SPARE_LIFE;

/// What a relay is made with.
#[derive(Clone)]
pub struct Config {
    /// Drawn at start; cookies are made from it.
    pub secret: [u8; 32],
    /// The server whose relay this is.
    pub audience: ServerId,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds of everything a relay keeps; above a bound the new thing is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Live grants to one device.
    pub grants_per_device: usize,
    /// Live grants of one operator.
    pub grants_per_operator: usize,
    /// Live grants of one tenant.
    pub grants_per_tenant: usize,
    /// Live grants, all in all.
    pub grants: usize,
    /// Verified connections at once to one device.
    pub connections_per_device: usize,
    /// Verified connections at once of one operator.
    pub connections_per_operator: usize,
    /// Verified connections at once of one tenant.
    pub connections_per_tenant: usize,
    /// Grants that ended but whose bytes would still be in time: kept so that none is admitted twice.
    pub spent: usize,
    /// Dial-backs asked for or waiting, for one grant.
    pub spares_per_grant: usize,
    /// Dial-backs asked for or waiting, for one device.
    pub spares_per_device: usize,
    /// Dial-backs asked for or waiting, for one operator.
    pub spares_per_operator: usize,
    /// Dial-backs asked for or waiting, all in all.
    pub spares: usize,
    /// Initiators that wait for a dial-back, all in all.
    pub initiators: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            grants_per_device: 64,
            grants_per_operator: 1024,
            grants_per_tenant: 8192,
            grants: 16_384,
            connections_per_device: 1024,
            connections_per_operator: 4096,
            connections_per_tenant: 8192,
            spent: 65_536,
            spares_per_grant: 2,
            spares_per_device: 8,
            spares_per_operator: 64,
            spares: 1024,
            initiators: 1024,
        }
    }
}

impl Limits {
    /// Live grants that one of these may have.
    pub const fn grants_of(&self, whose: Whose) -> usize {
        match whose {
            Whose::Device => self.grants_per_device,
            Whose::Operator => self.grants_per_operator,
            Whose::Tenant => self.grants_per_tenant,
            Whose::Relay => self.grants,
        }
    }

    /// Verified connections at once that one of these may have; a relay's own are bounded by theirs.
    pub const fn connections_of(&self, whose: Whose) -> usize {
        match whose {
            Whose::Device => self.connections_per_device,
            Whose::Operator => self.connections_per_operator,
            Whose::Tenant => self.connections_per_tenant,
            Whose::Relay => usize::MAX,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secret: _, audience, limits } = self;
        f.debug_struct("Config").field("audience", audience).field("limits", limits).finish_non_exhaustive()
    }
}

/// An initiator waits this long for a dial-back.
pub const INITIATOR_WAIT: Duration = Duration::from_secs(10);

/// A joined pair is cut when the agent has not verified the inner client key by then.
pub const VERIFY_WAIT: Duration = Duration::from_secs(10);

/// How far the clocks of the servers that mint and admit a grant may be apart.
pub const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// The agent ends an idle pair first: two records of one end then give one reason.
pub const IDLE_SLACK: Duration = Duration::from_secs(5);
