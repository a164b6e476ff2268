//! What relay and agent each recorded of a connection's end, on its way to the audit log.

use data_encoding::HEXLOWER;
use klnet_tunnel::label::Cookie;
use klnet_tunnel::record::TunnelRecord;
use klnet_tunnel::relay::RelayRecord;
use klnet_wire::id::{DeviceId, TenantId};
use klnet_wire::signed::Signed;
use prost::Message;
use std::sync::Arc;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::Tunnels;
use crate::audit::{CLOSED, COOKIE};
use crate::fleet::record::TunnelEnd;
use crate::fleet::{Change, FleetError, Kind, keys};
use crate::metrics::Why;
use crate::store::{Guard, Read};

/// The end of a connection, as one of the two tells it.
#[derive(Debug)]
pub(super) enum Ended {
    /// The relay's own record.
    Relay(RelayRecord),
    /// The agent's, verified.
    Agent(TenantId, TunnelRecord),
}

impl Tunnels {
    /// Takes an agent's signed record. It is acknowledged once it is stored, and told again until then.
    pub async fn agent_record(&self, tenant: TenantId, device: DeviceId, signed: Signed) {
        let Some(key) = self.fleet.device_key(tenant, device) else { return };
        match TunnelRecord::verify(&signed, device, &key) {
            Ok(record) => {
                // A full queue drops it: the agent keeps what was not acknowledged.
                let _ = self.ended.try_send(Ended::Agent(tenant, record));
            }
            Err(error) => debug!(%device, %error, "a tunnel record was refused"),
        }
    }

    /// Stores ends of connections, one after the other.
    pub(super) async fn record(self: Arc<Self>, mut ends: mpsc::Receiver<Ended>) {
        while let Some(end) = ends.recv().await {
            let stored = self.store(&end).await;
            match (end, stored) {
                (Ended::Agent(_, record), Ok(())) => self.recorded(record.device, record.cookie.as_bytes()),
                (Ended::Relay(_), Ok(())) => {}
                (end, Err(error)) => {
                    warn!(%error, ?end, "the end of a tunnel connection could not be recorded")
                }
            }
        }
    }

    async fn store(&self, end: &Ended) -> Result<(), FleetError> {
        if let Ended::Relay(record) = end {
            self.metrics.tunnels_ended.get_or_create(&Why { why: record.end.reason.name() }).inc();
            self.metrics.relayed_bytes.inc_by(record.end.to_target + record.end.to_initiator);
        }
        // The other part's record may arrive at the same time.
        for _ in 0..CONTENTION_LIMIT {
            match self.try_store(end).await {
                Err(error) if error.kind() == Kind::Conflict => {}
                done => return done,
            }
        }
        self.try_store(end).await
    }

    async fn try_store(&self, end: &Ended) -> Result<(), FleetError> {
        let (tenant, cookie) = (end.tenant(), HEXLOWER.encode(end.cookie().as_bytes()));
        let key = keys::tunnel(tenant, &cookie);
        let (entry, _) = self.fleet.store().get(&key, Read::Linearizable).await?;
        let mut known = TunnelEnd::default();
        let guard = match &entry {
            Some(entry) => {
                known = TunnelEnd::decode(entry.value.clone()).unwrap_or_default();
                Guard::ModRev(key.clone(), entry.mod_rev)
            }
            None => Guard::Absent(key.clone()),
        };
        let told = match end {
            Ended::Relay(_) => &mut known.relay,
            Ended::Agent(..) => &mut known.agent,
        };
        if std::mem::replace(told, true) {
            return Ok(()); // told again: the acknowledgement was lost
        }
        self.fleet.note(self.entry(end).detail(COOKIE, cookie).guard(guard).put(key, &known)).await
    }

    fn entry(&self, end: &Ended) -> Change {
        let name = |tenant, device: DeviceId| {
            let id = device.to_string();
            self.fleet.device(tenant, &id).map_or(id, |device| device.name)
        };
        match end {
            Ended::Relay(record) => {
                Change::new(record.tenant, "relay", CLOSED, name(record.tenant, record.device))
                    .detail("grant", record.grant)
                    .detail("from", record.initiator)
                    .detail("seconds", record.closed.saturating_duration_since(record.opened).as_secs())
                    .detail("to_target", record.end.to_target)
                    .detail("to_operator", record.end.to_initiator)
                    .detail("reason", record.end.reason.name())
            }
            Ended::Agent(tenant, record) => {
                let change = Change::new(*tenant, "agent", CLOSED, name(*tenant, record.device))
                    .detail("grant", record.grant)
                    .detail("seconds", record.closed.saturating_sub(record.opened))
                    .detail("to_target", record.to_target)
                    .detail("to_operator", record.to_initiator)
                    .detail("reason", record.reason.name());
                match record.resolved {
                    Some(address) => change.detail("address", address),
                    None => change,
                }
            }
        }
    }
}

impl Ended {
    const fn tenant(&self) -> TenantId {
        match self {
            Self::Relay(record) => record.tenant,
            Self::Agent(tenant, _) => *tenant,
        }
    }

    const fn cookie(&self) -> &Cookie {
        match self {
            Self::Relay(record) => &record.cookie,
            Self::Agent(_, record) => &record.cookie,
        }
    }
}

/// Relay and agent are two: one conflict settles it.
const CONTENTION_LIMIT: usize = 2;
