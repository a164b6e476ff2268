//! Devices that find hosts in their networks, and what they have found.

use std::collections::HashMap;

use data_encoding::HEXLOWER;
use klnet_wire::duties::Polling;
use klnet_wire::id::DeviceId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fleet::{self, Fleet};

/// What a device is to poll.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SetPolling {
    /// Ranges of addresses: prefix, start-end or subnet/mask; none may overlap another.
    pub ranges: Vec<String>,
    /// Seconds between polls of the ranges; 0 without ranges.
    pub ranges_every: u32,
    /// Seconds between looks for what announces itself (mDNS); 0 is never.
    pub zeroconf_every: u32,
    /// Seconds between looks for Windows names; 0 is never.
    pub windows_every: u32,
}

/// A device that polls.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Poller {
    /// The device's id.
    pub device: String,
    /// Its name.
    pub name: String,
    /// Whether the server has a session with it now.
    pub online: bool,
    /// What it polls.
    pub polling: SetPolling,
}

/// A host that was found and is none of the managed devices.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Unassigned {
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Addresses of its cards, such as `02:00:00:00:00:01`.
    pub macs: Vec<String>,
    /// What it is called.
    pub name: String,
    /// The domain or workgroup that it says it is in.
    pub domain: String,
    /// Its operating system.
    pub system: String,
    /// How it was found.
    pub sources: Vec<String>,
    /// Why its answers may not be a host's, when they may not.
    pub suspicion: String,
    /// When it was seen first, Unix seconds.
    pub first_seen: u64,
    /// When it was seen last, Unix seconds.
    pub last_seen: u64,
    /// Names of the devices that have found it.
    pub found_by: Vec<String>,
}

impl From<SetPolling> for Polling {
    fn from(set: SetPolling) -> Self {
        let SetPolling { ranges, ranges_every, zeroconf_every, windows_every } = set;
        Self { ranges, ranges_every, zeroconf_every, windows_every }
    }
}

impl Poller {
    /// A poller as the API shows it.
    pub fn new(fleet: &Fleet, poller: fleet::Poller) -> Self {
        let Polling { ranges, ranges_every, zeroconf_every, windows_every } = poller.polling;
        Self {
            device: poller.device.to_string(),
            name: poller.name,
            online: fleet.is_online(poller.device),
            polling: SetPolling { ranges, ranges_every, zeroconf_every, windows_every },
        }
    }
}

impl Unassigned {
    /// A host as the API shows it; `names` are those of the pollers.
    pub fn new(host: fleet::Unassigned, names: &HashMap<DeviceId, String>) -> Self {
        let fleet::Unassigned { told, found_by } = host;
        let mac = |mac: &bytes::Bytes| {
            let parts: Vec<_> = mac.chunks(1).map(|byte| HEXLOWER.encode(byte)).collect();
            parts.join(":")
        };
        Self {
            addresses: told.addresses,
            macs: told.macs.iter().map(mac).collect(),
            name: told.name,
            domain: told.domain,
            system: told.system,
            sources: told.sources,
            suspicion: told.suspicion,
            first_seen: told.first_seen,
            last_seen: told.last_seen,
            found_by: found_by.iter().filter_map(|device| names.get(device).cloned()).collect(),
        }
    }
}
