//! Which grants are open, kept in the store beside memory: what is there at a start was open when the server was killed.
//!
//! ```text
//! intent ──same commit──▶ open ──ended at the relay, or the server stops──▶ removed
//!                           └──── found at the next start ────▶ `tunnel.unconfirmed` in the audit log, removed
//! ```

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use klnet_tunnel::net::relay::LiveTunnel;
use klnet_wire::id::{DeviceId, GrantId, TenantId};
use prost::Message;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::Tunnels;
use crate::audit::{DEVICE, GRANT, UNCONFIRMED};
use crate::fleet::record::GrantRecord;
use crate::fleet::{Change, FleetError, keys};
use crate::store::{Key, Op, OpId};

/// Grants whose entry in the store is to be removed once the relay no longer has them, and the device of each.
#[derive(Debug, Default)]
pub(super) struct Books(Mutex<BTreeMap<(TenantId, GrantId), DeviceId>>);

/// A grant on its way to the relay; from its drop on the relay has it or never will.
#[derive(Debug)]
pub(super) struct Opening<'a> {
    books: &'a Books,
    grant: (TenantId, GrantId),
    device: DeviceId,
}

impl Books {
    /// A grant whose intent is stored.
    pub(super) fn opening(&self, tenant: TenantId, grant: GrantId, device: DeviceId) -> Opening<'_> {
        Opening { books: self, grant: (tenant, grant), device }
    }

    /// Every grant that the relay has or had.
    pub(super) fn open(&self) -> Vec<(TenantId, GrantId)> {
        self.0.lock().expect("no holder panics").keys().copied().collect()
    }

    /// The device of a grant that is open.
    pub(super) fn device_of(&self, tenant: TenantId, grant: GrantId) -> Option<DeviceId> {
        self.0.lock().expect("no holder panics").get(&(tenant, grant)).copied()
    }

    fn insert(&self, grant: (TenantId, GrantId), device: DeviceId) {
        self.0.lock().expect("no holder panics").insert(grant, device);
    }

    fn remove(&self, grants: &[(TenantId, GrantId)]) {
        let mut open = self.0.lock().expect("no holder panics");
        open.retain(|grant, _| !grants.contains(grant));
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.books.insert(self.grant, self.device);
    }
}

impl Tunnels {
    /// Closes the books on what an earlier server left open, except what this one's relay has taken over. Before anything
    /// is granted; the entries follow while it serves.
    pub async fn close_books(self: &Arc<Self>) {
        match self.left_open().await {
            Ok(left) if left.is_empty() => {}
            Ok(left) => {
                info!(
                    grants = left.len(),
                    "the server was killed; what was open then is noted in the audit log"
                );
                tokio::spawn(Arc::clone(self).note_unconfirmed(left));
            }
            Err(error) => warn!(%error, "what an earlier server left open is not known"),
        }
    }

    /// Removes those of `open` that the relay no longer has.
    pub(super) async fn close_ended(&self, open: Vec<(TenantId, GrantId)>, live: &[LiveTunnel]) {
        for ended in ended(open, live).chunks(self.fleet.store().limits().ops) {
            let delete = |(tenant, grant): &(TenantId, GrantId)| Op::delete(keys::open(*tenant, *grant));
            let ops = ended.iter().map(delete).collect();
            // What the store cannot take now is removed later.
            if self.fleet.store().commit(OpId::random(), Vec::new(), ops).await.is_ok() {
                self.books.remove(ended);
            }
        }
    }

    async fn left_open(&self) -> Result<Vec<(GrantId, GrantRecord)>, FleetError> {
        let live = self.relay.tunnels().await.map_err(super::mint::stopped)?;
        let live: HashSet<_> = live.iter().map(|live| live.view.grant.id).collect();
        let tenant = self.fabric.tenant();
        let (mut left, mut at, mut after) = (Vec::new(), None, None);
        loop {
            let page = self.fleet.store().scan(&keys::opens(tenant), after.as_ref(), PAGE, at).await?;
            for (key, entry) in page.entries {
                let Some(grant) = grant_of(&key) else { continue };
                let record = GrantRecord::decode(entry.value).unwrap_or_default();
                match (live.contains(&grant), DeviceId::try_from(record.device.as_slice())) {
                    (true, Ok(device)) => self.books.insert((tenant, grant), device),
                    _ => left.push((grant, record)),
                }
            }
            (at, after) = (Some(page.at), page.next);
            if after.is_none() {
                return Ok(left);
            }
        }
    }

    /// Writes an entry for each, some at once so that they share commits.
    async fn note_unconfirmed(self: Arc<Self>, left: Vec<(GrantId, GrantRecord)>) {
        let mut busy = JoinSet::new();
        for (grant, record) in left {
            if busy.len() >= AT_ONCE {
                busy.join_next().await;
            }
            let tunnels = Arc::clone(&self);
            busy.spawn(async move {
                if let Err(error) = tunnels.note_one(grant, record).await {
                    warn!(%error, %grant, "it is not noted that a tunnel was open when the server was killed");
                }
            });
        }
        while busy.join_next().await.is_some() {}
    }

    async fn note_one(&self, grant: GrantId, record: GrantRecord) -> Result<(), FleetError> {
        let tenant = self.fabric.tenant();
        let Ok(device) = DeviceId::try_from(record.device.as_slice()) else { return Ok(()) };
        let change = Change::new(tenant, "server", UNCONFIRMED, self.device_name(tenant, device))
            .detail(GRANT, grant)
            .detail(DEVICE, device)
            .detail("reason", "the server was killed while it was open; only the device can tell of its use")
            .put(keys::grant(tenant, grant), &GrantRecord { killed: true, ..record })
            .delete(keys::open(tenant, grant));
        self.fleet.note(change).await
    }
}

/// Those of `open` that the relay no longer has.
pub(super) fn ended(open: Vec<(TenantId, GrantId)>, live: &[LiveTunnel]) -> Vec<(TenantId, GrantId)> {
    let live: HashSet<_> = live.iter().map(|live| live.view.grant.id).collect();
    open.into_iter().filter(|(_, grant)| !live.contains(grant)).collect()
}

fn grant_of(key: &Key) -> Option<GrantId> {
    std::str::from_utf8(key.as_bytes()).ok()?.rsplit('/').next()?.parse().ok()
}

/// Entries read at once.
const PAGE: u32 = 1000;
/// Entries written at once: the store commits what waits together.
const AT_ONCE: usize = 64;
