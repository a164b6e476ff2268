//! How distribution stands on this device, for people.

use klnet_wire::multicast::AgentGroup;
use serde::{Deserialize, Serialize};

/// How distribution stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shown {
    /// The multicast group it listens to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receives: Option<Group>,
    /// The multicast group it sends to as a distribution point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brings: Option<Group>,
    /// What it is to have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<ObjectShown>,
}

/// A multicast group and its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its IPv4 address.
    pub address: String,
    /// The epoch of its keys.
    pub epoch: u32,
}

/// An object that the device is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectShown {
    /// What it is called.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Bytes of content.
    pub length: u64,
    /// `pending`, `complete` or `failed`.
    pub state: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Group {
    /// The group with this number.
    pub(super) fn new(number: u32, epoch: u32) -> Option<Self> {
        Some(Self { address: AgentGroup::new(number)?.v4().to_string(), epoch })
    }
}
