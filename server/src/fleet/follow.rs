//! How the model follows the store: a scan at the start, then every commit, for as long as the process lives.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use klnet_wire::id::{DeviceId, TenantId};
use prost::Message;
use tokio::sync::{broadcast, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::lookup::Lookup;
use super::record::AuditRecord;
use super::sight::{LOOK_EACH, Sight};
use super::{Denied, Fleet, FleetError, Model, keys, presence};
use crate::directory::Directory;
use crate::fabric::Fabric;
use crate::store::{Event, Rev, Store, WatchEnd};
use crate::unix;

/// Everything of the store that the fleet keeps in memory, at one revision.
struct Snapshot {
    model: Model,
    seen: Vec<(DeviceId, Option<SystemTime>)>,
    at: Rev,
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
        let Snapshot { model, seen, at } = scan(&*store).await?;
        let presence = presence::Table::default();
        seen.into_iter().for_each(|(device, seen)| presence.restore(device, seen));
        let next_audit = newest_audit(&*store, fabric.tenant()).await? + 1;
        let fleet = Arc::new(Self {
            model: Lookup::new(model),
            presence,
            reached: watch::Sender::new(at),
            sight: Sight::now(),
            denied: broadcast::Sender::new(DENIED_CAPACITY),
            next_audit: AtomicU64::new(next_audit),
            admissions: tokio::sync::Mutex::default(),
            closing: CancellationToken::new(),
            store,
            fabric,
            directory,
        });
        let closing = fleet.closing.clone();
        tokio::spawn(closing.run_until_cancelled_owned(Arc::clone(&fleet).follow(at)));
        fleet.ensure_root_group().await?;
        Ok(fleet)
    }

    /// Follows the store. A watch that was lost goes on where it ended; one whose place is compacted begins anew.
    async fn follow(self: Arc<Self>, mut after: Rev) {
        let mut outage = false;
        loop {
            let mut watch = self.store.watch(keys::tenants(), after);
            let end = loop {
                match timeout(LOOK_EACH, watch.next()).await {
                    Ok(Ok(batch)) => {
                        self.apply(&batch.events);
                        after = batch.rev;
                        self.reached.send_replace(after);
                        self.sight.proven();
                        outage = false;
                    }
                    Ok(Err(end)) => break end,
                    Err(_) => self.look(after).await,
                }
            };
            if !std::mem::replace(&mut outage, true) {
                warn!(reason = %end, "the watch on the store ended; it is taken up again");
            }
            match end {
                WatchEnd::Lost { after: seen } => after = seen.max(after),
                WatchEnd::Compacted { .. } => after = self.rescan().await.unwrap_or(after),
            }
            sleep(WATCH_PAUSE).await;
            self.look(after).await;
        }
    }

    /// Takes the whole state in again; nothing that was denied meanwhile is missed.
    async fn rescan(&self) -> Option<Rev> {
        let Snapshot { model, at, .. } = scan(&*self.store).await.ok()?;
        let denied = model.denied();
        *self.model.write() = model;
        denied.into_iter().for_each(|denied| self.deny(denied));
        self.reached.send_replace(at);
        Some(at)
    }

    fn apply(&self, events: &[Event]) {
        let mut model = self.model.write();
        for event in events {
            if let Some(denied) = model.apply(&event.key, event.entry.as_ref()) {
                self.deny(denied);
            }
        }
    }

    pub(super) fn deny(&self, denied: Denied) {
        // Nobody listens while nobody is connected.
        let _ = self.denied.send(denied);
    }
}

async fn scan(store: &dyn Store) -> Result<Snapshot, FleetError> {
    let (mut model, mut seen, mut at, mut after) = (Model::default(), Vec::new(), None, None);
    loop {
        let page = store.scan(&keys::tenants(), after.as_ref(), PAGE, at).await?;
        for (key, entry) in &page.entries {
            model.apply(key, Some(entry));
            if let Some((_, keys::SEEN, id)) = keys::parse(key) {
                let when = u64::decode(entry.value.clone()).ok().and_then(unix::time);
                seen.extend(keys::id(id).map(|device| (device, when)));
            }
        }
        (at, after) = (Some(page.at), page.next);
        if after.is_none() {
            return Ok(Snapshot { model, seen, at: at.unwrap_or(Rev::ZERO) });
        }
    }
}

async fn newest_audit(store: &dyn Store, tenant: TenantId) -> Result<u64, FleetError> {
    let page = store.scan(&keys::audits(tenant), None, 1, None).await?;
    let newest = page.entries.first().map(|(_, entry)| AuditRecord::decode(entry.value.clone()));
    Ok(newest.and_then(Result::ok).map_or(0, |entry| entry.number))
}

/// Entries read at once while loading.
const PAGE: u32 = 1000;
/// Denials that wait for a slow listener; one that missed some checks every session it has.
const DENIED_CAPACITY: usize = 1024;
/// Pause before a lost watch is taken up again.
const WATCH_PAUSE: Duration = Duration::from_millis(100);
