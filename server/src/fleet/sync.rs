//! The id that a device and its server exchange when the device's agent starts, and both store: a device that comes with
//! another one than the last has an older disk than it had, or is a copy.
//!
//! ```text
//! agent:  (last A, next B) ── HELLO A, B ──▶ server: stored A → in order, stores B    B → WELCOME was lost, in order
//!         (last B, next C) ◀── WELCOME B ──          anything else → set back, stores B
//! ```
//! The agent draws the next id before it says it and stores both, so that a crash anywhere leaves two that agree.

use std::net::SocketAddr;
use std::time::SystemTime;

use klnet_wire::id::{DeviceId, TenantId};
use klnet_wire::message::Hello;
use klnet_wire::message::sighting::ADDRESSES_LIMIT;
use prost::Message;

use super::record::{CardsRecord, SetBackRecord, SyncRecord};
use super::{Change, Device, Fleet, FleetError, keys};
use crate::store::{Op, OpId, Read};
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
    pub async fn synchronise(
        &self,
        device: &Device,
        hello: &Hello,
        from: SocketAddr,
    ) -> Result<Synced, FleetError> {
        let key = keys::sync(device.tenant, device.id);
        let (entry, _) = self.store.get(&key, Read::Linearizable).await?;
        let stored = entry.as_ref().and_then(|entry| SyncRecord::decode(entry.value.clone()).ok());
        // A store made of a backup knows older ids than its devices.
        let stored = stored.filter(|stored| stored.incarnation == self.incarnation());
        let next = SyncRecord { id: hello.sync.clone(), incarnation: self.incarnation() };
        let synced = match stored {
            Some(SyncRecord { id, .. }) if id == hello.sync => return Ok(Synced::InOrder),
            Some(SyncRecord { id, .. }) if id != hello.last_sync => Synced::SetBack,
            _ => Synced::InOrder,
        };
        if synced == Synced::SetBack {
            self.set_back(device.tenant, device.id, "id", from).await?;
        }
        let put = Op::put(key, next.encode_to_vec());
        let cards =
            cards(hello).map(|cards| Op::put(keys::cards(device.tenant, device.id), cards.encode_to_vec()));
        self.store.commit(OpId::random(), Vec::new(), [put].into_iter().chain(cards).collect()).await?;
        Ok(synced)
    }

    /// A device showed an older state than it has stored: another id, or (`sign`) a certificate that was replaced. Told at
    /// most once an hour, whatever it shows.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`, `Unavailable`.
    pub async fn set_back(
        &self,
        tenant: TenantId,
        device: DeviceId,
        sign: &str,
        from: SocketAddr,
    ) -> Result<(), FleetError> {
        let (name, now) = (self.stored_device(tenant, device)?.record.name, seconds(SystemTime::now()));
        let told = self.model().set_backs.get(&(tenant, device)).map_or(0, |stored| stored.record.at);
        if now.saturating_sub(told) < TOLD_EACH {
            return Ok(());
        }
        let change = Change::new(tenant, &format!("device {name}"), "device.set-back", &name)
            .detail("device", device)
            .detail("sign", sign)
            .detail("from", from.ip())
            .put(keys::set_back(tenant, device), &SetBackRecord { at: now });
        self.commit(change).await.map(drop)
    }

    fn incarnation(&self) -> Vec<u8> {
        self.store.incarnation().0.to_vec()
    }
}

/// What HELLO says of the device's network cards, bounded.
fn cards(hello: &Hello) -> Option<CardsRecord> {
    let macs = hello.macs.iter().filter(|mac| mac.len() == 6).take(ADDRESSES_LIMIT).cloned();
    let macs: Vec<_> = macs.collect();
    (!macs.is_empty()).then_some(CardsRecord { macs })
}

/// The id in HELLO, if there is one: only an agent's first session has it.
pub fn is_asked(hello: &Hello) -> bool {
    hello.sync.len() == ID_LEN && matches!(hello.last_sync.len(), 0 | ID_LEN)
}

/// In bytes.
const ID_LEN: usize = 16;
/// How often a disk that was set back is told, in seconds.
const TOLD_EACH: u64 = 3600;
