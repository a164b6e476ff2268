//! Rotations and revoked server certificates in the audit log. They happen to files, beside a server or without one; the
//! next server that serves from those files says so.

use klnet_wire::identity::enroll::print_pin;
use prost::Message;

use super::record::FabricRecord;
use super::{Change, Fleet, FleetError, keys};
use crate::store::{Guard, Read};

impl Fleet {
    /// Writes down what became of the fabric's keys since a server last served.
    ///
    /// # Errors
    /// `Conflict`, `Unavailable`.
    pub async fn note_fabric(&self) -> Result<(), FleetError> {
        let (tenant, trust) = (self.fabric.tenant(), self.fabric.trust());
        let key = keys::fabric(tenant);
        let (entry, _) = self.store.get(&key, Read::Linearizable).await?;
        let known = entry.as_ref().and_then(|entry| FabricRecord::decode(entry.value.clone()).ok());
        let revoked = u64::try_from(self.fabric.revoked_servers().len()).unwrap_or(u64::MAX);
        let now = FabricRecord { version: trust.version(), revoked };
        if known == Some(now) || (known.is_none() && now == FabricRecord::default()) {
            return Ok(());
        }
        let before = known.unwrap_or_default();
        let action = if before.version == now.version { "server.revoke" } else { "fabric.rotate" };
        let change = Change::new(tenant, "klserver", action, "this server")
            .detail("root", print_pin(&trust.pin()))
            .detail("rotations", now.version)
            .detail("server certificates revoked", now.revoked)
            .guard(match entry {
                Some(entry) => Guard::ModRev(key.clone(), entry.mod_rev),
                None => Guard::Absent(key.clone()),
            })
            .put(key, &now);
        self.commit(change).await.map(drop)
    }
}
