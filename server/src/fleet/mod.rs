//! What the server knows: devices, groups, operators, enrolment tokens. Each change is one guarded commit with its
//! audit entry; the model in memory follows the store's watch and is never written by anything else, so that a
//! second server over the same store would see the same.

mod admission;
mod change;
mod devices;
mod error;
mod groups;
pub mod keys;
mod model;
mod names;
mod operators;
mod presence;
pub mod record;
mod roles;
mod secret;
#[cfg(test)]
mod tests;
mod tokens;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::Duration;

use klnet_wire::id::TenantId;
use prost::Message;
use tokio::sync::{broadcast, watch};
use tracing::error;

use crate::directory::Directory;
use crate::fabric::Fabric;
use crate::store::{Rev, Store, WatchEnd};
use crate::unix;
pub use change::Change;
pub use devices::Device;
pub use error::{FleetError, Kind};
pub use groups::Group;
pub use model::{Denied, Model, Stored};
pub(crate) use names::told;
pub use operators::{Caller, Operator};
pub use presence::Presence;
pub use roles::{NotARole, OperatorRole, Roles};
pub use tokens::Token;

/// Everything about devices, groups, operators and tokens.
pub struct Fleet {
    store: Arc<dyn Store>,
    fabric: Arc<Fabric>,
    directory: Arc<Directory>,
    model: RwLock<Model>,
    presence: presence::Table,
    /// The revision up to which the model has followed the store.
    reached: watch::Sender<Rev>,
    denied: broadcast::Sender<Denied>,
    next_audit: AtomicU64,
}

impl Fleet {
    /// Loads the fleet from the store, and follows it from there on.
    ///
    /// # Errors
    /// `Unavailable` when the store cannot be read.
    pub async fn load(
        store: Arc<dyn Store>,
        fabric: Arc<Fabric>,
        directory: Arc<Directory>,
    ) -> Result<Arc<Self>, FleetError> {
        let (mut model, mut at, mut after) = (Model::default(), None, None);
        let presence = presence::Table::default();
        loop {
            let page = store.scan(&keys::tenants(), after.as_ref(), PAGE, at).await?;
            for (key, entry) in &page.entries {
                model.apply(key, Some(entry));
                if let Some((_, keys::SEEN, id)) = keys::parse(key) {
                    let seen = u64::decode(entry.value.clone()).ok().and_then(unix::time);
                    keys::id(id).into_iter().for_each(|device| presence.restore(device, seen));
                }
            }
            (at, after) = (Some(page.at), page.next);
            if after.is_none() {
                break;
            }
        }
        let reached = at.unwrap_or(Rev::ZERO);
        let next_audit = newest_audit(&*store, fabric.tenant()).await? + 1;
        let fleet = Arc::new(Self {
            model: RwLock::new(model),
            presence,
            reached: watch::Sender::new(reached),
            denied: broadcast::Sender::new(DENIED_CAPACITY),
            next_audit: AtomicU64::new(next_audit),
            store,
            fabric,
            directory,
        });
        tokio::spawn(Arc::clone(&fleet).follow(reached));
        fleet.ensure_root_group().await?;
        Ok(fleet)
    }

    /// Follows the store for as long as the process lives. A watch that was lost goes on where it ended.
    async fn follow(self: Arc<Self>, mut after: Rev) {
        loop {
            let mut watch = self.store.watch(keys::tenants(), after);
            let end = loop {
                match watch.next().await {
                    Ok(batch) => {
                        self.apply(&batch.events);
                        after = batch.rev;
                        self.reached.send_replace(after);
                    }
                    Err(end) => break end,
                }
            };
            match end {
                WatchEnd::Lost { after: seen } => after = seen.max(after),
                WatchEnd::Compacted { oldest } => after = oldest,
            }
            error!(reason = %end, "the watch on the store ended; it is taken up again");
            tokio::time::sleep(WATCH_PAUSE).await;
        }
    }

    fn apply(&self, events: &[crate::store::Event]) {
        let mut model = self.model.write().expect("no holder of the model panics");
        for event in events {
            if let Some(denied) = model.apply(&event.key, event.entry.as_ref()) {
                // Nobody listens while nobody is connected.
                let _ = self.denied.send(denied);
            }
        }
    }

    /// Waits until the model has followed the store up to `rev`: who changed something sees it.
    async fn reached(&self, rev: Rev) {
        let mut reached = self.reached.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = reached.wait_for(|reached| *reached >= rev).await;
    }

    /// Hears of every device and operator that is revoked from now on.
    pub fn denials(&self) -> broadcast::Receiver<Denied> {
        self.denied.subscribe()
    }

    /// The store behind it.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    fn model(&self) -> RwLockReadGuard<'_, Model> {
        self.model.read().expect("no holder of the model panics")
    }
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").field("reached", &*self.reached.borrow()).finish_non_exhaustive()
    }
}

async fn newest_audit(store: &dyn Store, tenant: TenantId) -> Result<u64, FleetError> {
    let page = store.scan(&keys::audits(tenant), None, 1, None).await?;
    let newest = page.entries.first().map(|(_, entry)| record::AuditRecord::decode(entry.value.clone()));
    Ok(newest.and_then(Result::ok).map_or(0, |entry| entry.number))
}

/// Entries read at once while loading.
const PAGE: u32 = 1000;
/// Denials that wait for a slow listener; one that missed some checks every session it has.
const DENIED_CAPACITY: usize = 1024;
/// Pause before a lost watch is taken up again.
const WATCH_PAUSE: Duration = Duration::from_millis(100);
