//! Who is connected now. Lives in memory: nothing durable happens when a device reconnects. When each was last seen
//! is written down now and then, in batches, so that a restarted server still knows.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use klnet_wire::id::DeviceId;
use prost::Message;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Fleet, FleetError, keys};
use crate::store::{Op, OpId};
use crate::unix::seconds;

/// What is known of a device's connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presence {
    /// Whether it has a session now.
    pub online: bool,
    /// Since when it is as it is.
    pub since: Option<SystemTime>,
    /// When it was last heard.
    pub last_seen: Option<SystemTime>,
    /// Where its connection comes from.
    pub address: Option<SocketAddr>,
    /// Its clock minus ours in seconds, when it said HELLO.
    pub clock_skew: Option<i64>,
    /// Version of its agent.
    pub build: String,
    /// Why its last session ended, while it has none.
    pub ended: Option<String>,
}

/// Presence of every device that had a session since the server started; of the others the model knows when they were seen.
#[derive(Debug, Default)]
pub(super) struct Table(Mutex<Present>);

#[derive(Debug, Default)]
struct Present {
    devices: HashMap<DeviceId, Presence>,
    /// How many of them are online: asked whenever one comes or goes.
    online: usize,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Present> {
        self.0.lock().expect("no holder panics")
    }
}

impl Fleet {
    /// Writes down when devices were last seen: of those that left, every few minutes; of all, at the end.
    pub async fn keep_presence(self: Arc<Self>, shutdown: CancellationToken) {
        let mut written = SystemTime::now();
        while !shutdown.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(SEEN_EACH) => {}
                () = shutdown.cancelled() => {}
            }
            let now = SystemTime::now();
            if let Err(error) = self.write_seen(written, shutdown.is_cancelled()).await {
                warn!(%error, "when devices were last seen could not be stored; it is tried again later");
                continue;
            }
            written = now;
        }
    }

    /// Writes down every device seen after `since` that has left, or `all`: what stays connected would only be
    /// written again and again.
    pub(super) async fn write_seen(&self, since: SystemTime, all: bool) -> Result<(), FleetError> {
        let seen: Vec<_> = {
            let present = self.presence.lock();
            let gone = present.devices.iter().filter(|(_, presence)| all || !presence.online);
            let seen = gone.filter_map(|(device, presence)| Some((*device, presence.last_seen?)));
            seen.filter(|(_, seen)| *seen >= since).collect()
        };
        let tenant = self.fabric.tenant();
        for batch in seen.chunks(self.store.limits().ops) {
            let put = |(device, seen): &(DeviceId, SystemTime)| {
                Op::put(keys::seen(tenant, *device), seconds(*seen).encode_to_vec())
            };
            self.store.commit(OpId::random(), Vec::new(), batch.iter().map(put).collect()).await?;
        }
        Ok(())
    }

    /// A device's session is established.
    pub fn came_online(&self, device: DeviceId, address: SocketAddr, clock_skew: Option<i64>, build: &str) {
        let now = Some(SystemTime::now());
        let build = super::names::told(build);
        let (address, ended) = (Some(address), None);
        let presence =
            Presence { online: true, since: now, last_seen: now, address, clock_skew, build, ended };
        let mut present = self.presence.lock();
        let before = present.devices.insert(device, presence);
        present.online += usize::from(before.is_none_or(|before| !before.online));
    }

    /// A device was heard.
    pub fn heard(&self, device: DeviceId) {
        if let Some(presence) = self.presence.lock().devices.get_mut(&device) {
            presence.last_seen = Some(SystemTime::now());
        }
    }

    /// A device's session ended, and why; those may be the device's own words.
    pub fn went_offline(&self, device: DeviceId, why: &str) {
        let Present { devices, online } = &mut *self.presence.lock();
        if let Some(presence) = devices.get_mut(&device) {
            *online -= usize::from(presence.online);
            presence.online = false;
            presence.since = Some(SystemTime::now());
            presence.ended = Some(super::names::told(why));
        }
    }

    /// How many devices are connected.
    pub fn online(&self) -> usize {
        self.presence.lock().online
    }

    /// Nothing is to be known of a device any more.
    pub(super) fn forget(&self, device: DeviceId) {
        let mut present = self.presence.lock();
        let gone = present.devices.remove(&device);
        present.online -= usize::from(gone.is_some_and(|gone| gone.online));
    }

    /// What is known of a device that is stored as last seen then.
    pub(super) fn presence(&self, device: DeviceId, last_seen: Option<SystemTime>) -> Presence {
        let known = self.presence.lock().devices.get(&device).cloned();
        known.unwrap_or_else(|| Presence { last_seen, ..Presence::default() })
    }

    /// Whether a device is connected.
    pub fn is_online(&self, device: DeviceId) -> bool {
        self.presence.lock().devices.get(&device).is_some_and(|presence| presence.online)
    }
}

/// What a server that is killed forgets: who left in this time, and who was there.
const SEEN_EACH: Duration = Duration::from_secs(300);
