//! What the fleet knows for revocation lists: serial numbers of the revoked, and the number of the last list.

use std::time::SystemTime;

use prost::Message;

use super::record::{ListRecord, Pending};
use super::{Fleet, FleetError, keys};
use crate::store::{Guard, Op, OpId, Read};
use crate::unix::seconds;

impl Fleet {
    /// Serial numbers of everyone who was revoked, and when.
    pub fn revoked_serials(&self) -> Vec<(Vec<u8>, u64)> {
        let model = self.model();
        let devices = model.devices.values().map(|stored| &stored.record);
        let devices = devices.map(|record| (record.revoked, &record.serial, record.pending.as_ref()));
        let operators = model.operators.values().map(|stored| &stored.record);
        let operators = operators.map(|record| (record.revoked, &record.serial, record.pending.as_ref()));
        let revoked = devices.chain(operators).filter(|(revoked, ..)| *revoked != 0);
        let serials = revoked.flat_map(|(at, serial, pending)| {
            let pending = pending.map(|Pending { serial, .. }| serial);
            [Some(serial), pending].into_iter().flatten().map(move |serial| (serial.clone(), at))
        });
        serials.filter(|(serial, _)| !serial.is_empty()).collect()
    }

    /// A number for the next list: above every number before it, and not below the time, so that a store that was
    /// restored does not repeat one.
    ///
    /// # Errors
    /// `Conflict` or `Unavailable` when it is not stored.
    pub async fn next_list_number(&self, now: SystemTime) -> Result<u64, FleetError> {
        let key = keys::list(self.fabric.tenant());
        let (stored, _) = self.store.get(&key, Read::Linearizable).await?;
        let last = stored.as_ref().and_then(|entry| ListRecord::decode(entry.value.clone()).ok());
        let number = last.map_or(0, |last| last.number.saturating_add(1)).max(seconds(now));
        let guard = match stored {
            Some(entry) => Guard::ModRev(key.clone(), entry.mod_rev),
            None => Guard::Absent(key.clone()),
        };
        let put = Op::put(key, ListRecord { number }.encode_to_vec());
        self.store.commit(OpId::random(), vec![guard], vec![put]).await?;
        Ok(number)
    }
}
