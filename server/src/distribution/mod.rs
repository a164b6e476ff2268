//! Distribution: what is to be brought to devices, and what each device is told of it.
//!
//! ```text
//! klctl ── HTTPS ──▶ Contents ── HTTPS, once ──▶ distribution point ── multicast, or HTTPS ──▶ devices
//!                       │                            ▲ keys, what to send      ▲ keys, what to take │
//!                     fleet ── Duties, signed ───────┴─────────────────────────┘                    │
//!                       ▲────────────────────────────────────────── Delivery ───────────────────────┘
//! ```
//! Devices are told in their sessions, everything at once, whenever it is something else than before: at the start of a
//! session and after each change of groups, points, epochs or distributions.

mod contents;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use klnet_wire::duties::{ADDRESSES_LIMIT, Duties};
use klnet_wire::id::{DeviceId, TenantId};
use klnet_wire::message::{Delivery, DeliveryState, KsnState, Message, PointState};
use prost::Message as _;
use ring::digest::{SHA256, digest};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::fleet::{Fleet, Kind};
use crate::metrics::Metrics;
use crate::sessions::Sessions;
pub use contents::{ContentError, ContentId, Contents, Shape};

/// Tells devices what to do, and hears what became of it.
#[derive(Debug)]
pub struct Distribution {
    fleet: Arc<Fleet>,
    sessions: Arc<Sessions>,
    metrics: Arc<Metrics>,
    contents: Arc<Contents>,
    told: Mutex<Told>,
    /// Changes when a distribution point tells something new of itself.
    moved: watch::Sender<u64>,
}

/// What was said, each way; as long as the process lives.
#[derive(Debug, Default)]
struct Told {
    /// Where distribution points are.
    points: HashMap<DeviceId, PointState>,
    /// How KSN proxies stand, and when they told so.
    ksn: HashMap<DeviceId, (SystemTime, KsnState)>,
    /// The session that was told last, and the hash of what.
    devices: HashMap<DeviceId, (u64, [u8; 32])>,
}

impl Distribution {
    /// Nobody was told anything yet.
    pub fn new(
        fleet: Arc<Fleet>,
        sessions: Arc<Sessions>,
        metrics: Arc<Metrics>,
        contents: Arc<Contents>,
    ) -> Arc<Self> {
        let (told, moved) = Default::default();
        Arc::new(Self { fleet, sessions, metrics, contents, told, moved })
    }

    /// What is distributed.
    pub const fn contents(&self) -> &Arc<Contents> {
        &self.contents
    }

    /// Tells devices of each change until `shutdown`.
    pub async fn keep(self: Arc<Self>, shutdown: CancellationToken) {
        let (mut changes, mut moves) = (self.fleet.distributing(), self.moved.subscribe());
        let mut missed = false;
        loop {
            let change = async {
                // Both senders live as long as this.
                tokio::select! {
                    _ = changes.changed() => {}
                    _ = moves.changed() => {}
                }
            };
            let patience = if missed { RETRY } else { Duration::MAX };
            tokio::select! {
                _ = timeout(patience, change) => {}
                () = shutdown.cancelled() => return,
            }
            missed = !self.tell_all().await;
            // A thousand devices that enrol are told of in one round, not in a thousand.
            if shutdown.run_until_cancelled(sleep(PACE)).await.is_none() {
                return;
            }
        }
    }

    /// Tells a device that has just come, if there is anything to tell.
    pub fn arrived(&self, tenant: TenantId, device: DeviceId) {
        let mut told = self.told.lock().expect("no holder panics");
        self.tell(&mut told, tenant, device);
    }

    /// Takes in where a distribution point is, and who else sends to its groups.
    pub async fn point(&self, tenant: TenantId, device: DeviceId, mut state: PointState) {
        if self.fleet.point(tenant, device).is_err() || !is_sound(&state) {
            return debug!(%device, "a device tells of itself what no distribution point does");
        }
        if let Ok(foreign) = std::mem::take(&mut state.foreign).parse() {
            self.conflict(tenant, device, foreign).await;
        }
        let before = self.told.lock().expect("no holder panics").points.insert(device, state.clone());
        if before.as_ref() != Some(&state) {
            self.moved.send_modify(|count| *count += 1);
        }
    }

    /// Where a distribution point has said it is.
    pub fn where_is(&self, point: DeviceId) -> Option<PointState> {
        self.told.lock().expect("no holder panics").points.get(&point).cloned()
    }

    /// Takes in how a KSN proxy stands.
    pub fn ksn(&self, tenant: TenantId, device: DeviceId, mut state: KsnState) {
        if !self.fleet.is_ksn_proxy(tenant, device) {
            return debug!(%device, "a device tells of itself what no KSN proxy does");
        }
        state.error = crate::fleet::told(&state.error);
        self.told.lock().expect("no holder panics").ksn.insert(device, (SystemTime::now(), state));
    }

    /// How a KSN proxy stands, and when it told so.
    pub fn ksn_state(&self, device: DeviceId) -> Option<(SystemTime, KsnState)> {
        self.told.lock().expect("no holder panics").ksn.get(&device).cloned()
    }

    async fn conflict(&self, tenant: TenantId, device: DeviceId, foreign: IpAddr) {
        self.metrics.group_conflicts.inc();
        match self.fleet.renumber_point(tenant, device, foreign).await {
            Ok(true) => warn!(%device, %foreign, "a distribution point has another multicast group"),
            Ok(false) => warn!(%device, %foreign, "somebody sends to a distribution point's group, again"),
            Err(error) => warn!(%device, %foreign, %error, "somebody sends to a distribution point's group"),
        }
    }

    /// Takes in what became of an object at a device.
    pub async fn delivery(&self, tenant: TenantId, device: DeviceId, delivery: Delivery) {
        let (state, multicast, https) = (delivery.state(), delivery.multicast, delivery.https);
        match self.fleet.delivered(tenant, device, delivery).await {
            Ok(true) => match state {
                DeliveryState::Complete => self.metrics.delivered(multicast, https),
                DeliveryState::Failed | DeliveryState::Unknown => {
                    self.metrics.deliveries_failed.inc();
                }
            },
            Ok(false) => {}
            // It was withdrawn meanwhile.
            Err(error) if error.kind() == Kind::NotFound => debug!(%device, %error, "not stored"),
            Err(error) => warn!(%device, %error, "what became of an object is not stored; it is told again"),
        }
    }

    /// Tells everyone who is connected what they do not know; says whether all of them were reached.
    async fn tell_all(&self) -> bool {
        let live = self.sessions.all();
        let there: HashSet<_> = live.iter().map(|(device, _)| *device).collect();
        self.told.lock().expect("no holder panics").devices.retain(|device, _| there.contains(device));
        let mut all = true;
        for (device, live) in live {
            all &= self.tell(&mut self.told.lock().expect("no holder panics"), live.tenant, device);
            // Whoever comes in this time waits for one device, not for all.
            yield_now().await;
        }
        all
    }

    /// Says whether the device knows everything now, or is gone.
    fn tell(&self, told: &mut Told, tenant: TenantId, device: DeviceId) -> bool {
        let Some(live) = self.sessions.live(device) else { return true };
        let duties = self.fleet.duties(tenant, device, |point| told.points.get(&point).cloned());
        // A device that is revoked is told nothing more.
        let Some(duties) = duties else { return true };
        let hash = hash_of(&duties);
        let before = told.devices.get(&device).filter(|(serial, _)| *serial == live.serial);
        let is_news = before.map_or(!duties.is_empty(), |(_, before)| *before != hash);
        let Some(key) = self.fleet.distribution_key().ok().filter(|_| is_news) else { return true };
        let sent = self.sessions.send(device, None, Message::Duties(key.sign_duties(&duties))).is_ok();
        if sent {
            told.devices.insert(device, (live.serial, hash));
        }
        sent
    }
}

fn hash_of(duties: &Duties) -> [u8; 32] {
    let hash = digest(&SHA256, &duties.encode_to_vec());
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn is_sound(state: &PointState) -> bool {
    let is_port = u16::try_from(state.port).is_ok_and(|port| port != 0);
    let addresses = (1..=ADDRESSES_LIMIT).contains(&state.addresses.len())
        && state.addresses.iter().all(|address| address.parse::<IpAddr>().is_ok());
    let foreign = state.foreign.is_empty() || state.foreign.parse::<IpAddr>().is_ok();
    state.announcer.len() == 32 && is_port && addresses && foreign
}

/// Between two rounds.
const PACE: Duration = Duration::from_millis(500);
/// How soon a device that took nothing more is told again.
const RETRY: Duration = Duration::from_secs(5);
