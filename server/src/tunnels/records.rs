//! What relay and agent each recorded of a connection's end, on its way to the audit log.
//!
//! ```text
//! relay ───────────▶ queue ─┐
//!                           ├─▶ up to 64 at once ─▶ store, tried again while it is unavailable ─▶ RECORDED
//! agents ─▶ theirs? ▶ queue ─┘
//! ```
//! Nobody waits for the store: not the relay, whose ends are left out above its queue, and no session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use klnet_tunnel::label::Cookie;
use klnet_tunnel::record::TunnelRecord;
use klnet_tunnel::relay::RelayRecord;
use klnet_wire::id::{DeviceId, GrantId, TenantId};
use klnet_wire::signed::Signed;
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::Tunnels;
use crate::audit::{CLOSED, COOKIE, DEVICE, GRANT};
use crate::fleet::record::{GrantRecord, TunnelEnd};
use crate::fleet::{Change, FleetError, Kind, keys};
use crate::metrics::Why;
use crate::store::{Guard, Key, Read};

/// The end of a connection, as one of the two tells it.
#[derive(Debug)]
pub(super) enum Ended {
    /// The relay's own record.
    Relay(RelayRecord),
    /// The agent's, verified.
    Agent {
        tenant: TenantId,
        record: TunnelRecord,
        /// Whether it came ahead of the relay's and was counted for that.
        counted: bool,
    },
}

/// Whether ends are being lost, so that it is told once and not of each.
#[derive(Debug, Default)]
pub(super) struct Outage(AtomicBool);

impl Tunnels {
    /// Takes an agent's signed record. It is acknowledged once it is stored, and told again until then.
    pub async fn agent_record(&self, tenant: TenantId, device: DeviceId, signed: Signed) {
        let Some(key) = self.fleet.device_key(tenant, device) else { return };
        let record = match TunnelRecord::verify(&signed, device, &key) {
            Ok(record) => record,
            Err(error) => return debug!(%device, %error, "a tunnel record was refused"),
        };
        match self.judge(tenant, &record).await {
            Ok(Verdict::Take { counted }) => {
                // A full queue drops it: the agent keeps what was not acknowledged.
                if self.agent_ends.try_send(Ended::Agent { tenant, record, counted }).is_err() && counted {
                    self.unconfirmed.refund(device);
                }
            }
            Ok(Verdict::Foreign) => {
                debug!(%device, grant = %record.grant, "a tunnel record for no grant of its device was refused");
                // It will never be taken, so it need not be told again.
                self.recorded(device, record.cookie.as_bytes());
            }
            Ok(Verdict::TooMany) => debug!(%device, "too many tunnel records that the relay has none for"),
            Err(error) => debug!(%device, %error, "a tunnel record could not be judged"),
        }
    }

    /// A device tells of connections of its own grants, and only so many that the relay does not know of.
    pub(super) async fn judge(&self, tenant: TenantId, record: &TunnelRecord) -> Result<Verdict, FleetError> {
        let store = self.fleet.store();
        let (granted, _) = store.get(&keys::grant(tenant, record.grant), Read::Linearizable).await?;
        let granted = granted.and_then(|entry| GrantRecord::decode(entry.value).ok());
        if granted.is_none_or(|granted| granted.device != record.device.to_vec()) {
            return Ok(Verdict::Foreign);
        }
        let (_, known) = self.known(&keys::tunnel(tenant, record.device, &hex(&record.cookie))).await?;
        if known.relay {
            return Ok(Verdict::Take { counted: false });
        }
        match self.unconfirmed.spend(Instant::now(), record.device) {
            true => Ok(Verdict::Take { counted: true }),
            false => Ok(Verdict::TooMany),
        }
    }

    /// Counts the relay's record and sends it on its way.
    pub(super) fn relay_record(&self, record: RelayRecord, ends: &mpsc::Sender<Ended>) {
        self.metrics.tunnels_ended.get_or_create(&Why { why: record.end.reason.name() }).inc();
        self.queue(record, ends);
    }

    /// Sends the relay's record on its way.
    pub(super) fn queue(&self, record: RelayRecord, ends: &mpsc::Sender<Ended>) {
        if ends.try_send(Ended::Relay(record)).is_err() {
            self.lost("too many ends of tunnel connections wait for the store");
        }
    }

    /// Stores ends of connections until the relay has stopped, and then what was told before; gives the relay's that
    /// were not stored when they had to be surrendered. Agents keep theirs.
    pub(super) async fn record(
        self: Arc<Self>,
        mut relay: mpsc::Receiver<Ended>,
        mut agents: mpsc::Receiver<Ended>,
    ) -> Vec<RelayRecord> {
        let (mut busy, mut unrecorded) = (JoinSet::new(), Vec::new());
        loop {
            let room = busy.len() < AT_ONCE;
            tokio::select! {
                biased;
                Some(kept) = busy.join_next() => unrecorded.extend(kept.ok().flatten()),
                end = relay.recv(), if room => match end {
                    Some(end) => drop(busy.spawn(Arc::clone(&self).keep(end))),
                    None => break,
                },
                Some(end) = agents.recv(), if room => drop(busy.spawn(Arc::clone(&self).keep(end))),
            }
        }
        while let Ok(end) = agents.try_recv() {
            busy.spawn(Arc::clone(&self).keep(end));
        }
        while let Some(kept) = busy.join_next().await {
            unrecorded.extend(kept.ok().flatten());
        }
        unrecorded
    }

    /// Stores one end, and tries again for as long as the store is unavailable; gives the relay's own when it has to be
    /// surrendered.
    async fn keep(self: Arc<Self>, end: Ended) -> Option<RelayRecord> {
        for _ in 0..RETRIES {
            match self.store(&end).await {
                Ok(()) => {
                    self.kept(&end);
                    return None;
                }
                Err(error) if error.kind() == Kind::Unavailable => self.outage.begins(&error.to_string()),
                Err(error) => {
                    self.lost(&error.to_string());
                    return None;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY_PAUSE) => {}
                () = self.surrender.cancelled() => return end.of_relay(),
            }
        }
        self.lost("the store was unavailable for too long");
        None
    }

    fn kept(&self, end: &Ended) {
        self.outage.is_over();
        if let Ended::Agent { record, .. } = end {
            self.recorded(record.device, record.cookie.as_bytes());
        }
    }

    fn lost(&self, why: &str) {
        self.metrics.records_lost.inc();
        self.outage.begins(why);
    }

    pub(super) async fn store(&self, end: &Ended) -> Result<(), FleetError> {
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
        let key = keys::tunnel(end.tenant(), end.device(), &hex(end.cookie()));
        let (guard, mut known) = self.known(&key).await?;
        let grant = end.grant().to_vec();
        let agrees = known.grant == grant;
        match end {
            // Told again: the acknowledgement was lost.
            Ended::Relay(_) if known.relay => return Ok(()),
            Ended::Agent { .. } if known.agent => return Ok(()),
            // Of another grant than the relay joined it for: that confirms nothing.
            Ended::Agent { .. } if known.relay && !agrees => return Ok(()),
            // What the device said of another grant was about no connection.
            Ended::Relay(_) if !agrees => known = TunnelEnd { relay: true, agent: false, grant },
            Ended::Relay(_) => known.relay = true,
            Ended::Agent { .. } => (known.agent, known.grant) = (true, grant),
        }
        self.fleet.note(self.entry(end).guard(guard).put(key, &known)).await?;
        if known.relay && known.agent && !matches!(end, Ended::Agent { counted: false, .. }) {
            self.unconfirmed.refund(end.device());
        }
        Ok(())
    }

    /// What is known of a connection's end, and a condition that holds while no more is.
    async fn known(&self, key: &Key) -> Result<(Guard, TunnelEnd), FleetError> {
        let (entry, _) = self.fleet.store().get(key, Read::Linearizable).await?;
        Ok(match entry {
            Some(entry) => (
                Guard::ModRev(key.clone(), entry.mod_rev),
                TunnelEnd::decode(entry.value).unwrap_or_default(),
            ),
            None => (Guard::Absent(key.clone()), TunnelEnd::default()),
        })
    }

    fn entry(&self, end: &Ended) -> Change {
        let subject = self.device_name(end.tenant(), end.device());
        let change = |actor| {
            Change::new(end.tenant(), actor, CLOSED, subject)
                .detail(GRANT, end.grant())
                .detail(DEVICE, end.device())
                .detail(COOKIE, hex(end.cookie()))
        };
        match end {
            Ended::Relay(record) => change("relay")
                .detail("from", canonical(record.initiator))
                .detail("seconds", record.closed.saturating_duration_since(record.opened).as_secs())
                .detail("to_target", record.end.to_target)
                .detail("to_operator", record.end.to_initiator)
                .detail("reason", record.end.reason.name()),
            Ended::Agent { record, .. } => {
                let change = change("agent")
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

/// What becomes of an agent's record.
#[derive(Debug)]
pub(super) enum Verdict {
    Take {
        counted: bool,
    },
    /// For no grant of the device.
    Foreign,
    /// The device has told of too many that the relay has no record of.
    TooMany,
}

impl Ended {
    fn of_relay(self) -> Option<RelayRecord> {
        match self {
            Self::Relay(record) => Some(record),
            Self::Agent { .. } => None,
        }
    }

    const fn tenant(&self) -> TenantId {
        match self {
            Self::Relay(record) => record.tenant,
            Self::Agent { tenant, .. } => *tenant,
        }
    }

    const fn device(&self) -> DeviceId {
        match self {
            Self::Relay(record) => record.device,
            Self::Agent { record, .. } => record.device,
        }
    }

    const fn grant(&self) -> GrantId {
        match self {
            Self::Relay(record) => record.grant,
            Self::Agent { record, .. } => record.grant,
        }
    }

    const fn cookie(&self) -> &Cookie {
        match self {
            Self::Relay(record) => &record.cookie,
            Self::Agent { record, .. } => &record.cookie,
        }
    }
}

impl Outage {
    fn begins(&self, why: &str) {
        if !self.0.swap(true, Ordering::Relaxed) {
            warn!(why, "ends of tunnel connections cannot be recorded");
        }
    }

    fn is_over(&self) {
        if self.0.swap(false, Ordering::Relaxed) {
            info!("ends of tunnel connections are recorded again");
        }
    }
}

/// An address as people know it: IPv4 that came in by an IPv6 socket is IPv4.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn hex(cookie: &Cookie) -> String {
    HEXLOWER.encode(cookie.as_bytes())
}

/// Ends that are stored at once: the store commits what waits together.
const AT_ONCE: usize = 64;
/// Relay and agent are two: one conflict settles it.
const CONTENTION_LIMIT: usize = 2;
/// Pause before the store is asked again, and how often it is: ten minutes of a full disk.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const RETRIES: u32 = 600;
/// Records of a device in a minute ahead of the relay's own. An honest device's are given back when that comes.
pub(super) const UNCONFIRMED_LIMIT: u32 = 1000;
