//! Removal of devices. What is left is a tombstone, for ever: neither a restored store nor a renewal gives the identity back.

use std::time::SystemTime;

use klnet_wire::id::DeviceId;

use super::operators::Caller;
use super::record::{DeviceRecord, Pending};
use super::{Change, Denied, Fleet, FleetError, Stored, keys};
use crate::store::Guard;
use crate::unix::seconds;

impl Fleet {
    /// Removes a device: its sessions and tunnels are cut, its certificate is worth nothing, and nothing shows it any more
    /// but the audit log.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`, `Unavailable`.
    pub async fn remove_device(&self, by: &Caller, device: DeviceId) -> Result<(), FleetError> {
        let removed = || {
            let Stored { record, rev } = self.stored_device(by.tenant, device)?;
            let key = keys::device(by.tenant, device);
            let from = record.group();
            let change = Change::new(by.tenant, &by.name, "device.remove", &record.name)
                .detail("device", device)
                .guard(Guard::ModRev(key.clone(), rev))
                .put(key, &tombstone(record, seconds(SystemTime::now())));
            let also = [keys::seen, keys::sync, keys::clone, keys::set_back, keys::cards];
            let change = also.iter().fold(change, |change, key| change.delete(key(by.tenant, device)));
            Ok(self.leaving(change, by.tenant, device, from, None))
        };
        self.commit_denial(Denied::Device(device), removed).await?;
        self.forget(device);
        Ok(())
    }
}

/// What is kept: since when the device is revoked, and the serial numbers that revocation lists name.
fn tombstone(record: DeviceRecord, now: u64) -> DeviceRecord {
    let revoked = if record.revoked == 0 { now } else { record.revoked };
    let pending = record.pending.map(|Pending { serial, .. }| Pending { serial, ..Pending::default() });
    let DeviceRecord { serial, superseded, .. } = record;
    DeviceRecord { revoked, removed: now, serial, superseded, pending, ..DeviceRecord::default() }
}
