//! What the fleet knows for revocation lists: serial numbers of the revoked, and the number of the last list.

use std::time::{Duration, SystemTime};

use klnet_wire::identity::authority::{AGENT_LIFE, OPERATOR_LIFE, issued_at};
use prost::Message;

use super::record::ListRecord;
use super::{Fleet, FleetError, Stored, keys};
use crate::store::{Guard, Op, OpId, Read};
use crate::unix::seconds;

impl Fleet {
    /// Serial numbers of everyone who was revoked whose certificate may still be good, and when they were.
    pub fn revoked_serials(&self, now: SystemTime) -> Vec<(Vec<u8>, u64)> {
        let model = self.model();
        let mut serials = Vec::new();
        let mut revoked = |at: u64, life: Duration, of: &mut dyn Iterator<Item = &Vec<u8>>| {
            let ends = |serial: &[u8]| issued_at(serial).saturating_add(life.as_secs());
            let good = of.filter(|serial| at != 0 && !serial.is_empty() && ends(serial) >= seconds(now));
            serials.extend(good.map(|serial| (serial.clone(), at)));
        };
        for Stored { record, .. } in model.devices.values() {
            let pending = record.pending.iter().map(|pending| &pending.serial);
            let mut all = [&record.serial].into_iter().chain(pending).chain(&record.superseded);
            revoked(record.revoked, AGENT_LIFE, &mut all);
        }
        for Stored { record, .. } in model.operators.values() {
            let pending = record.pending.iter().map(|pending| &pending.serial);
            revoked(record.revoked, OPERATOR_LIFE, &mut [&record.serial].into_iter().chain(pending));
        }
        serials
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
