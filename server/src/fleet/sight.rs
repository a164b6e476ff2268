//! Whether this server sees who is revoked.
//!
//! The model follows the store by a watch. While that is lost a revocation that another server stored is not seen here, so
//! nobody is let in any more once it has been lost for [`BLIND_AFTER`]; sessions that are there stay. A store that says that
//! nothing has changed since the last event proves as much as an event does.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use klnet_wire::identity::ChainError;
use tokio::time::Instant;

use super::{Fleet, FleetError, Kind, keys};
use crate::store::{Read, Rev};

/// When it was last known that the model is no older than the store.
#[derive(Debug)]
pub(super) struct Sight(Mutex<Instant>);

impl Sight {
    /// Sees now.
    pub(super) fn now() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// The model has just been shown to be abreast of the store.
    pub(super) fn proven(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn age(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

impl Fleet {
    /// Judges whoever shows a certificate with this serial number, apart from what the model says of them.
    ///
    /// # Errors
    /// `Denied` when a revocation list names it; `Unavailable` when this server cannot know.
    pub(super) fn judge(&self, serial: &[u8], who: &str) -> Result<(), FleetError> {
        match self.directory.check_lists(serial) {
            Err(ChainError::Revoked) => return Err(FleetError::denied(format!("{who} was revoked"))),
            Err(error) => {
                return Err(FleetError::new(Kind::Unavailable, format!("nobody is let in: {error}")));
            }
            Ok(()) => {}
        }
        let age = self.sight.age();
        if age > BLIND_AFTER {
            let seconds = age.as_secs();
            let message =
                format!("nobody is let in: this server has not seen for {seconds} s who is revoked");
            return Err(FleetError::new(Kind::Unavailable, message));
        }
        Ok(())
    }

    /// Asks the store whether anything came after `after`, of which the watch has told.
    pub(super) async fn look(&self, after: Rev) {
        let anything = keys::list(self.fabric.tenant());
        match self.store.get(&anything, Read::Linearizable).await {
            Ok((_, head)) if head <= after => self.sight.proven(),
            Ok(_) | Err(_) => {}
        }
    }
}

/// How long a server that does not see who is revoked takes new sessions.
pub(super) const BLIND_AFTER: Duration = Duration::from_secs(60);
/// How long nothing may come before the store is asked whether that is all.
pub(super) const LOOK_EACH: Duration = Duration::from_secs(15);
