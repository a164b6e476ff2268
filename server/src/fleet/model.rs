//! The fleet in memory: what the store's watch has told, and nothing else.

use std::collections::HashMap;

use bytes::Bytes;
use klnet_wire::id::{DeviceId, DistributionId, GroupId, OperatorId, TenantId};
use klnet_wire::signed::PublicKey;
use prost::Message;

use super::keys;
use super::record::{
    AddressRecord, CloneRecord, DeviceRecord, DistributionRecord, EpochRecord, GroupRecord, KsnRecord,
    OperatorRecord, PointRecord, PollingRecord, SetBackRecord, TokenRecord, VersionRecord,
};
use super::registry::{Registered, Registry};
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
    /// Devices of each tenant that has any.
    pub registries: HashMap<TenantId, Registry>,
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
    /// Distribution points.
    pub points: Table<DeviceId, PointRecord>,
    /// The epoch of each distribution point's keys.
    pub epochs: Table<DeviceId, EpochRecord>,
    /// Multicast groups that are or were a distribution point's, by their number; all under the server's own tenant.
    pub addresses: Table<u32, AddressRecord>,
    /// Devices that find hosts in their networks.
    pub pollings: Table<DeviceId, PollingRecord>,
    /// KSN proxies.
    pub ksn: Table<DeviceId, KsnRecord>,
    /// Objects on their way.
    pub distributions: Table<DistributionId, DistributionRecord>,
    /// The newest version of each object's name.
    pub versions: Table<String, VersionRecord>,
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
                self.registries.entry(tenant).or_default().put(id, entry);
                self.device(tenant, id).is_none_or(Registered::is_revoked).then_some(Denied::Device(id))
            }
            keys::SEEN => {
                let seen = entry.and_then(|entry| u64::decode(Bytes::clone(&entry.value)).ok());
                self.registries.get_mut(&tenant)?.saw(keys::id(id)?, seen.unwrap_or_default());
                None
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
            table => {
                self.distribute(tenant, table, id, entry);
                None
            }
        }
    }

    /// One device.
    pub fn device(&self, tenant: TenantId, id: DeviceId) -> Option<&Registered> {
        self.registries.get(&tenant)?.device(id)
    }

    /// Every device of a tenant, in any order.
    pub fn devices(&self, tenant: TenantId) -> impl Iterator<Item = (DeviceId, &Registered)> {
        self.registries.get(&tenant).into_iter().flat_map(Registry::devices)
    }

    /// How many devices of a group are not revoked.
    pub fn members(&self, tenant: TenantId, group: GroupId) -> usize {
        self.registries.get(&tenant).map_or(0, |registry| registry.members(group))
    }

    fn distribute(&mut self, tenant: TenantId, table: &str, id: &str, entry: Option<&Entry>) -> Option<()> {
        match table {
            "point" => put(&mut self.points, (tenant, keys::id(id)?), entry),
            "epoch" => put(&mut self.epochs, (tenant, keys::id(id)?), entry),
            "polling" => put(&mut self.pollings, (tenant, keys::id(id)?), entry),
            "ksn" => put(&mut self.ksn, (tenant, keys::id(id)?), entry),
            "address" => put(&mut self.addresses, (tenant, id.parse().ok()?), entry),
            "distribution" => put(&mut self.distributions, (tenant, keys::id(id)?), entry),
            "object-version" => put(&mut self.versions, (tenant, id.to_owned()), entry),
            _ => {}
        }
        Some(())
    }

    /// The device that enrolled with this token and key and has not used its certificate yet.
    pub fn admitted(&self, token: &[u8; 32], key: &PublicKey) -> Option<(TenantId, DeviceId, DeviceRecord)> {
        let mut registries = self.registries.iter();
        let found =
            |(tenant, registry): (&TenantId, &Registry)| Some((*tenant, registry.admitted(token, key)?));
        let (tenant, id) = registries.find_map(found)?;
        Some((tenant, id, self.device(tenant, id)?.record()))
    }

    /// Everyone who was revoked.
    pub fn denied(&self) -> Vec<Denied> {
        let devices = self.registries.values().flat_map(Registry::devices);
        let devices = devices.filter(|(_, device)| device.is_revoked()).map(|(id, _)| Denied::Device(id));
        let operators = self.operators.iter().filter(|(_, operator)| operator.record.revoked != 0);
        devices.chain(operators.map(|((_, id), _)| Denied::Operator(*id))).collect()
    }

    /// A group and those it is in, itself first.
    pub fn chain(&self, tenant: TenantId, group: GroupId) -> Vec<GroupId> {
        let parent = |id: &GroupId| {
            let stored = self.groups.get(&(tenant, *id))?;
            GroupId::try_from(stored.record.parent.as_slice()).ok()
        };
        std::iter::successors(Some(group), parent).collect()
    }

    /// The distribution point nearest to a group: its own, or that of the nearest group above it.
    pub fn nearest_point(&self, tenant: TenantId, group: GroupId) -> Option<(DeviceId, &PointRecord)> {
        self.chain(tenant, group).into_iter().find_map(|group| {
            let serves = |stored: &Stored<PointRecord>| stored.record.group == group.as_bytes();
            let found = self.points.iter().find(|((of, _), stored)| *of == tenant && serves(stored));
            found.map(|((_, device), stored)| (*device, &stored.record))
        })
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
