//! Distribution points: devices that bring objects to the others of their LAN.
//!
//! A point serves one group and those below it; a device receives from the point nearest to its group. Each point has
//! multicast groups of its own, by a number that no other device of any tenant has, and epochs of keys for its members.
//!
//! ```text
//! number:  free ── assign ──▶ leased ── unassign, revoke, remove ──▶ tombstone ── TOMBSTONE ──▶ free
//! epoch:   n ── a member is revoked, removed, moved away, or nearer to another point: in the same commit ──▶ n + 1
//! ```
//! So nobody is outside the group and inside its newest epoch, not even after a crash.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use klnet_wire::id::{DeviceId, GroupId, Id, TenantId};
use klnet_wire::multicast::AgentGroup;

use super::operators::Caller;
use super::record::{AddressRecord, EpochRecord, PointRecord, ServedRecord};
use super::{Change, Fleet, FleetError, Kind, Model, Stored, keys};
use crate::store::{Guard, Rev};
use crate::unix::seconds;

/// A distribution point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// The device.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
    /// The group it serves, with those below it.
    pub group: GroupId,
    /// Its multicast groups.
    pub groups: AgentGroup,
    /// The epoch of its keys.
    pub epoch: u32,
    /// Drawn for the epoch.
    pub salt: Vec<u8>,
    /// Devices that receive from it, itself left out.
    pub members: usize,
}

impl Fleet {
    /// Every distribution point of a tenant, by name.
    pub fn points(&self, tenant: TenantId) -> Vec<Point> {
        let model = self.model();
        let ours = model.points.iter().filter(|((of, _), _)| *of == tenant);
        let mut points: Vec<_> =
            ours.filter_map(|((_, id), stored)| shown(&model, tenant, *id, &stored.record)).collect();
        points.sort_by(|a, b| (&a.name, a.device).cmp(&(&b.name, b.device)));
        points
    }

    /// The device as a distribution point.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn point(&self, tenant: TenantId, device: DeviceId) -> Result<Point, FleetError> {
        let model = self.model();
        let stored = model.points.get(&(tenant, device));
        let point = stored.and_then(|stored| shown(&model, tenant, device, &stored.record));
        point.ok_or_else(|| FleetError::not_found(format!("the device {device} is no distribution point")))
    }

    /// Makes a device the distribution point of a group.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` when it is one already or the group has another, `Limit`, `Unavailable`.
    pub async fn assign_point(
        &self,
        by: &Caller,
        device: DeviceId,
        group: GroupId,
    ) -> Result<Point, FleetError> {
        self.commit_anew(|| self.assigned(by, device, group)).await?;
        self.point(by.tenant, device)
    }

    fn assigned(&self, by: &Caller, device: DeviceId, group: GroupId) -> Result<Change, FleetError> {
        let (tenant, now) = (by.tenant, seconds(SystemTime::now()));
        let name = self.stored_device(tenant, device)?.record.name;
        let (unchanged, path) =
            (self.device_unchanged(tenant, device)?, self.group(tenant, &group.to_string())?.path);
        if self.is_denied(tenant, device) {
            return Err(FleetError::new(Kind::Conflict, "the device is revoked"));
        }
        let model = self.model();
        if model.points.contains_key(&(tenant, device)) {
            return Err(FleetError::new(Kind::Conflict, format!("{name} is a distribution point already")));
        }
        let outer = model.nearest_point(tenant, group);
        if outer.is_some_and(|(_, outer)| outer.group == group.as_bytes()) {
            return Err(FleetError::new(Kind::Conflict, format!("{path} has a distribution point already")));
        }
        let (number, was) = free_number(&model, now)?;
        let record = PointRecord { group: group.to_vec(), number: number.number(), assigned: now };
        let leased = AddressRecord { tenant: tenant.to_vec(), device: device.to_vec(), released: 0 };
        let (address, point) =
            (keys::address(self.fabric.tenant(), number.number()), keys::point(tenant, device));
        let served = keys::served(tenant, group);
        let change = Change::new(tenant, &by.name, "point.assign", &name)
            .detail("device", device)
            .detail("group", path)
            .detail("multicast", number.v4())
            .guard(unchanged)
            .guard(Guard::Present(keys::group(tenant, group)))
            .guard(
                was.map_or_else(|| Guard::Absent(address.clone()), |rev| Guard::ModRev(address.clone(), rev)),
            )
            .guard(Guard::Absent(point.clone()))
            .guard(Guard::Absent(served.clone()))
            .put(address, &leased)
            .put(served, &ServedRecord { device: device.to_vec() })
            .put(point, &record);
        let change = epoch_ends(change, &model, tenant, device);
        // The devices of the group leave the point that they had.
        Ok(match outer {
            Some((outer, _)) => epoch_ends(change, &model, tenant, outer),
            None => change,
        })
    }

    /// Takes the role from a distribution point; its devices have the next one above, or none.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`, `Unavailable`.
    pub async fn unassign_point(&self, by: &Caller, device: DeviceId) -> Result<(), FleetError> {
        self.commit_anew(|| {
            let point = self.point(by.tenant, device)?;
            let change = Change::new(by.tenant, &by.name, "point.unassign", &point.name)
                .detail("device", device)
                .detail("multicast", point.groups.v4());
            Ok(self.without_point(change, by.tenant, device))
        })
        .await
    }

    /// Adds to a change what it means when the device is not where it was: in `from`, now in `to` or nowhere.
    pub(super) fn leaving(
        &self,
        change: Change,
        tenant: TenantId,
        device: DeviceId,
        from: GroupId,
        to: Option<GroupId>,
    ) -> Change {
        let change = if to.is_none() { self.without_point(change, tenant, device) } else { change };
        let model = self.model();
        let point = |group| model.nearest_point(tenant, group).map(|(point, _)| point);
        match point(from).filter(|left| *left != device && to.and_then(point) != Some(*left)) {
            Some(left) => epoch_ends(change, &model, tenant, left),
            None => change,
        }
    }

    /// Adds to a change that the device is no distribution point any more, if it is one.
    fn without_point(&self, change: Change, tenant: TenantId, device: DeviceId) -> Change {
        let model = self.model();
        let Some(Stored { record, rev }) = model.points.get(&(tenant, device)) else { return change };
        let point = keys::point(tenant, device);
        let released = AddressRecord {
            tenant: tenant.to_vec(),
            device: device.to_vec(),
            released: seconds(SystemTime::now()),
        };
        let change = match GroupId::try_from(record.group.as_slice()) {
            Ok(group) => change.delete(keys::served(tenant, group)),
            Err(_) => change,
        };
        change
            .guard(Guard::ModRev(point.clone(), *rev))
            .delete(point)
            .delete(keys::epoch(tenant, device))
            .put(keys::address(self.fabric.tenant(), record.number), &released)
    }
}

/// Begins the next epoch of a point, which keeps out whoever has only the keys of this one.
fn epoch_ends(change: Change, model: &Model, tenant: TenantId, point: DeviceId) -> Change {
    let before = model.epochs.get(&(tenant, point)).map(|stored| &stored.record);
    change.put(keys::epoch(tenant, point), &next_epoch(before))
}

/// The epoch after this one, or the first.
pub(super) fn next_epoch(before: Option<&EpochRecord>) -> EpochRecord {
    let number = before.map_or(0, |before| before.number).wrapping_add(1);
    EpochRecord { number, salt: Id::<()>::random().to_vec() }
}

/// The lowest number that nobody has or had lately, and the revision of its tombstone if there is one.
fn free_number(model: &Model, now: u64) -> Result<(AgentGroup, Option<Rev>), FleetError> {
    let taken = model.addresses.iter().filter(|(_, stored)| is_taken(&stored.record, now));
    let taken: BTreeSet<u32> = taken.map(|((_, number), _)| *number).collect();
    // Of so many numbers at least one is not among those taken.
    let free = (0..).zip(&taken).find(|(number, taken)| number != *taken).map(|(number, _)| number);
    let free = free.unwrap_or_else(|| u32::try_from(taken.len()).unwrap_or(u32::MAX));
    let number = AgentGroup::new(free)
        .ok_or_else(|| FleetError::new(Kind::Limit, "every multicast group is in use"))?;
    let was = model.addresses.iter().find(|((_, number), _)| *number == free).map(|(_, stored)| stored.rev);
    Ok((number, was))
}

/// Whether switches and hosts may still think of somebody else at this address.
const fn is_taken(address: &AddressRecord, now: u64) -> bool {
    address.released == 0 || now < address.released.saturating_add(TOMBSTONE.as_secs())
}

fn shown(model: &Model, tenant: TenantId, device: DeviceId, record: &PointRecord) -> Option<Point> {
    let name = model.device(tenant, device)?.name();
    let group = GroupId::try_from(record.group.as_slice()).ok()?;
    let epoch = model.epochs.get(&(tenant, device))?.record.clone();
    Some(Point {
        device,
        name,
        group,
        groups: AgentGroup::new(record.number)?,
        epoch: epoch.number,
        salt: epoch.salt,
        members: members(model, tenant, device),
    })
}

/// How many devices receive from a point.
fn members(model: &Model, tenant: TenantId, point: DeviceId) -> usize {
    let is_its = |group: &GroupId| model.nearest_point(tenant, *group).is_some_and(|(id, _)| id == point);
    let groups = model.groups.keys().filter(|(of, group)| *of == tenant && is_its(group));
    let all: usize = groups.map(|(_, group)| model.members(tenant, *group)).sum();
    let own = model.device(tenant, point).filter(|point| !point.is_revoked());
    // What it sends it has itself.
    let is_among = own.is_some_and(|own| is_its(&own.record().group()));
    all - usize::from(is_among)
}

/// A number is given to nobody else for this long: twice the time after which a switch forgets a group that nobody asks
/// for any more (RFC 3376, 8.4: 260 s).
const TOMBSTONE: Duration = Duration::from_secs(520);
