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

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use klnet_wire::id::{DeviceId, GroupId, Id, TenantId};
use klnet_wire::multicast::AgentGroup;

use super::addresses;
use super::operators::Caller;
use super::record::{EpochRecord, PointRecord, ServedRecord};
use super::{Change, Fleet, FleetError, Kind, Model, Stored, keys};
use crate::store::Guard;
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
    /// Bits a second that it sends at most; 0 for no limit of its own.
    pub rate: u64,
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

    /// Makes a device the distribution point of a group, which sends `rate` bits a second at most, or as fast as it can.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` when it is one already or the group has another, `Limit`, `Unavailable`.
    pub async fn assign_point(
        &self,
        by: &Caller,
        device: DeviceId,
        group: GroupId,
        rate: u64,
    ) -> Result<Point, FleetError> {
        self.commit_anew(|| self.assigned(by, device, group, rate)).await?;
        self.point(by.tenant, device)
    }

    fn assigned(
        &self,
        by: &Caller,
        device: DeviceId,
        group: GroupId,
        rate: u64,
    ) -> Result<Change, FleetError> {
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
        let (number, lease) = addresses::lease(&model, self.fabric.tenant(), (tenant, device), now)?;
        let record = PointRecord {
            group: group.to_vec(),
            number: number.number(),
            assigned: now,
            rate,
            renumbered: 0,
        };
        let (point, served) = (keys::point(tenant, device), keys::served(tenant, group));
        let change = Change::new(tenant, &by.name, "point.assign", &name)
            .detail("device", device)
            .detail("group", path)
            .detail("multicast", number.v4())
            .guard(unchanged)
            .guard(Guard::Present(keys::group(tenant, group)))
            .guard(Guard::Absent(point.clone()))
            .guard(Guard::Absent(served.clone()))
            .put(served, &ServedRecord { device: device.to_vec() })
            .put(point, &record);
        let change = lease(change);
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
        let change = match to {
            Some(_) => change,
            None => self
                .without_point(change, tenant, device)
                .delete(keys::polling(tenant, device))
                .delete(keys::ksn(tenant, device)),
        };
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
        let now = seconds(SystemTime::now());
        let (address, released) =
            addresses::released(self.fabric.tenant(), (tenant, device), record.number, now, false);
        let change = match GroupId::try_from(record.group.as_slice()) {
            Ok(group) => change.delete(keys::served(tenant, group)),
            Err(_) => change,
        };
        change
            .guard(Guard::ModRev(point.clone(), *rev))
            .delete(point)
            .delete(keys::epoch(tenant, device))
            .put(address, &released)
    }

    /// Gives a point another number, since somebody else sends to its groups; once in a while, whatever it says. Says
    /// whether it did.
    ///
    /// # Errors
    /// `NotFound`, `Limit`, `Unavailable`.
    pub async fn renumber_point(
        &self,
        tenant: TenantId,
        device: DeviceId,
        foreign: IpAddr,
    ) -> Result<bool, FleetError> {
        let now = seconds(SystemTime::now());
        {
            let model = self.model();
            let point = model.points.get(&(tenant, device));
            let point = point.ok_or_else(|| FleetError::not_found("the device is no distribution point"))?;
            if now < point.record.renumbered.saturating_add(RENUMBER_EACH.as_secs()) {
                return Ok(false);
            }
        }
        self.commit_anew(|| self.renumbered(tenant, device, foreign, now)).await?;
        Ok(true)
    }

    fn renumbered(
        &self,
        tenant: TenantId,
        device: DeviceId,
        foreign: IpAddr,
        now: u64,
    ) -> Result<Change, FleetError> {
        let Point { name, groups, .. } = self.point(tenant, device)?;
        let model = self.model();
        let Some(Stored { record, rev }) = model.points.get(&(tenant, device)) else {
            return Err(FleetError::not_found("the device is no distribution point"));
        };
        let (number, lease) = addresses::lease(&model, self.fabric.tenant(), (tenant, device), now)?;
        let (before, rests) =
            addresses::released(self.fabric.tenant(), (tenant, device), record.number, now, true);
        let point = keys::point(tenant, device);
        let record = PointRecord { number: number.number(), renumbered: now, ..record.clone() };
        let change = Change::new(tenant, "server", "point.renumber", &name)
            .detail("device", device)
            .detail("multicast", groups.v4())
            .detail("foreign", foreign)
            .detail("now", number.v4())
            .guard(Guard::ModRev(point.clone(), *rev))
            .put(point, &record)
            .put(before, &rests);
        Ok(epoch_ends(lease(change), &model, tenant, device))
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
        rate: record.rate,
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

/// How often a point is given another number at most: whoever is in its LAN can make it ask for one.
const RENUMBER_EACH: Duration = Duration::from_secs(600);
