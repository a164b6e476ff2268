//! The end of a tunnel connection, as the relay or the agent tells it.

use klnet_tunnel::label::Cookie;
use klnet_tunnel::record::TunnelRecord;
use klnet_tunnel::relay::RelayRecord;
use klnet_wire::id::{DeviceId, GrantId, TenantId};

use crate::fleet::record::TunnelEnd;

/// The end of a connection, as one of the two tells it.
#[derive(Debug)]
pub(super) enum Ended {
    /// The relay's own record.
    Relay(RelayRecord),
    /// The agent's, verified.
    Agent {
        tenant: TenantId,
        record: TunnelRecord,
        /// Whether it was counted, as if the relay had none.
        counted: bool,
    },
}

impl Ended {
    pub(super) fn of_relay(self) -> Option<RelayRecord> {
        match self {
            Self::Relay(record) => Some(record),
            Self::Agent { .. } => None,
        }
    }

    /// Adds it to what is known of its connection; false when that is no more than before.
    pub(super) fn is_news_to(&self, known: &mut TunnelEnd) -> bool {
        let grant = self.grant().to_vec();
        let agrees = known.grant == grant;
        match self {
            // Told again: the acknowledgement was lost.
            Self::Relay(_) if known.relay => return false,
            Self::Agent { .. } if known.agent => return false,
            // Of another grant than the relay joined it for: that confirms nothing.
            Self::Agent { .. } if known.relay && !agrees => return false,
            // What the device said of another grant was about no connection.
            Self::Relay(_) if !agrees => *known = TunnelEnd { relay: true, agent: false, grant },
            Self::Relay(_) => known.relay = true,
            Self::Agent { .. } => (known.agent, known.grant) = (true, grant),
        }
        true
    }

    /// Whether it is an agent's that was counted, and is about the connection that is known.
    pub(super) fn is_counted_for(&self, known: &TunnelEnd) -> bool {
        matches!(self, Self::Agent { counted: true, .. }) && known.grant == self.grant().to_vec()
    }

    /// Names its connection.
    pub(super) const fn connection(&self) -> (DeviceId, Cookie) {
        (self.device(), *self.cookie())
    }

    pub(super) const fn tenant(&self) -> TenantId {
        match self {
            Self::Relay(record) => record.tenant,
            Self::Agent { tenant, .. } => *tenant,
        }
    }

    pub(super) const fn device(&self) -> DeviceId {
        match self {
            Self::Relay(record) => record.device,
            Self::Agent { record, .. } => record.device,
        }
    }

    pub(super) const fn grant(&self) -> GrantId {
        match self {
            Self::Relay(record) => record.grant,
            Self::Agent { record, .. } => record.grant,
        }
    }

    pub(super) const fn cookie(&self) -> &Cookie {
        match self {
            Self::Relay(record) => &record.cookie,
            Self::Agent { record, .. } => &record.cookie,
        }
    }
}
