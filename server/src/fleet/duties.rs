//! What each device is to do about distribution, out of the model.

use bytes::Bytes;
use klnet_multicast::id::ReceiverId;
use klnet_wire::duties::{Duties, Object, Point, Source};
use klnet_wire::id::{DeviceId, GroupId, TenantId};
use klnet_wire::message::PointState;

use super::distributions::of_tenant;
use super::record::PointRecord;
use super::{Distribution, Fleet, Model};
use crate::fabric::{DistributionKey, Epoch};

impl Fleet {
    /// What a device is to do; `where_is` says what a distribution point has told of itself. `None` for a device that is
    /// not known or revoked, and in a fabric without a key for it.
    pub fn duties(
        &self,
        tenant: TenantId,
        device: DeviceId,
        where_is: impl Fn(DeviceId) -> Option<PointState>,
    ) -> Option<Duties> {
        let key = self.fabric.distribution()?;
        let model = self.model();
        let record = model.device(tenant, device).filter(|known| !known.is_revoked())?.record();
        let chain = model.chain(tenant, GroupId::try_from(record.group.as_slice()).ok()?);
        let own = model.points.get(&(tenant, device)).map(|stored| &stored.record);
        let nearest = chain.first().and_then(|group| model.nearest_point(tenant, *group));
        // What it sends it has itself.
        let by = nearest.map(|(point, _)| point);
        let source = nearest.filter(|(point, _)| *point != device);
        let source = source.and_then(|(point, record)| {
            let told = where_is(point)?;
            model.source(key, (tenant, device), (point, record), told)
        });
        let objects = of_tenant(&model, tenant).into_iter();
        Some(Duties {
            device: id(device.as_bytes()),
            audiences: chain.iter().map(|group| id(group.as_bytes())).collect(),
            objects: objects
                .filter_map(|object| model.object((tenant, device), object, &chain, own, by))
                .collect(),
            source,
            point: own.and_then(|record| model.own_point(key, (tenant, device), record)),
            ksn: model.ksn.get(&(tenant, device)).and_then(|stored| stored.record.proxy.clone()),
            polling: model.pollings.get(&(tenant, device)).and_then(|stored| stored.record.polling.clone()),
        })
    }
}

impl Model {
    fn source(
        &self,
        key: &DistributionKey,
        (tenant, device): (TenantId, DeviceId),
        (point, record): (DeviceId, &PointRecord),
        told: PointState,
    ) -> Option<Source> {
        let epoch = self.epoch(tenant, point)?;
        let receiver = key.feedback(epoch).receiver(ReceiverId::new(*device.as_bytes()));
        Some(Source {
            device: id(point.as_bytes()),
            group: record.number,
            epoch: epoch.number,
            secret: Bytes::copy_from_slice(key.shared(epoch).as_bytes()),
            key: Bytes::copy_from_slice(receiver.as_bytes()),
            announcer: told.announcer,
            addresses: told.addresses,
            port: told.port,
        })
    }

    fn own_point(
        &self,
        key: &DistributionKey,
        (tenant, device): (TenantId, DeviceId),
        record: &PointRecord,
    ) -> Option<Point> {
        let epoch = self.epoch(tenant, device)?;
        Some(Point {
            group: record.number,
            epoch: epoch.number,
            secret: Bytes::copy_from_slice(key.shared(epoch).as_bytes()),
            feedback: Bytes::copy_from_slice(key.feedback(epoch).as_bytes()),
            rate: record.rate,
        })
    }

    fn epoch(&self, tenant: TenantId, point: DeviceId) -> Option<Epoch<'_>> {
        let record = &self.epochs.get(&(tenant, point))?.record;
        Some(Epoch { point, number: record.number, salt: &record.salt })
    }

    /// An object, if the device is to send it, or to have it from the distribution point `by`.
    fn object(
        &self,
        (tenant, device): (TenantId, DeviceId),
        object: Distribution,
        chain: &[GroupId],
        own: Option<&PointRecord>,
        by: Option<DeviceId>,
    ) -> Option<Object> {
        let send = own.is_some_and(|own| self.brings(tenant, own, object.group));
        if !send && !chain.contains(&object.group) {
            return None;
        }
        let by = if send { Some(device) } else { by };
        let unicast = by.is_some_and(|point| self.has_few(tenant, point, object.group));
        Some(Object { manifest: Some(object.signed), send, unicast })
    }

    /// Whether at most [`FEW`] devices receive from a point what is for `group`.
    fn has_few(&self, tenant: TenantId, point: DeviceId, group: GroupId) -> bool {
        let Some(stored) = self.points.get(&(tenant, point)) else { return false };
        let Ok(served) = GroupId::try_from(stored.record.group.as_slice()) else { return false };
        let own = self.device(tenant, point).map(|own| own.record().group());
        let count = |of: GroupId| self.members(tenant, of).saturating_sub(usize::from(own == Some(of)));
        let receives = |of: GroupId| {
            let chain = self.chain(tenant, of);
            let is_meant = chain.contains(&served) && chain.contains(&group);
            is_meant && self.nearest_point(tenant, of).is_some_and(|(nearest, _)| nearest == point)
        };
        let groups = self.groups.keys().filter(|(of, _)| *of == tenant).map(|(_, group)| *group);
        let mut all = 0;
        // Ends with the first that is one too many: this is asked for each device.
        !groups.filter(|of| count(*of) > 0 && receives(*of)).any(|of| {
            all += count(of);
            all > FEW
        })
    }
}

fn id(bytes: &[u8; 16]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// Multicast begins with announcements and ends with silence, and for two receivers saves one copy at most.
const FEW: usize = 2;
