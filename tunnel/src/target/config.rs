//! A target's identity, policy and limits.

use std::fmt;
use std::time::Duration;

use klnet_wire::id::{DeviceId, TenantId};

pub use crate::pair::SPARE_LIFE;
use crate::policy::TargetPolicy;
use crate::stream::READY_LIFE;

/// What a target is made with.
#[derive(Clone)]
pub struct Config {
    /// The device.
    pub device: DeviceId,
    /// The device's tenant.
    pub tenant: TenantId,
    /// The device's own rules.
    pub policy: TargetPolicy,
    /// Bounds.
    pub limits: Limits,
    /// Drawn at start; session ids are made from it.
    pub secret: [u8; 32],
}

/// Bounds of everything a target keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Live grants; above it a grant is refused.
    pub grants: usize,
    /// Dial-backs before their key is verified; above it an OPEN is refused.
    pub pending: usize,
    /// Verified connections; above it a connection is refused, and above it by `pending` no OPEN is taken.
    pub connections: usize,
    /// Records not yet stored by the server; above it the oldest is forgotten and stays unconfirmed.
    pub records: usize,
    /// Grants of this session remembered so that none is taken twice; above it the oldest by mint are forgotten,
    /// and none minted before them is taken any more.
    pub seen: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { grants: 64, pending: 16, connections: 1024, records: 1024, seen: 4096 }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, tenant, policy, limits, secret: _ } = self;
        f.debug_struct("Config")
            .field("device", device)
            .field("tenant", tenant)
            .field("policy", policy)
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}

/// The inner handshake of an initiator joined at the last moment is done within this.
pub const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// GO comes within this after the handshake: the initiator may keep the connection ready, and GO takes its time.
pub const GO_WAIT: Duration = READY_LIFE.saturating_add(Duration::from_secs(10));

/// The initiator takes the answer to GO within this.
pub const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// A name is resolved within this.
pub const RESOLVE_WAIT: Duration = Duration::from_secs(5);

/// A target accepts within this.
pub const DIAL_WAIT: Duration = Duration::from_secs(5);

/// A record not confirmed within this is sent again: it, or its confirmation, was left out on the way.
pub const CONFIRM_WAIT: Duration = Duration::from_secs(60);

/// How much longer the core waits than the driver, which knows what it waits for and says so.
pub(super) const SLACK: Duration = Duration::from_secs(1);
