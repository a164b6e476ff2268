//! Distributions: objects on their way to a group of devices.

use std::time::SystemTime;

use klnet_multicast::catalogue::Catalogue;
use klnet_multicast::layout::BLOCK_LOG2_MOST;
use klnet_multicast::manifest::{Manifest, object_id};
use klnet_wire::duties::OBJECTS_LIMIT;
use klnet_wire::id::{DeviceId, DistributionId, GroupId, TenantId};
use klnet_wire::signed::Signed;

use super::operators::Caller;
use super::record::{DistributionRecord, PointRecord, VersionRecord};
use super::{Change, Device, Fleet, FleetError, Kind, Model, Stored, keys, names};
use crate::fabric::DistributionKey;
use crate::store::Guard;
use crate::unix::{seconds, time};

/// An object on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// Its identity: the first 16 bytes of the object's.
    pub id: DistributionId,
    /// The group it is for, with those below it.
    pub group: GroupId,
    /// What it is.
    pub manifest: Manifest,
    /// The manifest as it travels.
    pub signed: Signed,
    /// Since when.
    pub created: SystemTime,
    /// Who distributes it.
    pub created_by: String,
}

/// An object that is to be distributed; its content is there and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDistribution {
    /// The group it is for, with those below it.
    pub group: GroupId,
    /// What people call it.
    pub name: String,
    /// Greater than that of every object that had the name; the time in milliseconds unless given.
    pub version: Option<u64>,
    /// Bytes of content.
    pub length: u64,
    /// The catalogue.
    pub catalogue: Vec<u8>,
}

impl Fleet {
    /// Every distribution of a tenant, the oldest first.
    pub fn distributions(&self, tenant: TenantId) -> Vec<Distribution> {
        of_tenant(&self.model(), tenant)
    }

    /// The distribution with this id.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn distribution(&self, tenant: TenantId, id: DistributionId) -> Result<Distribution, FleetError> {
        let model = self.model();
        let stored = model.distributions.get(&(tenant, id));
        let found = stored.and_then(|stored| shown(id, &stored.record));
        found.ok_or_else(|| FleetError::not_found(format!("there is no distribution {id}")))
    }

    /// Whether any tenant distributes content with this catalogue.
    pub fn distributes(&self, catalogue: &[u8; 32]) -> bool {
        let model = self.model();
        let all = model.distributions.iter().filter_map(|((_, id), stored)| shown(*id, &stored.record));
        all.into_iter().any(|distribution| distribution.manifest.catalogue == *catalogue)
    }

    /// Signs an object and distributes it; one of the same name for the same group is distributed no more.
    ///
    /// # Errors
    /// `Invalid`, `NotFound` group, `Conflict` when it is no newer than one that had its name or nobody would bring it,
    /// `Limit`, `Unavailable`.
    pub async fn distribute(&self, by: &Caller, new: &NewDistribution) -> Result<Distribution, FleetError> {
        let key = self.distribution_key()?;
        self.commit_anew(|| self.distributed(by, new, key)).await?;
        let is_it = |other: &Distribution| other.manifest.name == new.name && other.group == new.group;
        let made = self.distributions(by.tenant).into_iter().find(is_it);
        made.ok_or_else(|| FleetError::new(Kind::Conflict, "somebody else has taken it back already"))
    }

    fn distributed(
        &self,
        by: &Caller,
        new: &NewDistribution,
        key: &DistributionKey,
    ) -> Result<Change, FleetError> {
        let (name, now) = (names::checked(&new.name)?, SystemTime::now());
        let group = self.group(by.tenant, &new.group.to_string())?;
        let model = self.model();
        if !model.is_served(by.tenant, group.id) {
            let message = format!("no distribution point serves {}: klctl dp assign", group.path);
            return Err(FleetError::new(Kind::Conflict, message));
        }
        let newest = model.versions.get(&(by.tenant, name.to_owned()));
        let version = version(new.version, newest, now)?;
        let manifest = Manifest {
            name: name.to_owned(),
            version,
            issued: seconds(now),
            expires: 0,
            audience: *group.id.as_bytes(),
            length: new.length,
            catalogue_length: u32::try_from(new.catalogue.len()).unwrap_or(u32::MAX),
            catalogue: Catalogue::hash(&new.catalogue),
            block_log2: BLOCK_LOG2_MOST,
        };
        let signed = key.sign_manifest(&manifest);
        let signed = signed.ok_or_else(|| FleetError::invalid("no device would take such an object"))?;
        let id = distribution_id(&signed);
        let ours = of_tenant(&model, by.tenant);
        let (replaced, others): (Vec<_>, Vec<_>) =
            ours.into_iter().partition(|other| other.manifest.name == name && other.group == group.id);
        if others.len() >= OBJECTS_LIMIT {
            return Err(FleetError::new(
                Kind::Limit,
                format!("at most {OBJECTS_LIMIT} distributions at once"),
            ));
        }
        let record = DistributionRecord {
            group: group.id.to_vec(),
            manifest: Some(signed),
            created: seconds(now),
            created_by: by.name.clone(),
        };
        let version_key = keys::object_version(by.tenant, name);
        let unchanged = newest.map_or_else(
            || Guard::Absent(version_key.clone()),
            |newest| Guard::ModRev(version_key.clone(), newest.rev),
        );
        let change = Change::new(by.tenant, &by.name, "distribution.add", name)
            .detail("group", &group.path)
            .detail("version", version)
            .detail("bytes", new.length)
            .guard(unchanged)
            .guard(Guard::Present(keys::group(by.tenant, group.id)))
            .put(version_key, &VersionRecord { version })
            .put(keys::distribution(by.tenant, id), &record);
        let withdrawn =
            |change: Change, old: &Distribution| change.delete(keys::distribution(by.tenant, old.id));
        Ok(replaced.iter().fold(change, withdrawn))
    }

    /// Distributes an object no more; devices that have it keep it.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn withdraw(&self, by: &Caller, id: DistributionId) -> Result<(), FleetError> {
        let distribution = self.distribution(by.tenant, id)?;
        let key = keys::distribution(by.tenant, id);
        let change = Change::new(by.tenant, &by.name, "distribution.remove", &distribution.manifest.name)
            .detail("version", distribution.manifest.version)
            .guard(Guard::Present(key.clone()))
            .delete(key);
        self.commit(change).await.map(drop)
    }

    /// The devices that are to have what is distributed to a group, by name.
    pub fn audience(&self, tenant: TenantId, group: GroupId) -> Vec<Device> {
        let devices = self.devices(tenant);
        let model = self.model();
        let is_in =
            |device: &Device| device.revoked.is_none() && model.chain(tenant, device.group).contains(&group);
        devices.into_iter().filter(is_in).collect()
    }

    /// Whether a device is a distribution point that is to bring content with this catalogue.
    pub fn sends(&self, tenant: TenantId, device: DeviceId, catalogue: &[u8; 32]) -> bool {
        let model = self.model();
        let Some(point) = model.points.get(&(tenant, device)) else { return false };
        let mut ours = of_tenant(&model, tenant).into_iter();
        ours.any(|object| {
            object.manifest.catalogue == *catalogue && model.brings(tenant, &point.record, object.group)
        })
    }

    /// What signs for distribution.
    ///
    /// # Errors
    /// `Unavailable` in a fabric of an earlier version.
    pub fn distribution_key(&self) -> Result<&DistributionKey, FleetError> {
        let none =
            "this fabric is of an earlier version and has no key for distribution: klserver rotate-root";
        self.fabric.distribution().ok_or_else(|| FleetError::new(Kind::Unavailable, none))
    }
}

impl Model {
    /// Whether a distribution point brings what is for `group`: to some of its devices, or to all.
    pub(super) fn brings(&self, tenant: TenantId, point: &PointRecord, group: GroupId) -> bool {
        let Ok(served) = GroupId::try_from(point.group.as_slice()) else { return false };
        self.chain(tenant, served).contains(&group) || self.chain(tenant, group).contains(&served)
    }

    /// Whether any device of a group, or of one below it, may have a distribution point.
    fn is_served(&self, tenant: TenantId, group: GroupId) -> bool {
        let below = |point: GroupId| self.chain(tenant, point).contains(&group);
        let mut points = self.points.iter().filter(|((of, _), _)| *of == tenant);
        self.nearest_point(tenant, group).is_some()
            || points.any(|(_, point)| GroupId::try_from(point.record.group.as_slice()).is_ok_and(below))
    }
}

/// The id of an object's distribution.
fn distribution_id(signed: &Signed) -> DistributionId {
    let object = object_id(signed);
    DistributionId::new(*object.0.first_chunk().expect("an object's id has 32 bytes"))
}

fn version(
    asked: Option<u64>,
    newest: Option<&Stored<VersionRecord>>,
    now: SystemTime,
) -> Result<u64, FleetError> {
    let newest = newest.map_or(0, |stored| stored.record.version);
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let clock = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    // A clock that was set back keeps nobody from the next version.
    let version = asked.unwrap_or_else(|| clock.max(newest.saturating_add(1)));
    match version > newest {
        true => Ok(version),
        false => Err(FleetError::new(Kind::Conflict, format!("there was a version {newest} of it already"))),
    }
}

/// Every distribution of a tenant, the oldest first.
pub(super) fn of_tenant(model: &Model, tenant: TenantId) -> Vec<Distribution> {
    let ours = model.distributions.iter().filter(|((of, _), _)| *of == tenant);
    let mut found: Vec<_> = ours.filter_map(|((_, id), stored)| shown(*id, &stored.record)).collect();
    found.sort_by_key(|distribution| (distribution.created, distribution.id));
    found
}

fn shown(id: DistributionId, record: &DistributionRecord) -> Option<Distribution> {
    let signed = record.manifest.clone()?;
    Some(Distribution {
        id,
        group: GroupId::try_from(record.group.as_slice()).ok()?,
        manifest: Manifest::decode(&signed.bytes).ok()?,
        signed,
        created: time(record.created).unwrap_or(SystemTime::UNIX_EPOCH),
        created_by: record.created_by.clone(),
    })
}
