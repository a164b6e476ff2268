//! The audit log: who did what, newest first, with what relay and agent each recorded of a tunnel's end reconciled.

use std::collections::BTreeMap;
use std::time::SystemTime;

use klnet_wire::id::{GrantId, TenantId};
use prost::Message;

use crate::fleet::record::{AuditRecord, GrantRecord, TunnelEnd};
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
        if action == CLOSED {
            let confirmed = self.confirmed(tenant, &detail).await?;
            detail.insert("confirmed".into(), confirmed.into());
        }
        let at = time(at).unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(AuditEntry { number, at, actor, action, subject, detail })
    }

    async fn confirmed(
        &self,
        tenant: TenantId,
        detail: &BTreeMap<String, String>,
    ) -> Result<&'static str, FleetError> {
        let told = |key: &str| detail.get(key).map_or("", String::as_str);
        let (Ok(device), Ok(grant)) = (told(DEVICE).parse(), told(GRANT).parse::<GrantId>()) else {
            return Ok("unconfirmed: the entry names no connection");
        };
        let key = keys::tunnel(tenant, device, told(COOKIE));
        let (end, _) = self.store().get(&key, Read::Linearizable).await?;
        let end = end.and_then(|entry| TunnelEnd::decode(entry.value).ok()).unwrap_or_default();
        let agrees = end.grant == grant.to_vec();
        Ok(match (end.relay && agrees, end.agent && agrees) {
            (true, true) => "yes",
            (true, false) => "unconfirmed: no record by the agent",
            _ if self.was_killed(tenant, grant).await? => {
                "unconfirmed: the server was killed before it could record it"
            }
            _ => "unconfirmed: no record by the relay",
        })
    }

    /// Whether the server was killed while the grant was open.
    async fn was_killed(&self, tenant: TenantId, grant: GrantId) -> Result<bool, FleetError> {
        let (granted, _) = self.store().get(&keys::grant(tenant, grant), Read::Linearizable).await?;
        let granted = granted.and_then(|entry| GrantRecord::decode(entry.value).ok());
        Ok(granted.is_some_and(|granted| granted.killed))
    }
}

/// The action of a tunnel connection's end, recorded by relay and agent each.
pub const CLOSED: &str = "tunnel.closed";
/// The action that closes the books on a grant that was open when the server was killed.
pub const UNCONFIRMED: &str = "tunnel.unconfirmed";
/// The details that name the connection: its grant, the device that carried it, and its cookie in hexadecimal.
pub const GRANT: &str = "grant";
/// See [`GRANT`].
pub const DEVICE: &str = "device";
/// See [`GRANT`].
pub const COOKIE: &str = "cookie";
/// Most entries given at once.
pub const LIMIT: u32 = 1000;
