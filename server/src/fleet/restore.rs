//! What is done to a store that was made of a backup, before anyone is served from it: yesterday must not come back to
//! life. Enrolment tokens, invitations and open grants are void, and distribution points begin another epoch; whom the store that is replaced has revoked stays revoked;
//! and the next revocation list has a higher number than any that somebody may hold.

use klnet_wire::id::TenantId;
use prost::Message;

use super::record::{AuditRecord, DeviceRecord, EpochRecord, ListRecord, OperatorRecord};
use super::{FleetError, Kind, keys, points};
use crate::store::{Entry, Key, Op, OpId, Store};
use crate::unix::seconds;

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Enrolment tokens that are void.
    pub tokens: u64,
    /// Invitations that are void.
    pub invitations: u64,
    /// Grants that were open.
    pub grants: u64,
    /// Devices and operators that stay revoked; `None` when the replaced store could not be asked.
    pub revocations: Option<u64>,
}

/// Makes a store of a backup fit to be served from, and writes that into its audit log. `replaced` is the store whose
/// place it takes, if that can be read; `details` are for the audit entry.
///
/// # Errors
/// `Invalid` for a backup of another server; `Unavailable`, and the store is to be thrown away.
pub async fn restore(
    store: &dyn Store,
    replaced: Option<&dyn Store>,
    tenant: TenantId,
    details: &[(&str, String)],
) -> Result<Restored, FleetError> {
    let mut work =
        Work { restored: Restored::default(), newest_audit: None, newest_list: 0, ops: Vec::new() };
    walk(store, |key, entry| work.void(tenant, key, entry)).await?;
    let Some(mut number) = work.newest_audit else {
        return Err(FleetError::new(Kind::Invalid, "this is a backup of another server"));
    };
    apply(store, std::mem::take(&mut work.ops)).await?;
    if let Some(replaced) = replaced {
        walk(replaced, |key, entry| {
            number = number.max(audit_number(tenant, key, entry).unwrap_or_default());
            work.note_list(tenant, key, entry);
            work.keep_revoked(key, entry);
        })
        .await?;
        work.restored.revocations = Some(work.ops.len() as u64);
        apply(store, std::mem::take(&mut work.ops)).await?;
    }
    let audit = work.restored.audit(number + 1, details);
    let list = work.next_list(seconds(std::time::SystemTime::now()));
    let told = Op::put(keys::audit(tenant, audit.number), audit.encode_to_vec());
    apply(store, vec![told, Op::put(keys::list(tenant), list.encode_to_vec())]).await?;
    Ok(work.restored)
}

struct Work {
    restored: Restored,
    newest_audit: Option<u64>,
    /// Number of the newest revocation list that is known of.
    newest_list: u64,
    ops: Vec<Op>,
}

impl Work {
    fn void(&mut self, tenant: TenantId, key: &Key, entry: &Entry) {
        match keys::parse(key) {
            Some((_, "token", _)) => {
                self.restored.tokens += 1;
                self.ops.push(Op::delete(key.clone()));
            }
            Some((_, "open", _)) => {
                self.restored.grants += 1;
                self.ops.push(Op::delete(key.clone()));
            }
            // An approval in it may be one that was spent since.
            Some((_, "clone", _)) => self.ops.push(Op::delete(key.clone())),
            Some((_, "operator", _)) => self.void_invitation(key, entry),
            // Members that left since the backup know the keys of its epoch.
            Some((_, "epoch", _)) => {
                let before = EpochRecord::decode(entry.value.clone()).ok();
                let next = points::next_epoch(before.as_ref());
                self.ops.push(Op::put(key.clone(), next.encode_to_vec()));
            }
            Some((_, "revocation", _)) => self.note_list(tenant, key, entry),
            _ => self.newest_audit = self.newest_audit.max(audit_number(tenant, key, entry)),
        }
    }

    /// Whoever is revoked in the replaced store is so in this one, also when this one has never heard of them.
    fn keep_revoked(&mut self, key: &Key, entry: &Entry) {
        if is_revoked(key, entry) {
            self.ops.push(Op::put(key.clone(), entry.value.clone()));
        }
    }

    fn note_list(&mut self, tenant: TenantId, key: &Key, entry: &Entry) {
        if *key == keys::list(tenant) {
            let number = ListRecord::decode(entry.value.clone()).map_or(0, |list| list.number);
            self.newest_list = self.newest_list.max(number);
        }
    }

    /// Numbers are not below the time, and rise by one: whatever was issued since the backup, also by a store that cannot
    /// be asked and a clock that was ahead, is far below this.
    fn next_list(&self, now: u64) -> ListRecord {
        ListRecord { number: self.newest_list.max(now).saturating_add(LIST_JUMP) }
    }

    fn void_invitation(&mut self, key: &Key, entry: &Entry) {
        let Ok(record) = OperatorRecord::decode(entry.value.clone()) else { return };
        if !record.invitation.is_empty() {
            self.restored.invitations += 1;
            let record = OperatorRecord { invitation: Vec::new(), invited_until: 0, ..record };
            self.ops.push(Op::put(key.clone(), record.encode_to_vec()));
        }
    }
}

impl Restored {
    fn audit(&self, number: u64, details: &[(&str, String)]) -> AuditRecord {
        let revocations = self.revocations.map_or("unknown".to_owned(), |count| count.to_string());
        let counts = [
            ("tokens voided", self.tokens.to_string()),
            ("invitations voided", self.invitations.to_string()),
            ("grants voided", self.grants.to_string()),
            ("revocations kept", revocations),
        ];
        AuditRecord {
            number,
            at: seconds(std::time::SystemTime::now()),
            actor: "klserver restore".into(),
            action: "store.restore".into(),
            subject: "this server".into(),
            detail: details
                .iter()
                .cloned()
                .chain(counts)
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        }
    }
}

fn is_revoked(key: &Key, entry: &Entry) -> bool {
    match keys::parse(key) {
        Some((_, "device", _)) => {
            DeviceRecord::decode(entry.value.clone()).is_ok_and(|device| device.revoked != 0)
        }
        Some((_, "operator", _)) => {
            OperatorRecord::decode(entry.value.clone()).is_ok_and(|operator| operator.revoked != 0)
        }
        _ => false,
    }
}

/// The number of an audit entry of this tenant.
fn audit_number(tenant: TenantId, key: &Key, entry: &Entry) -> Option<u64> {
    let (of, "audit", _) = keys::parse(key)? else { return None };
    (of == tenant).then(|| AuditRecord::decode(entry.value.clone()).ok().map(|audit| audit.number))?
}

/// Shows every entry.
async fn walk(store: &dyn Store, mut show: impl FnMut(&Key, &Entry)) -> Result<(), FleetError> {
    let (mut at, mut after) = (None, None);
    loop {
        let page = store.scan(&keys::tenants(), after.as_ref(), PAGE, at).await?;
        page.entries.iter().for_each(|(key, entry)| show(key, entry));
        (at, after) = (Some(page.at), page.next);
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Commits operations on different keys, as many at once as may be.
async fn apply(store: &dyn Store, ops: Vec<Op>) -> Result<(), FleetError> {
    for ops in ops.chunks(store.limits().ops) {
        store.commit(OpId::random(), Vec::new(), ops.to_vec()).await?;
    }
    Ok(())
}

/// Entries read at once.
const PAGE: u32 = 1000;
/// How far the number of the next revocation list is from every one that is known of.
const LIST_JUMP: u64 = 1 << 32;
