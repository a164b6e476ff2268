//! Who is connected now. Lives in memory only: nothing durable happens when a device reconnects.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::SystemTime;

use klnet_wire::id::DeviceId;

/// What is known of a device's connection since the server started.
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
}

/// Presence of every device seen since the start.
#[derive(Debug, Default)]
pub(super) struct Table(Mutex<HashMap<DeviceId, Presence>>);

impl super::Fleet {
    /// A device's session is established.
    pub fn came_online(&self, device: DeviceId, address: SocketAddr, clock_skew: Option<i64>, build: &str) {
        let now = Some(SystemTime::now());
        let build = super::names::told(build);
        let presence =
            Presence { online: true, since: now, last_seen: now, address: Some(address), clock_skew, build };
        self.presence.0.lock().expect("no holder panics").insert(device, presence);
    }

    /// A device was heard.
    pub fn heard(&self, device: DeviceId) {
        if let Some(presence) = self.presence.0.lock().expect("no holder panics").get_mut(&device) {
            presence.last_seen = Some(SystemTime::now());
        }
    }

    /// A device's session ended.
    pub fn went_offline(&self, device: DeviceId) {
        if let Some(presence) = self.presence.0.lock().expect("no holder panics").get_mut(&device) {
            presence.online = false;
            presence.since = Some(SystemTime::now());
        }
    }

    /// How many devices are connected.
    pub fn online(&self) -> usize {
        self.presence.0.lock().expect("no holder panics").values().filter(|presence| presence.online).count()
    }

    pub(super) fn presence(&self, device: DeviceId) -> Presence {
        self.presence.0.lock().expect("no holder panics").get(&device).cloned().unwrap_or_default()
    }
}
