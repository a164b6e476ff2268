//! Clones: devices that come with the identity of one that is connected and answers, because its disk was copied. A clone is
//! shown, and an operator may let it have an identity of its own: the next time it comes it is given a token of one use.
//!
//! Whoever stole a disk comes as a clone too. So an operator approves of one address, not of whoever comes next, and while
//! an approval is open no other clone takes the place of the one that has it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use klnet_wire::id::{DeviceId, TenantId};

use super::operators::Caller;
use super::record::{CloneRecord, TokenRecord};
use super::secret::Secret;
use super::{Change, Fleet, FleetError, Kind, Stored, keys, names};
use crate::store::Guard;
use crate::unix::{seconds, time};

/// A device that came with another's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clone {
    /// When it came, to within an hour.
    pub at: SystemTime,
    /// The address it came from.
    pub address: String,
    /// The host name it told.
    pub machine: String,
    /// Until when it is given an identity of its own if it comes again.
    pub approved_until: Option<SystemTime>,
}

impl Clone {
    pub(super) fn shown(record: &CloneRecord) -> Option<Self> {
        let (address, machine) = (record.address.clone(), record.machine.clone());
        let approved_until = time(record.approved_until);
        Some(Self { at: time(record.at)?, address, machine, approved_until })
    }
}

impl Fleet {
    /// A clone came. Stored at most once an hour, whatever it says.
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
        let (name, now) = (self.stored_device(tenant, device)?.record.name, seconds(SystemTime::now()));
        let known = self.stored_clone(tenant, device);
        let fresh =
            |clone: &CloneRecord| now.saturating_sub(clone.at) < STORED_EACH || clone.approved_until > now;
        if known.as_ref().is_some_and(|known| fresh(&known.record)) {
            return Ok(());
        }
        let (address, machine) = (from.ip().to_string(), names::told(machine));
        let came = CloneRecord { at: now, address, machine, ..CloneRecord::default() };
        let change = Change::new(tenant, &format!("device {name}"), "device.clone", &name)
            .detail("device", device)
            .detail("from", &came.address)
            .detail("machine", &came.machine)
            .guard(unchanged(tenant, device, known.as_ref()))
            .put(keys::clone(tenant, device), &came);
        self.commit(change).await.map(drop)
    }

    /// Lets the clone that is shown, if it is the one from this address, have an identity of its own when it comes again
    /// within a day.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` when the device has no clone, `Conflict` when it is one from elsewhere, `Unavailable`.
    pub async fn approve_clone(
        &self,
        by: &Caller,
        device: DeviceId,
        address: IpAddr,
    ) -> Result<(), FleetError> {
        let approved = || {
            let name = self.stored_device(by.tenant, device)?.record.name;
            let known = self.stored_clone(by.tenant, device);
            let clone = known.as_ref().map(|known| known.record.clone());
            let clone = clone.ok_or_else(|| FleetError::invalid("no clone of this device came"))?;
            if clone.address != address.to_string() {
                let message = format!("the clone that came is {} at {}", clone.machine, clone.address);
                return Err(FleetError::new(Kind::Conflict, message));
            }
            let approved_until = seconds(SystemTime::now() + APPROVED_FOR);
            let clone = CloneRecord { approved_until, approved_by: by.name.clone(), ..clone };
            Ok(Change::new(by.tenant, &by.name, "device.clone-approve", &name)
                .detail("device", device)
                .detail("from", &clone.address)
                .detail("machine", &clone.machine)
                .guard(unchanged(by.tenant, device, known.as_ref()))
                .put(keys::clone(by.tenant, device), &clone))
        };
        self.commit_anew(approved).await
    }

    /// The token of one use for the clone that comes from there, if an operator approved of it; that is done with then. If
    /// the clone never gets it, the operator approves again.
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
        let (record, now) = (self.stored_device(tenant, device)?.record, SystemTime::now());
        let known = self.stored_clone(tenant, device);
        let is_approved = |clone: &CloneRecord| {
            let comes = (from.ip().to_string(), names::told(machine));
            clone.approved_until > seconds(now) && (&clone.address, &clone.machine) == (&comes.0, &comes.1)
        };
        let clone = known.as_ref().map(|known| known.record.clone()).filter(is_approved);
        let Some(clone) = clone else { return Ok(None) };
        let (secret, expires) = (Secret::random(), seconds(now + TOKEN_LIFE));
        let created_by = clone.approved_by.clone();
        let token = TokenRecord { group: record.group, uses_left: 1, expires, created_by };
        let change =
            Change::new(tenant, &format!("device {}", record.name), "device.clone-token", &record.name)
                .detail("device", device)
                .detail("from", &clone.address)
                .detail("machine", &clone.machine)
                .detail("approved by", &clone.approved_by)
                .guard(unchanged(tenant, device, known.as_ref()))
                .put(keys::token(tenant, &secret.hash_hex()), &token)
                .put(keys::clone(tenant, device), &CloneRecord { approved_until: 0, ..clone });
        self.commit(change).await?;
        Ok(Some(secret.print()))
    }

    fn stored_clone(&self, tenant: TenantId, device: DeviceId) -> Option<Stored<CloneRecord>> {
        self.model().clones.get(&(tenant, device)).cloned()
    }
}

/// Holds while the clone is the one that is known.
fn unchanged(tenant: TenantId, device: DeviceId, known: Option<&Stored<CloneRecord>>) -> Guard {
    let key = keys::clone(tenant, device);
    known.map_or_else(|| Guard::Absent(key.clone()), |known| Guard::ModRev(key.clone(), known.rev))
}

/// How often a clone is stored, in seconds.
const STORED_EACH: u64 = 3600;
/// How long an operator's approval is good.
const APPROVED_FOR: Duration = Duration::from_secs(86_400);
/// How long the clone may take to use its token: it does so at once.
const TOKEN_LIFE: Duration = Duration::from_secs(600);
