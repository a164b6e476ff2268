//! What the server knows: devices, groups, operators, enrolment tokens. Each change is one guarded commit with its
//! audit entry; the model in memory follows the store's watch and is never written by anything else, so that a
//! second server over the same store would see the same.

mod addresses;
mod admission;
mod certificate;
mod change;
mod clones;
mod deliveries;
mod devices;
mod distributions;
mod duties;
mod error;
mod follow;
mod groups;
pub mod keys;
mod ksn;
mod lookup;
mod model;
mod names;
mod operators;
mod points;
mod polling;
mod presence;
pub mod record;
mod registry;
mod removal;
mod renewal;
pub mod restore;
mod revoked;
mod roles;
mod secret;
mod sight;
mod sightings;
mod succession;
pub mod sync;
mod tokens;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::directory::Directory;
use crate::fabric::Fabric;
use crate::store::{Rev, Store};
pub use change::Change;
pub use clones::Clone;
pub use deliveries::Delivered;
pub use devices::Device;
pub use distributions::{Distribution, NewDistribution};
pub use error::{FleetError, Kind};
pub use groups::Group;
pub use ksn::Ksn;
use lookup::{Lookup, Reading};
pub use model::{Denied, Model, Stored};
pub(crate) use names::told;
pub use operators::{Caller, Operator};
pub use points::Point;
pub use polling::Poller;
pub use presence::Presence;
pub use registry::{Registered, Registry};
pub use roles::{NotARole, OperatorRole, Roles};
pub use sightings::Unassigned;
pub use tokens::Token;

/// Everything about devices, groups, operators and tokens.
pub struct Fleet {
    store: Arc<dyn Store>,
    fabric: Arc<Fabric>,
    directory: Arc<Directory>,
    model: Lookup<Model>,
    presence: presence::Table,
    /// The revision up to which the model has followed the store.
    reached: watch::Sender<Rev>,
    sight: sight::Sight,
    sightings: sightings::Stored,
    /// Counts changes of what devices may have to be told about distribution.
    distributing: watch::Sender<u64>,
    denied: broadcast::Sender<Denied>,
    next_audit: AtomicU64,
    /// Held while a token is counted down: all who have it change one record.
    admissions: tokio::sync::Mutex<()>,
    /// Cancelled once the store is to be closed.
    closing: CancellationToken,
}

impl Fleet {
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

    /// Changes whenever devices may have to be told something else about distribution.
    pub fn distributing(&self) -> watch::Receiver<u64> {
        self.distributing.subscribe()
    }

    /// Closes the store, and with it everything that changes: another process may have it then.
    pub async fn close(&self) {
        self.closing.cancel();
        self.store.close().await;
    }

    /// The store behind it.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    fn model(&self) -> Reading<'_, Model> {
        self.model.read()
    }
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").field("reached", &*self.reached.borrow()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
