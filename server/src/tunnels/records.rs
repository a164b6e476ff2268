//! What relay and agent each recorded of a connection's end, on its way to the audit log.
//!
//! ```text
//! relay ───────────▶ queue ─┐
//!                           ├─▶ both, or one alone for a while ─▶ store, tried again while it is unavailable ─▶ RECORDED
//! agents ─▶ theirs? ▶ queue ─┘    (gathered)
//! ```
//! Nobody waits for the store: not the relay, whose ends are left out above its queue, and no session. The two records of
//! a connection come within a millisecond of each other, so the first waits for the second and both are one commit, which
//! is half the work of a connection's end. Nothing less is promised for that: an agent tells its record until it is
//! acknowledged, and that is once it is stored; a grant's books stay open for longer than a record waits.

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
use tokio::time::{sleep, sleep_until};
use tracing::{debug, info, warn};

use super::Tunnels;
use super::gathered::Gathered;
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
        /// Whether it was counted, as if the relay had none.
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
        if self.device_of(tenant, record.grant).await? != Some(record.device) {
            return Ok(Verdict::Foreign);
        }
        // Given back once it turns out to be true; so the store is asked only about a device that has used up all.
        if self.unconfirmed.spend(Instant::now(), record.device) {
            return Ok(Verdict::Take { counted: true });
        }
        let (_, known) = self.known(&keys::tunnel(tenant, record.device, &hex(&record.cookie))).await?;
        match known.relay {
            true => Ok(Verdict::Take { counted: false }),
            false => Ok(Verdict::TooMany),
        }
    }

    /// The device that a grant is or was for, if there ever was such a grant.
    async fn device_of(&self, tenant: TenantId, grant: GrantId) -> Result<Option<DeviceId>, FleetError> {
        if let Some(device) = self.books.device_of(tenant, grant) {
            return Ok(Some(device));
        }
        let store = self.fleet.store();
        let (granted, _) = store.get(&keys::grant(tenant, grant), Read::Linearizable).await?;
        let granted = granted.and_then(|entry| GrantRecord::decode(entry.value).ok());
        Ok(granted.and_then(|granted| DeviceId::try_from(granted.device.as_slice()).ok()))
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
        let (mut busy, mut unrecorded, mut gathered) = (JoinSet::new(), Vec::new(), Gathered::default());
        loop {
            let room = gathered.len() < GATHERED_LIMIT;
            let due = gathered.poll_timeout().filter(|_| busy.len() < AT_ONCE);
            let end = tokio::select! {
                biased;
                Some(kept) = busy.join_next() => {
                    unrecorded.extend(kept.into_iter().flatten());
                    None
                }
                end = relay.recv(), if room => match end {
                    Some(end) => Some(end),
                    None => break,
                },
                Some(end) = agents.recv(), if room => Some(end),
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => None,
            };
            let now = Instant::now();
            if let Some(end) = end {
                gathered.insert(now, end);
            }
            while busy.len() < AT_ONCE
                && let Some(ends) = gathered.pop_ready(now)
            {
                busy.spawn(Arc::clone(&self).keep(ends));
            }
        }
        while let Ok(end) = agents.try_recv() {
            gathered.insert(Instant::now(), end);
        }
        for ends in gathered {
            busy.spawn(Arc::clone(&self).keep(ends));
        }
        while let Some(kept) = busy.join_next().await {
            unrecorded.extend(kept.into_iter().flatten());
        }
        unrecorded
    }

    /// Stores the ends of a connection, and tries again for as long as the store is unavailable; gives the relay's own
    /// when they have to be surrendered.
    async fn keep(self: Arc<Self>, ends: Vec<Ended>) -> Vec<RelayRecord> {
        for _ in 0..RETRIES {
            match self.store(&ends).await {
                Ok(()) => {
                    self.kept(&ends);
                    return Vec::new();
                }
                Err(error) if error.kind() == Kind::Unavailable => self.outage.begins(&error.to_string()),
                Err(error) => {
                    ends.iter().for_each(|_| self.lost(&error.to_string()));
                    return Vec::new();
                }
            }
            tokio::select! {
                () = sleep(RETRY_PAUSE) => {}
                () = self.surrender.cancelled() => return ends.into_iter().filter_map(Ended::of_relay).collect(),
            }
        }
        ends.iter().for_each(|_| self.lost("the store was unavailable for too long"));
        Vec::new()
    }

    fn kept(&self, ends: &[Ended]) {
        self.outage.is_over();
        for end in ends {
            if let Ended::Agent { record, .. } = end {
                self.recorded(record.device, record.cookie.as_bytes());
            }
        }
    }

    fn lost(&self, why: &str) {
        self.metrics.records_lost.inc();
        self.outage.begins(why);
    }

    /// Stores what was told of the end of one connection.
    pub(super) async fn store(&self, ends: &[Ended]) -> Result<(), FleetError> {
        // The other part's record may arrive at the same time.
        for _ in 0..CONTENTION_LIMIT {
            match self.try_store(ends).await {
                Err(error) if error.kind() == Kind::Conflict => {}
                done => return done,
            }
        }
        self.try_store(ends).await
    }

    async fn try_store(&self, ends: &[Ended]) -> Result<(), FleetError> {
        let Some(first) = ends.first() else { return Ok(()) };
        let key = keys::tunnel(first.tenant(), first.device(), &hex(first.cookie()));
        let (guard, mut known) = self.known(&key).await?;
        let before = known.clone();
        let news: Vec<_> = ends.iter().filter(|end| end.is_news_to(&mut known)).collect();
        if let Some(change) = news.iter().map(|end| self.entry(end)).reduce(Change::and) {
            self.fleet.note(change.guard(guard).put(key, &known)).await?;
        }
        if known.relay && known.agent {
            // What the agent told now, and what it told ahead of the relay.
            let now = ends.iter().filter(|end| end.is_counted_for(&known)).count();
            let by_relay = news.iter().any(|end| matches!(end, Ended::Relay(_)));
            let ahead = by_relay && before.agent && before.grant == known.grant;
            (0..now + usize::from(ahead)).for_each(|_| self.unconfirmed.refund(first.device()));
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

    /// Adds it to what is known of its connection; false when that is no more than before.
    fn is_news_to(&self, known: &mut TunnelEnd) -> bool {
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
    fn is_counted_for(&self, known: &TunnelEnd) -> bool {
        matches!(self, Self::Agent { counted: true, .. }) && known.grant == self.grant().to_vec()
    }

    /// Names its connection.
    pub(super) const fn connection(&self) -> (DeviceId, Cookie) {
        (self.device(), *self.cookie())
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

/// Connections whose ends are gathered; above it ends wait in their queues.
const GATHERED_LIMIT: usize = 1024;
/// Connections whose ends are stored at once: the store commits what waits together.
const AT_ONCE: usize = 64;
/// Relay and agent are two: one conflict settles it.
const CONTENTION_LIMIT: usize = 2;
/// Pause before the store is asked again, and how often it is: ten minutes of a full disk.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const RETRIES: u32 = 600;
/// Records of a device in a minute ahead of the relay's own. An honest device's are given back when that comes.
pub(super) const UNCONFIRMED_LIMIT: u32 = 1000;
