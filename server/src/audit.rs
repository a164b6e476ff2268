//! The audit log: who did what, newest first, with what relay and agent each recorded of a tunnel's end reconciled.

use std::collections::BTreeMap;
use std::time::SystemTime;

use klnet_wire::id::TenantId;
use prost::Message;

use crate::fleet::record::{AuditRecord, TunnelEnd};
use crate::fleet::{Change, Fleet, FleetError, keys};
use crate::store::Read;
use crate::unix::time;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Rises from entry to entry.
    pub number: u64,
    /// When.
    pub at: SystemTime,
    /// Who.
    pub actor: String,
    /// What was done, `noun.verb`.
    pub action: String,
    /// To what.
    pub subject: String,
    /// Anything else worth knowing.
    pub detail: BTreeMap<String, String>,
}

impl Fleet {
    /// Up to `limit` entries before the one numbered `before`, newest first.
    ///
    /// # Errors
    /// `Unavailable` when the store cannot be read.
    pub async fn audit(
        &self,
        tenant: TenantId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, FleetError> {
        let after = before.map(|number| keys::audit(tenant, number));
        let limit = limit.clamp(1, LIMIT);
        let page = self.store().scan(&keys::audits(tenant), after.as_ref(), limit, None).await?;
        let mut entries = Vec::with_capacity(page.entries.len());
        for (_, entry) in page.entries {
            let Ok(record) = AuditRecord::decode(entry.value) else { continue };
            entries.push(self.reconciled(tenant, record).await?);
        }
        Ok(entries)
    }

    /// Writes an entry for something that changed nothing else, such as a refusal.
    ///
    /// # Errors
    /// `Unavailable` when it could not be stored.
    pub async fn note(&self, change: Change) -> Result<(), FleetError> {
        self.commit(change).await.map(drop)
    }

    /// Says of a tunnel's record whether the other part's has arrived too.
    async fn reconciled(&self, tenant: TenantId, record: AuditRecord) -> Result<AuditEntry, FleetError> {
        let AuditRecord { number, at, actor, action, subject, mut detail } = record;
        if let Some(cookie) = detail.get(COOKIE).filter(|_| action == CLOSED) {
            let (end, _) = self.store().get(&keys::tunnel(tenant, cookie), Read::Linearizable).await?;
            let end = end.and_then(|entry| TunnelEnd::decode(entry.value).ok()).unwrap_or_default();
            let confirmed = match (end.relay, end.agent) {
                (true, true) => "yes",
                (true, false) => "unconfirmed: no record by the agent",
                _ => "unconfirmed: no record by the relay",
            };
            detail.insert("confirmed".into(), confirmed.into());
        }
        let at = time(at).unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(AuditEntry { number, at, actor, action, subject, detail })
    }
}

/// The action of a tunnel connection's end, recorded by relay and agent each.
pub const CLOSED: &str = "tunnel.closed";
/// The detail that names the connection.
pub const COOKIE: &str = "cookie";
/// Most entries given at once.
pub const LIMIT: u32 = 1000;
