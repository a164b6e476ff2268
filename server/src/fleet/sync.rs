//! The id that a device and its server exchange when the device's agent starts, and both store: a device that comes with
//! another one than the last has an older disk than it had, or is a copy.
//!
//! ```text
//! agent:  (last A, next B) ── HELLO A, B ──▶ server: stored A → in order, stores B    B → WELCOME was lost, in order
//!         (last B, next C) ◀── WELCOME B ──          anything else → set back, stores B
//! ```
//! The agent draws the next id before it says it and stores both, so that a crash anywhere leaves two that agree.

use std::time::SystemTime;

use klnet_wire::message::Hello;
use prost::Message;

use super::record::{DeviceRecord, SyncRecord};
use super::{Change, Device, Fleet, FleetError, Stored, keys};
use crate::store::{Guard, Op, OpId, Read};
use crate::unix::seconds;

/// What a device's ids say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synced {
    /// Its state is the one it had.
    InOrder,
    /// Its disk was set back to an older state, or is a copy of such a one.
    SetBack,
}

impl Fleet {
    /// Stores the id that the device draws, and judges the one that it had; the device may store it too once this is done.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`, `Unavailable`: nothing is stored, and WELCOME must not name the id.
    pub async fn synchronise(&self, device: &Device, hello: &Hello) -> Result<Synced, FleetError> {
        let key = keys::sync(device.tenant, device.id);
        let (entry, _) = self.store.get(&key, Read::Linearizable).await?;
        let stored = entry.as_ref().and_then(|entry| SyncRecord::decode(entry.value.clone()).ok());
        // A store made of a backup knows older ids than its devices.
        let stored = stored.filter(|stored| stored.incarnation == self.incarnation());
        let next = SyncRecord { id: hello.sync.clone(), incarnation: self.incarnation() };
        match stored {
            Some(SyncRecord { id, .. }) if id == hello.sync => return Ok(Synced::InOrder),
            Some(SyncRecord { id, .. }) if id != hello.last_sync => {
                return self.set_back(device, next).await.map(|()| Synced::SetBack);
            }
            _ => {}
        }
        let put = Op::put(key, next.encode_to_vec());
        self.store.commit(OpId::random(), Vec::new(), vec![put]).await?;
        Ok(Synced::InOrder)
    }

    async fn set_back(&self, device: &Device, next: SyncRecord) -> Result<(), FleetError> {
        let Stored { record, rev } = self.stored_device(device.tenant, device.id)?;
        let key = keys::device(device.tenant, device.id);
        let who = format!("device {}", record.name);
        let change = Change::new(device.tenant, &who, "device.set-back", &record.name)
            .detail("device", device.id)
            .guard(Guard::ModRev(key.clone(), rev))
            .put(keys::sync(device.tenant, device.id), &next)
            .put(key, &DeviceRecord { set_back: seconds(SystemTime::now()), ..record });
        self.commit(change).await.map(drop)
    }

    fn incarnation(&self) -> Vec<u8> {
        self.store.incarnation().0.to_vec()
    }
}

/// The id in HELLO, if there is one: only an agent's first session has it.
pub fn is_asked(hello: &Hello) -> bool {
    hello.sync.len() == ID_LEN && matches!(hello.last_sync.len(), 0 | ID_LEN)
}

/// In bytes.
const ID_LEN: usize = 16;
