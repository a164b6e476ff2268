//! The fabric's revocation lists: one of each issuing authority, signed anew whenever someone is revoked, and in time.
//!
//! ```text
//! fleet ──denied──▶ keep ── number (store) ──▶ signed ──▶ crls ──▶ every listener, discovery, port 80
//! ```
//! The fleet's own list of the revoked decides at every session and request, at once and also when nothing can be stored,
//! and these lists beside it; they say the same to whoever has only certificates: agents, about servers, and third parties.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use klnet_wire::identity::authority::IssueError;
use klnet_wire::identity::crl::{self, Crl, CrlError, Crls};
use klnet_wire::identity::enroll::unix;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::fabric::Fabric;
use crate::fleet::{Denied, Fleet, FleetError};
use crate::plain::Page;
use crate::unix::seconds;

/// Signs the lists.
#[derive(Debug)]
pub(crate) struct Revocation {
    fabric: Arc<Fabric>,
    fleet: Arc<Fleet>,
    crls: Arc<Crls>,
}

/// Why no list was signed; the ones before stay.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    /// Its number is not stored.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// It cannot be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// It is not taken.
    #[error(transparent)]
    Crl(#[from] CrlError),
}

impl Revocation {
    pub(crate) const fn new(fabric: Arc<Fabric>, fleet: Arc<Fleet>, crls: Arc<Crls>) -> Self {
        Self { fabric, fleet, crls }
    }

    /// Signs new lists under a number that was never used, which is stored first.
    pub(crate) async fn sign(&self, now: SystemTime) -> Result<(), RevocationError> {
        let number = self.fleet.next_list_number(now).await?;
        let revoked = self.revoked(now);
        for authority in self.fabric.authorities() {
            let list = authority.revoke(number, &revoked, now, LIFE)?;
            let taken = self.crls.take(Crl::verify(&list, [authority.key().public().clone()])?)?;
            info!(number, revoked = revoked.len(), ?taken, "revocation list signed");
        }
        Ok(())
    }

    /// Serial numbers and when each was revoked, the last first.
    fn revoked(&self, now: SystemTime) -> Vec<(Vec<u8>, u64)> {
        let servers = self.fabric.revoked_servers().iter().map(|serial| (serial.clone(), u64::MAX));
        let mut seen = HashSet::new();
        let revoked = self.fleet.revoked_serials(now).into_iter().chain(servers);
        let mut revoked: Vec<_> = revoked.filter(|(serial, _)| seen.insert(serial.clone())).collect();
        revoked.sort_by_key(|(_, at)| std::cmp::Reverse(*at));
        if revoked.len() > ENTRIES_LIMIT {
            // The fleet's own list is whole; third parties are told of the last.
            error!(revoked = revoked.len(), listed = ENTRIES_LIMIT, "the revocation list is full");
            revoked.truncate(ENTRIES_LIMIT);
        }
        revoked.iter_mut().for_each(|(_, at)| *at = (*at).min(seconds(now)));
        revoked
    }

    /// Signs new lists whenever someone is denied, and before the time of those that are out is half over.
    pub(crate) async fn keep(self, mut denials: broadcast::Receiver<Denied>, shutdown: CancellationToken) {
        let mut signed = Ok(SystemTime::now());
        while !shutdown.is_cancelled() {
            let denied = tokio::select! {
                denied = denials.recv() => match denied {
                    Err(broadcast::error::RecvError::Closed) => return,
                    _ => true,
                },
                () = tokio::time::sleep(LOOK_EACH) => false,
                () = shutdown.cancelled() => return,
            };
            // Those who were denied meanwhile are on the same list.
            while denials.try_recv().is_ok() {}
            let now = SystemTime::now();
            if denied || signed.is_err() || !self.is_current(now, signed.unwrap_or(now)) {
                signed = self.sign(now).await.map(|()| now).map_err(|error| {
                    warn!(%error, "no new revocation list is signed; it is tried again");
                });
            }
        }
    }

    /// Whether the lists need no successor yet; a clock that was set needs one.
    fn is_current(&self, now: SystemTime, signed: SystemTime) -> bool {
        let age = now.duration_since(signed);
        age.is_ok_and(|age| age < LIFE / 4) && self.crls.all().iter().all(|crl| crl.is_fresh(unix(now)))
    }
}

/// What port 80 answers: the list of the issuer that the path names by its key, or of the newest.
pub(crate) fn page(fabric: &Fabric, crls: &Crls, path: &str) -> Page {
    let lists = crls.all();
    let name = path.trim_start_matches('/').trim_end_matches(".crl");
    let named = lists.iter().find(|crl| HEXLOWER.encode(&crl.issuer().id()) == name);
    let newest = lists.iter().find(|crl| crl.issuer() == fabric.authority().key().public());
    let body = named.or(newest).map(|crl| crl.der().to_vec()).unwrap_or_default();
    Page { media_type: "application/pkix-crl", body }
}

/// How long a list is good.
const LIFE: Duration = Duration::from_secs(7 * 86_400);
/// Most entries of a list, of some 40 bytes each: it stays within what verifiers read ([`crl::LIMIT`]).
const ENTRIES_LIMIT: usize = crl::LIMIT / 48;
/// How often it is looked whether a list needs a successor.
const LOOK_EACH: Duration = Duration::from_secs(60);
