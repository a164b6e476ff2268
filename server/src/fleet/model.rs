//! The fleet in memory: what the store's watch has told, and nothing else.

use std::collections::HashMap;

use bytes::Bytes;
use klnet_wire::id::{DeviceId, GroupId, OperatorId, TenantId};
use klnet_wire::signed::PublicKey;
use prost::Message;

use super::keys;
use super::record::{CloneRecord, DeviceRecord, GroupRecord, OperatorRecord, SetBackRecord, TokenRecord};
use crate::store::{Entry, Key, Rev};

/// A stored record and the revision that last changed it, for guards.
#[derive(Debug, Clone)]
pub struct Stored<T> {
    /// The record.
    pub record: T,
    /// The revision that last changed it.
    pub rev: Rev,
}

/// One table: by tenant and id.
type Table<Id, Record> = HashMap<(TenantId, Id), Stored<Record>>;

/// Every tenant's devices, groups, operators and tokens.
#[derive(Debug, Default)]
pub struct Model {
    /// Devices, also revoked ones: a tombstone is for ever.
    pub devices: Table<DeviceId, DeviceRecord>,
    /// The last clone of each device that has one.
    pub clones: Table<DeviceId, CloneRecord>,
    /// Devices whose disk was set back.
    pub set_backs: Table<DeviceId, SetBackRecord>,
    /// Groups.
    pub groups: Table<GroupId, GroupRecord>,
    /// Operators, also revoked ones.
    pub operators: Table<OperatorId, OperatorRecord>,
    /// Enrolment tokens by the hash of their secret.
    pub tokens: Table<String, TokenRecord>,
    /// Devices that have not used the certificate of their enrolment, by the hash of their token and their key.
    admitted: HashMap<Vec<u8>, (TenantId, DeviceId)>,
}

/// What a change means for live sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The device was revoked.
    Device(DeviceId),
    /// The operator was revoked.
    Operator(OperatorId),
}

impl Model {
    /// Takes in what became of one key; says whom it denies, if it does.
    pub fn apply(&mut self, key: &Key, entry: Option<&Entry>) -> Option<Denied> {
        let (tenant, table, id) = keys::parse(key)?;
        match table {
            "device" => {
                let id = keys::id(id)?;
                self.device(tenant, id, entry);
                let revoked = self.devices.get(&(tenant, id)).is_none_or(|device| device.record.revoked != 0);
                revoked.then_some(Denied::Device(id))
            }
            "operator" => {
                let id = keys::id(id)?;
                put(&mut self.operators, (tenant, id), entry);
                let revoked =
                    self.operators.get(&(tenant, id)).is_none_or(|operator| operator.record.revoked != 0);
                revoked.then_some(Denied::Operator(id))
            }
            "clone" => {
                put(&mut self.clones, (tenant, keys::id(id)?), entry);
                None
            }
            "set-back" => {
                put(&mut self.set_backs, (tenant, keys::id(id)?), entry);
                None
            }
            "group" => {
                put(&mut self.groups, (tenant, keys::id(id)?), entry);
                None
            }
            "token" => {
                put(&mut self.tokens, (tenant, id.to_owned()), entry);
                None
            }
            _ => None,
        }
    }

    fn device(&mut self, tenant: TenantId, id: DeviceId, entry: Option<&Entry>) {
        let place = |devices: &Table<DeviceId, DeviceRecord>| {
            devices.get(&(tenant, id)).and_then(|stored| admission(&stored.record))
        };
        if let Some(before) = place(&self.devices) {
            self.admitted.remove(&before);
        }
        put(&mut self.devices, (tenant, id), entry);
        if let Some(now) = place(&self.devices) {
            self.admitted.insert(now, (tenant, id));
        }
    }

    /// The device that enrolled with this token and key and has not used its certificate yet.
    pub fn admitted(&self, token: &[u8; 32], key: &PublicKey) -> Option<(TenantId, DeviceId, DeviceRecord)> {
        let (tenant, id) = self.admitted.get([token.as_slice(), key.as_bytes()].concat().as_slice())?;
        Some((*tenant, *id, self.devices.get(&(*tenant, *id))?.record.clone()))
    }

    /// Everyone who was revoked.
    pub fn denied(&self) -> Vec<Denied> {
        let devices = self.devices.iter().filter(|(_, device)| device.record.revoked != 0);
        let operators = self.operators.iter().filter(|(_, operator)| operator.record.revoked != 0);
        let devices = devices.map(|((_, id), _)| Denied::Device(*id));
        devices.chain(operators.map(|((_, id), _)| Denied::Operator(*id))).collect()
    }

    /// A group's path, `/` for the root.
    pub fn path(&self, tenant: TenantId, group: GroupId) -> String {
        let mut names = Vec::new();
        let mut next = Some(group);
        while let Some(stored) = next.and_then(|id| self.groups.get(&(tenant, id))) {
            names.push(stored.record.name.as_str());
            next = GroupId::try_from(stored.record.parent.as_slice()).ok();
        }
        match names.len() {
            0 | 1 => "/".to_owned(),
            _ => names.into_iter().rev().collect::<Vec<_>>().join("/"),
        }
    }
}

/// What names an enrolment whose answer may have been lost.
fn admission(record: &DeviceRecord) -> Option<Vec<u8>> {
    let pending = record.pending.as_ref().filter(|pending| !pending.token.is_empty())?;
    Some([pending.token.as_slice(), &record.key].concat())
}

fn put<Id, Record>(table: &mut Table<Id, Record>, id: (TenantId, Id), entry: Option<&Entry>)
where
    Id: std::hash::Hash + Eq,
    Record: Message + Default,
{
    let read = |entry: &Entry| Some((Record::decode(Bytes::clone(&entry.value)).ok()?, entry.mod_rev));
    match entry.map(read) {
        Some(Some((record, rev))) => {
            table.insert(id, Stored { record, rev });
        }
        // A record that cannot be read is as good as gone: whoever it was for is refused, not let in.
        Some(None) | None => {
            table.remove(&id);
        }
    }
}
