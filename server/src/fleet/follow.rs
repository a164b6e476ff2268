//! How the model follows the store: all of its tables at the start, then every commit, for as long as the process lives.
//!
//! Audit entries, by far the most of a store, are not among those tables.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use klnet_wire::id::TenantId;
use prost::Message;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::lookup::Lookup;
use super::record::AuditRecord;
use super::sight::{LOOK_EACH, Sight};
use super::{Denied, Fleet, FleetError, Model, keys, presence, sightings};
use crate::directory::Directory;
use crate::fabric::Fabric;
use crate::store::{Entry, Event, Key, Rev, Store, WatchEnd};

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
        let (model, at) = snapshot(&*store).await?;
        let next_audit = newest_audit(&*store, fabric.tenant()).await? + 1;
        let fleet = Arc::new(Self {
            model: Lookup::new(model),
            presence: presence::Table::default(),
            reached: watch::Sender::new(at),
            sight: Sight::now(),
            sightings: sightings::Stored::default(),
            distributing: watch::Sender::default(),
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
        let (model, at) = snapshot(&*self.store).await.ok()?;
        let denied = model.denied();
        *self.model.write() = model;
        self.distributing.send_modify(|count| *count += 1);
        denied.into_iter().for_each(|denied| self.deny(denied));
        self.reached.send_replace(at);
        Some(at)
    }

    fn apply(&self, events: &[Event]) {
        self.follow_events(events);
        let matters = |event: &Event| {
            let table = keys::parse(&event.key).map(|(_, table, _)| table);
            matches!(table, Some("device" | "group" | "point" | "epoch" | "distribution" | "polling" | "ksn"))
        };
        if events.iter().any(matters) {
            self.distributing.send_modify(|count| *count += 1);
        }
    }

    fn follow_events(&self, events: &[Event]) {
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

/// The whole model, and the revision it is of.
async fn snapshot(store: &dyn Store) -> Result<(Model, Rev), FleetError> {
    let (mut model, (tenants, at)) = (Model::default(), tenants(store).await?);
    for tables in [&keys::MODEL[..], &[keys::SEEN]] {
        let tables_of = |tenant: &TenantId| tables.iter().map(|table| keys::table(*tenant, table)).collect();
        let prefixes = tenants.iter().flat_map::<Vec<_>, _>(tables_of).collect();
        let (batches, mut ready) = mpsc::channel::<Vec<(Key, Entry)>>(BATCHES);
        let take_in = async {
            while let Some(batch) = ready.recv().await {
                for (key, entry) in &batch {
                    model.apply(key, Some(entry));
                }
            }
        };
        tokio::join!(store.contents(prefixes, at, batches), take_in).0?;
    }
    Ok((model, at))
}

/// Every tenant that has anything, and the revision at which that is so.
async fn tenants(store: &dyn Store) -> Result<(Vec<TenantId>, Rev), FleetError> {
    let (mut tenants, mut at, mut after) = (Vec::new(), None, None);
    loop {
        let page = store.scan(&keys::tenants(), after.as_ref(), 1, at).await?;
        let Some((key, _)) = page.entries.into_iter().next() else { return Ok((tenants, page.at)) };
        let tenant = keys::parse(&key).map(|(tenant, ..)| tenant);
        (at, after) = (Some(page.at), Some(tenant.map_or(key, keys::end)));
        tenants.extend(tenant);
    }
}

async fn newest_audit(store: &dyn Store, tenant: TenantId) -> Result<u64, FleetError> {
    let page = store.scan(&keys::audits(tenant), None, 1, None).await?;
    let newest = page.entries.first().map(|(_, entry)| AuditRecord::decode(entry.value.clone()));
    Ok(newest.and_then(Result::ok).map_or(0, |entry| entry.number))
}

/// Batches that wait to be taken in while others are read.
const BATCHES: usize = 4;
/// Denials that wait for a slow listener; one that missed some checks every session it has.
const DENIED_CAPACITY: usize = 1024;
/// Pause before a lost watch is taken up again.
const WATCH_PAUSE: Duration = Duration::from_millis(100);
