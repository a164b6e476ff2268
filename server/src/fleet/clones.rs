//! Clones: devices that come with the identity of one that is connected and answers, because its disk was copied. A clone is
//! shown, and an operator may let it have an identity of its own: the next time it comes it is given a token of one use.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use klnet_wire::id::{DeviceId, TenantId};

use super::operators::Caller;
use super::record::{CloneRecord, DeviceRecord, TokenRecord};
use super::secret::Secret;
use super::{Change, Fleet, FleetError, Stored, keys, names};
use crate::store::Guard;
use crate::unix::{seconds, time};

/// A device that came with another's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clone {
    /// When it came last, to within an hour.
    pub at: SystemTime,
    /// The address it came from.
    pub address: String,
    /// The host name it told.
    pub machine: String,
    /// Until when it is given an identity of its own if it comes again.
    pub approved_until: Option<SystemTime>,
}

impl Fleet {
    /// A clone came. Stored at most once an hour: it comes again.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`, `Unavailable`.
    pub async fn cloned(
        &self,
        tenant: TenantId,
        device: DeviceId,
        from: SocketAddr,
        machine: &str,
    ) -> Result<(), FleetError> {
        let Stored { record, rev } = self.stored_device(tenant, device)?;
        let came = CloneRecord {
            at: seconds(SystemTime::now()),
            address: from.ip().to_string(),
            machine: names::told(machine),
            ..CloneRecord::default()
        };
        let known = record.clone.as_ref().filter(|known| is_same(known, &came));
        if known.is_some_and(|known| came.at.saturating_sub(known.at) < STORED_EACH) {
            return Ok(());
        }
        let key = keys::device(tenant, device);
        let change = Change::new(tenant, &format!("device {}", record.name), "device.clone", &record.name)
            .detail("device", device)
            .detail("from", &came.address)
            .detail("machine", &came.machine)
            .guard(Guard::ModRev(key.clone(), rev))
            .put(key, &DeviceRecord { clone: Some(came), ..record });
        self.commit(change).await.map(drop)
    }

    /// Lets the clone that came last have an identity of its own when it comes again within a day.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` when the device has no clone, `Conflict`, `Unavailable`.
    pub async fn approve_clone(&self, by: &Caller, device: DeviceId) -> Result<(), FleetError> {
        let Stored { record, rev } = self.stored_device(by.tenant, device)?;
        let clone =
            record.clone.clone().ok_or_else(|| FleetError::invalid("no clone of this device came"))?;
        let clone = CloneRecord {
            approved_until: seconds(SystemTime::now() + APPROVED_FOR),
            approved_by: by.name.clone(),
            ..clone
        };
        let key = keys::device(by.tenant, device);
        let change = Change::new(by.tenant, &by.name, "device.clone-approve", &record.name)
            .detail("device", device)
            .detail("from", &clone.address)
            .detail("machine", &clone.machine)
            .guard(Guard::ModRev(key.clone(), rev))
            .put(key, &DeviceRecord { clone: Some(clone), ..record });
        self.commit(change).await.map(drop)
    }

    /// The token of one use for the clone that comes from there, if an operator approved of it; that is done with then.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`, `Unavailable`.
    pub async fn token_for_clone(
        &self,
        tenant: TenantId,
        device: DeviceId,
        from: SocketAddr,
        machine: &str,
    ) -> Result<Option<String>, FleetError> {
        let Stored { record, rev } = self.stored_device(tenant, device)?;
        let now = SystemTime::now();
        let came = CloneRecord {
            address: from.ip().to_string(),
            machine: names::told(machine),
            ..CloneRecord::default()
        };
        let approved = record.clone.as_ref();
        let approved = approved.filter(|clone| clone.approved_until > seconds(now) && is_same(clone, &came));
        let Some(clone) = approved.cloned() else { return Ok(None) };
        let (secret, key) = (Secret::random(), keys::device(tenant, device));
        let token = TokenRecord {
            group: record.group.clone(),
            uses_left: 1,
            expires: seconds(now + TOKEN_LIFE),
            created_by: clone.approved_by.clone(),
        };
        let change =
            Change::new(tenant, &format!("device {}", record.name), "device.clone-token", &record.name)
                .detail("device", device)
                .detail("from", &clone.address)
                .detail("machine", &clone.machine)
                .detail("approved by", &clone.approved_by)
                .guard(Guard::ModRev(key.clone(), rev))
                .put(keys::token(tenant, &secret.hash_hex()), &token)
                .put(
                    key,
                    &DeviceRecord { clone: Some(CloneRecord { approved_until: 0, ..clone }), ..record },
                );
        self.commit(change).await?;
        Ok(Some(secret.print()))
    }
}

impl Clone {
    pub(super) fn of(record: &DeviceRecord) -> Option<Self> {
        let CloneRecord { at, address, machine, approved_until, .. } = record.clone.clone()?;
        Some(Self { at: time(at)?, address, machine, approved_until: time(approved_until) })
    }
}

fn is_same(clone: &CloneRecord, other: &CloneRecord) -> bool {
    (&clone.address, &clone.machine) == (&other.address, &other.machine)
}

/// How often the same clone is stored, in seconds.
const STORED_EACH: u64 = 3600;
/// How long an operator's approval is good.
const APPROVED_FOR: Duration = Duration::from_secs(86_400);
/// How long the clone may take to use its token: it does so at once.
const TOKEN_LIFE: Duration = Duration::from_secs(600);
