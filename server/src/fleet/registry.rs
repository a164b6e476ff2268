//! The registry: a tenant's devices in memory, each as the bytes that are stored, decoded when it is looked at.
//!
//! ```text
//! id (16 bytes) ─▶ bytes of its record, revision, last seen, revoked, removed (32 bytes)
//! ```
//! Records decoded would take four times as much, and most of a large fleet is never looked at. What is asked at every
//! message or of every device at once lies beside the bytes.

use std::collections::HashMap;

use klnet_wire::id::{DeviceId, GroupId};
use klnet_wire::signed::PublicKey;
use prost::Message;

use super::Stored;
use super::record::{DeviceName, DeviceRecord};
use crate::store::{Entry, Rev};

/// Devices of one tenant, also revoked ones: a tombstone is for ever.
#[derive(Debug, Default)]
pub struct Registry {
    devices: HashMap<DeviceId, Registered>,
    /// How many devices that are not revoked each group has; groups without any are not in it.
    members: HashMap<GroupId, usize>,
    /// Devices that have not used the certificate of their enrolment, by the hash of their token and their key.
    admitted: HashMap<Vec<u8>, DeviceId>,
}

/// A device as it is kept.
#[derive(Debug)]
pub struct Registered {
    /// It has been decoded once, so it can be again.
    record: Box<[u8]>,
    rev: Rev,
    /// Unix seconds, which last until 2106; 0 when it was never seen.
    seen: u32,
    revoked: bool,
    removed: bool,
}

impl Registry {
    /// Takes in what became of a device.
    pub(super) fn put(&mut self, id: DeviceId, entry: Option<&Entry>) {
        let seen = self.leave(id);
        // A record that cannot be read is as good as gone: whoever it was for is refused, not let in.
        let Some((record, entry)) = entry.and_then(|entry| Some((decoded(&entry.value)?, entry))) else {
            self.devices.remove(&id);
            return;
        };
        if let Some(group) = group_of(&record) {
            *self.members.entry(group).or_default() += 1;
        }
        if let Some(admission) = admission(&record) {
            self.admitted.insert(admission, id);
        }
        let (revoked, removed) = (record.revoked != 0, record.removed != 0);
        let record = Box::from(&entry.value[..]);
        self.devices.insert(id, Registered { record, rev: entry.mod_rev, seen, revoked, removed });
    }

    /// Takes in when a device was last seen, Unix seconds.
    pub(super) fn saw(&mut self, id: DeviceId, seen: u64) {
        if let Some(device) = self.devices.get_mut(&id) {
            device.seen = u32::try_from(seen).unwrap_or(u32::MAX);
        }
    }

    /// One device.
    pub fn device(&self, id: DeviceId) -> Option<&Registered> {
        self.devices.get(&id)
    }

    /// All of them.
    pub fn devices(&self) -> impl Iterator<Item = (DeviceId, &Registered)> {
        self.devices.iter().map(|(id, device)| (*id, device))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.devices.len()
    }

    /// How many devices of a group are not revoked.
    pub fn members(&self, group: GroupId) -> usize {
        self.members.get(&group).copied().unwrap_or_default()
    }

    /// The device that enrolled with this token and key and has not used its certificate yet.
    pub fn admitted(&self, token: &[u8; 32], key: &PublicKey) -> Option<DeviceId> {
        self.admitted.get([token.as_slice(), key.as_bytes()].concat().as_slice()).copied()
    }

    /// Takes a device out of what it counts in; gives when it was last seen.
    fn leave(&mut self, id: DeviceId) -> u32 {
        let Some(device) = self.devices.get(&id) else { return 0 };
        let (record, seen) = (device.record(), device.seen);
        if let Some(admission) = admission(&record) {
            self.admitted.remove(&admission);
        }
        if let Some(group) = group_of(&record)
            && let Some(members) = self.members.get_mut(&group)
        {
            *members -= 1;
            if *members == 0 {
                self.members.remove(&group);
            }
        }
        seen
    }
}

impl Registered {
    /// The whole record.
    pub fn record(&self) -> DeviceRecord {
        decoded(&self.record).expect("it was decoded when it was taken in")
    }

    /// Its name alone.
    pub fn name(&self) -> String {
        DeviceName::decode(&*self.record).expect("it was decoded when it was taken in").name
    }

    /// The whole record, and the revision that last changed it.
    pub fn stored(&self) -> Stored<DeviceRecord> {
        Stored { record: self.record(), rev: self.rev }
    }

    /// The revision that last changed it.
    pub const fn rev(&self) -> Rev {
        self.rev
    }

    /// When it was last seen as far as that is stored, Unix seconds; 0 when it never was.
    pub fn seen(&self) -> u64 {
        self.seen.into()
    }

    /// Whether it was revoked, or removed.
    pub const fn is_revoked(&self) -> bool {
        self.revoked
    }

    /// Whether it is a tombstone.
    pub const fn is_removed(&self) -> bool {
        self.removed
    }
}

fn decoded(record: &[u8]) -> Option<DeviceRecord> {
    DeviceRecord::decode(record).ok()
}

/// The group that the device counts in.
fn group_of(record: &DeviceRecord) -> Option<GroupId> {
    GroupId::try_from(record.group.as_slice()).ok().filter(|_| record.revoked == 0)
}

/// What names an enrolment whose answer may have been lost.
fn admission(record: &DeviceRecord) -> Option<Vec<u8>> {
    let pending = record.pending.as_ref().filter(|pending| !pending.token.is_empty())?;
    Some([pending.token.as_slice(), &record.key].concat())
}

#[cfg(test)]
mod tests;
