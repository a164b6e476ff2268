//! Distribution points, and what they bring.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fleet;
use crate::unix::seconds;
use klnet_wire::message::{DeliveryState, PointState};

/// A distribution point.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// The device's id.
    pub device: String,
    /// Its name.
    pub name: String,
    /// The path of the group it serves, with those below it.
    pub group: String,
    /// Its IPv4 group, which no other device has.
    pub multicast_v4: String,
    /// Its IPv6 group.
    pub multicast_v6: String,
    /// The epoch of its members' keys; each device that leaves begins another.
    pub epoch: u32,
    /// Mbit/s that it sends at most.
    pub rate_mbit: Option<u64>,
    /// Devices that receive from it.
    pub members: u64,
    /// Whether the server has a session with it now.
    pub online: bool,
    /// Its addresses, where it serves files; none before it has told them.
    pub addresses: Vec<String>,
    /// The port there.
    pub port: Option<u32>,
}

/// Makes a device a distribution point.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssignPoint {
    /// The group it is to serve, by path or id.
    pub group: String,
    /// Mbit/s that it sends at most; as fast as its networks take them unless given.
    #[serde(default)]
    pub rate_mbit: Option<u32>,
}

/// Begins an upload.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginContent {
    /// BLAKE3 hash of the catalogue, 64 hexadecimal digits: the content's id.
    pub id: String,
    /// Bytes of the catalogue.
    pub catalogue_length: u32,
    /// Bytes of content.
    pub length: u64,
}

/// How far an upload came.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct NextBlock {
    /// The block to be sent next; 0 is the catalogue.
    pub next: u32,
}

/// Which block.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BlockNumber {
    /// Its number; 0 is the catalogue.
    pub number: u32,
}

/// Brings what was uploaded to the devices of a group.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Distribute {
    /// The content's id.
    pub content: String,
    /// What it is called; versions are compared among objects of one name.
    pub name: String,
    /// Greater than that of every object that had the name; the time in milliseconds unless given.
    #[serde(default)]
    pub version: Option<u64>,
    /// The group, by path or id; its devices and those of the groups below it get it.
    pub group: String,
}

/// An object on its way.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Distribution {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// The path of its group.
    pub group: String,
    /// Bytes of content.
    pub length: u64,
    /// Since when.
    pub created: u64,
    /// Name of the operator who distributes it.
    pub created_by: String,
}

/// An object on its way, and where it is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Results {
    /// What it is.
    pub distribution: Distribution,
    /// Each device that is to have it, by name.
    pub devices: Vec<Delivered>,
}

/// What became of an object at one device.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Delivered {
    /// The device's id.
    pub device: String,
    /// Its name.
    pub name: String,
    /// `pending`, `complete` or `failed`.
    pub state: String,
    /// Bytes that came by multicast.
    pub multicast: u64,
    /// Bytes that came by HTTPS.
    pub https: u64,
    /// Milliseconds from its first bytes to its end.
    pub took_ms: u64,
    /// Symbols that were lost and restored.
    pub repaired: u32,
    /// Why it failed.
    pub reason: String,
    /// When the device told so.
    pub at: Option<u64>,
}

impl Point {
    /// A distribution point as the API shows it.
    pub fn new(point: fleet::Point, group: String, online: bool, told: Option<PointState>) -> Self {
        let (addresses, port) = told.map_or_else(Default::default, |told| (told.addresses, Some(told.port)));
        Self {
            device: point.device.to_string(),
            name: point.name,
            group,
            multicast_v4: point.groups.v4().to_string(),
            multicast_v6: point.groups.v6().to_string(),
            epoch: point.epoch,
            rate_mbit: Some(point.rate / 1_000_000).filter(|rate| *rate != 0),
            members: point.members as u64,
            online,
            addresses,
            port,
        }
    }
}

impl Distribution {
    /// A distribution as the API shows it.
    pub fn new(distribution: fleet::Distribution, group: String) -> Self {
        let manifest = distribution.manifest;
        Self {
            id: distribution.id.to_string(),
            name: manifest.name,
            version: manifest.version,
            group,
            length: manifest.length,
            created: seconds(distribution.created),
            created_by: distribution.created_by,
        }
    }
}

impl Delivered {
    /// A device's result as the API shows it; `None` while it has told nothing.
    pub fn new(device: &fleet::Device, delivered: Option<&fleet::Delivered>) -> Self {
        let told = delivered.map(|delivered| delivered.told.clone()).unwrap_or_default();
        let state = match told.state() {
            DeliveryState::Complete => "complete",
            DeliveryState::Failed => "failed",
            DeliveryState::Unknown => "pending",
        };
        Self {
            device: device.id.to_string(),
            name: device.name.clone(),
            state: state.to_owned(),
            multicast: told.multicast,
            https: told.https,
            took_ms: told.took_ms,
            repaired: told.repaired,
            reason: told.reason,
            at: delivered.map(|delivered| seconds(delivered.at)),
        }
    }
}
