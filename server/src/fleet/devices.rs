//! Devices: finding, moving and revoking them.

use std::time::SystemTime;

use klnet_wire::id::{DeviceId, GroupId, TenantId};
use klnet_wire::identity::{Principal, Role};
use klnet_wire::signed::{PublicKey, Signed};

use super::certificate::Use;
use super::clones::Clone;
use super::operators::Caller;
use super::record::DeviceRecord;
use super::renewal::superseded;
use super::{Change, Denied, Fleet, FleetError, Model, Presence, Registered, Registry, Stored, keys};
use crate::store::Guard;
use crate::unix::{seconds, time};

/// A managed device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its identity, for ever.
    pub id: DeviceId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its host name at enrolment; not unique.
    pub name: String,
    /// Its operating system.
    pub os: String,
    /// The group it is in.
    pub group: GroupId,
    /// When it enrolled.
    pub enrolled: SystemTime,
    /// When it was revoked.
    pub revoked: Option<SystemTime>,
    /// The last device that came with its identity while it was connected itself.
    pub clone: Option<Clone>,
    /// When it last showed an older state than it had stored.
    pub set_back: Option<SystemTime>,
    /// Its connection.
    pub presence: Presence,
}

impl Fleet {
    /// How many devices there are, also offline, revoked and removed ones.
    pub fn enrolled(&self) -> usize {
        self.model().registries.values().map(Registry::count).sum()
    }

    /// Every device of a tenant, also revoked ones, by name; those that were removed are gone.
    pub fn devices(&self, tenant: TenantId) -> Vec<Device> {
        let model = self.model();
        let ours = model.devices(tenant).filter(|(_, device)| !device.is_removed());
        let mut devices: Vec<_> = ours.map(|(id, device)| self.shown(&model, tenant, id, device)).collect();
        devices.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        devices
    }

    /// The device with this id, or the only one in use with this name.
    ///
    /// # Errors
    /// `NotFound`, or `Conflict` when several devices have the name.
    pub fn device(&self, tenant: TenantId, name_or_id: &str) -> Result<Device, FleetError> {
        let unknown = || FleetError::not_found(format!("there is no device {name_or_id:?}"));
        if let Ok(id) = name_or_id.parse() {
            let model = self.model();
            let device = model.device(tenant, id).filter(|device| !device.is_removed());
            return Ok(self.shown(&model, tenant, id, device.ok_or_else(unknown)?));
        }
        let mut named = self.named(tenant, name_or_id);
        if named.len() > 1 {
            named.retain(|device| device.revoked.is_none());
        }
        match <[Device; 1]>::try_from(named) {
            Ok([device]) => Ok(device),
            Err(none) if none.is_empty() => Err(unknown()),
            Err(several) => {
                let ids: Vec<_> = several.iter().map(|device| device.id.to_string()).collect();
                let message =
                    format!("{} devices are named {name_or_id:?}: {}", several.len(), ids.join(", "));
                Err(FleetError::new(super::Kind::Conflict, message))
            }
        }
    }

    /// The device a verified certificate names, if it may connect.
    ///
    /// # Errors
    /// `Denied` when it is no device, unknown, or revoked; `Superseded` when a newer certificate is in use.
    pub fn device_of(&self, principal: &Principal) -> Result<Device, FleetError> {
        if principal.role != Role::Agent {
            return Err(FleetError::denied("this is for devices only"));
        }
        let model = self.model();
        let device = model.device(principal.tenant, principal.id());
        let device = device.ok_or_else(|| FleetError::denied("this device is not known here"))?;
        if device.is_revoked() {
            let how = if device.is_removed() { "removed" } else { "revoked" };
            return Err(FleetError::denied(format!("this device was {how}")));
        }
        self.judge(&principal.serial, "this device")?;
        let record = device.record();
        match Use::of(&principal.serial, &record.serial, record.pending.as_ref()) {
            Use::Superseded => Err(superseded(principal)),
            Use::Known | Use::First => Ok(self.shown(&model, principal.tenant, principal.id(), device)),
        }
    }

    /// Whether the device was revoked or is not known.
    pub fn is_denied(&self, tenant: TenantId, device: DeviceId) -> bool {
        let model = self.model();
        model.device(tenant, device).is_none_or(Registered::is_revoked)
    }

    /// The fabric's key set, for a device that has an older one; one that has none asks discovery.
    pub fn newer_keys(&self, version: u64) -> Option<Signed> {
        (1..self.fabric.keys().version).contains(&version).then(|| self.fabric.signed_keys().clone())
    }

    /// The device's public key.
    pub fn device_key(&self, tenant: TenantId, device: DeviceId) -> Option<PublicKey> {
        let model = self.model();
        PublicKey::try_from(model.device(tenant, device)?.record().key.as_slice()).ok()
    }

    /// Puts a device into another group.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`, `Unavailable`.
    pub async fn move_device(&self, by: &Caller, device: DeviceId, group: GroupId) -> Result<(), FleetError> {
        let moved = || {
            let Stored { record, rev } = self.stored_device(by.tenant, device)?;
            let path = self.group(by.tenant, &group.to_string())?.path;
            let key = keys::device(by.tenant, device);
            let from = record.group();
            let record = DeviceRecord { group: group.to_vec(), ..record };
            let change = Change::new(by.tenant, &by.name, "device.move", &record.name)
                .detail("device", device)
                .detail("group", path)
                .guard(Guard::ModRev(key.clone(), rev))
                .guard(Guard::Present(keys::group(by.tenant, group)))
                .put(key, &record);
            Ok(self.leaving(change, by.tenant, device, from, Some(group)))
        };
        self.commit_anew(moved).await
    }

    /// Revokes a device for ever: its sessions and tunnels are cut, its certificate is worth nothing.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` when it is revoked already, `Unavailable`.
    pub async fn revoke_device(&self, by: &Caller, device: DeviceId, reason: &str) -> Result<(), FleetError> {
        let revoked = || {
            let Stored { record, rev } = self.stored_device(by.tenant, device)?;
            if record.revoked != 0 {
                return Err(FleetError::new(super::Kind::Conflict, "the device is revoked already"));
            }
            let key = keys::device(by.tenant, device);
            let record = DeviceRecord { revoked: seconds(SystemTime::now()), ..record };
            let change = Change::new(by.tenant, &by.name, "device.revoke", &record.name)
                .detail("device", device)
                .detail("reason", super::names::told(reason))
                .guard(Guard::ModRev(key.clone(), rev))
                .put(key, &record);
            Ok(self.leaving(change, by.tenant, device, record.group(), None))
        };
        self.commit_denial(Denied::Device(device), revoked).await
    }

    /// A condition that holds while the device is as it is now: for what must not happen after a revocation.
    pub fn device_unchanged(&self, tenant: TenantId, device: DeviceId) -> Result<Guard, FleetError> {
        let rev = self.stored_device(tenant, device)?.rev;
        Ok(Guard::ModRev(keys::device(tenant, device), rev))
    }

    /// The record of a device that was not removed.
    ///
    /// # Errors
    /// `NotFound`.
    pub(super) fn stored_device(
        &self,
        tenant: TenantId,
        device: DeviceId,
    ) -> Result<Stored<DeviceRecord>, FleetError> {
        let model = self.model();
        let stored = model.device(tenant, device).filter(|device| !device.is_removed());
        let unknown = || FleetError::not_found(format!("there is no device {device}"));
        stored.map(Registered::stored).ok_or_else(unknown)
    }

    /// Every device with this name that was not removed.
    fn named(&self, tenant: TenantId, name: &str) -> Vec<Device> {
        let model = self.model();
        let named = model.devices(tenant).filter(|(_, device)| !device.is_removed() && device.name() == name);
        named.map(|(id, device)| self.shown(&model, tenant, id, device)).collect()
    }

    fn shown(&self, model: &Model, tenant: TenantId, id: DeviceId, device: &Registered) -> Device {
        let record = device.record();
        let clone = model.clones.get(&(tenant, id));
        let set_back = model.set_backs.get(&(tenant, id));
        Device {
            id,
            tenant,
            name: record.name,
            os: record.os,
            group: GroupId::try_from(record.group.as_slice()).unwrap_or(super::groups::root(tenant)),
            enrolled: time(record.enrolled).unwrap_or(SystemTime::UNIX_EPOCH),
            revoked: time(record.revoked),
            clone: clone.and_then(|stored| Clone::shown(&stored.record)),
            set_back: set_back.and_then(|stored| time(stored.record.at)),
            presence: self.presence(id, time(device.seen())),
        }
    }
}
