//! What devices tell of objects: each device's result of each distribution.
//!
//! The model does not hold them: there may be one for each device and object, and only people read them.

use std::time::SystemTime;

use klnet_wire::id::{DeviceId, DistributionId, TenantId};
use klnet_wire::message::{Delivery, DeliveryState};
use prost::Message;

use super::record::DeliveryRecord;
use super::{Fleet, FleetError, keys, names};
use crate::store::{Key, Op, OpId, Page, Prefix, Read};
use crate::unix::{seconds, time};

/// What a device told of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The device.
    pub device: DeviceId,
    /// What it told.
    pub told: Delivery,
    /// When.
    pub at: SystemTime,
}

impl Fleet {
    /// Stores what a device told, unless that is known; says whether it was not. A device that comes back tells everything
    /// again, which costs a read.
    ///
    /// # Errors
    /// `NotFound` when there is no such distribution, `Unavailable`.
    pub async fn delivered(
        &self,
        tenant: TenantId,
        device: DeviceId,
        mut told: Delivery,
    ) -> Result<bool, FleetError> {
        let unknown = || FleetError::not_found("a device tells of an object that is not distributed");
        let id = DistributionId::try_from(&told.object[..]).map_err(|_| unknown())?;
        self.distribution(tenant, id)?;
        told.reason = names::told(&told.reason);
        let key = keys::delivery(tenant, id, device);
        let (entry, _) = self.store.get(&key, Read::Linearizable).await?;
        let known = entry.and_then(|entry| DeliveryRecord::decode(entry.value.clone()).ok());
        let is_complete = |told: &Delivery| told.state() == DeliveryState::Complete;
        let known = known.and_then(|known| known.told);
        // What is complete stays so: a device that starts anew finds it in its place.
        if known.is_some_and(|known| known == told || is_complete(&known)) {
            return Ok(false);
        }
        let record = DeliveryRecord { told: Some(told), at: seconds(SystemTime::now()) };
        let put = Op::put(key, record.encode_to_vec());
        self.store.commit(OpId::random(), Vec::new(), vec![put]).await?;
        Ok(true)
    }

    /// What every device told of an object.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn deliveries(
        &self,
        tenant: TenantId,
        id: DistributionId,
    ) -> Result<Vec<Delivered>, FleetError> {
        let mut found = Vec::new();
        self.each_delivery(&keys::deliveries_of(tenant, id), |page| {
            found.extend(page.entries.iter().filter_map(|(key, entry)| {
                let (_, device) = named(key)?;
                let record = DeliveryRecord::decode(entry.value.clone()).ok()?;
                Some(Delivered { device, told: record.told?, at: time(record.at)? })
            }));
        })
        .await?;
        Ok(found)
    }

    /// Forgets what was told of objects that are distributed no more.
    ///
    /// # Errors
    /// `Unavailable`; the next call forgets the rest.
    pub async fn forget_deliveries(&self, tenant: TenantId) -> Result<(), FleetError> {
        let mut old = Vec::new();
        self.each_delivery(&keys::deliveries(tenant), |page| {
            let gone = |key: &Key| named(key).is_none_or(|(id, _)| self.distribution(tenant, id).is_err());
            old.extend(page.entries.iter().map(|(key, _)| key.clone()).filter(gone));
        })
        .await?;
        for keys in old.chunks(self.store.limits().ops) {
            let ops = keys.iter().cloned().map(Op::delete).collect();
            self.store.commit(OpId::random(), Vec::new(), ops).await?;
        }
        Ok(())
    }

    async fn each_delivery(&self, prefix: &Prefix, mut see: impl FnMut(&Page)) -> Result<(), FleetError> {
        let (mut at, mut after) = (None, None);
        loop {
            let page = self.store.scan(prefix, after.as_ref(), PAGE, at).await?;
            see(&page);
            (at, after) = (Some(page.at), page.next);
            if after.is_none() {
                return Ok(());
            }
        }
    }
}

/// The distribution and the device that a delivery's key names.
fn named(key: &Key) -> Option<(DistributionId, DeviceId)> {
    let (_, "delivery", rest) = keys::parse(key)? else { return None };
    let (id, device) = rest.split_once('/')?;
    Some((keys::id(id)?, keys::id(device)?))
}

/// Entries read at once.
const PAGE: u32 = 1000;
