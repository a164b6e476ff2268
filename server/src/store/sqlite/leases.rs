//! The leases that live: their TTL is stored, their deadlines are this process's own, on the monotonic clock.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use rusqlite::Connection;

use super::sum;
use crate::store::LeaseId;

/// Every lease that lives, by deadline.
#[derive(Debug, Default)]
pub(super) struct Leases {
    alive: HashMap<LeaseId, Alive>,
    deadlines: BTreeSet<(Instant, LeaseId)>,
}

#[derive(Clone, Copy, Debug)]
struct Alive {
    ttl: Duration,
    deadline: Instant,
}

impl Leases {
    /// Takes in what is stored; each gets its whole TTL from `now`, for nobody knows when it was last kept alive.
    pub(super) fn load(db: &Connection, now: Instant) -> rusqlite::Result<Self> {
        let mut leases = Self::default();
        for stored in all(db)? {
            let (lease, ttl) = stored?;
            leases.insert(lease, ttl, now);
        }
        Ok(leases)
    }

    /// Takes in a lease that is stored now.
    pub(super) fn insert(&mut self, lease: LeaseId, ttl: Duration, now: Instant) {
        let deadline = now + ttl;
        self.alive.insert(lease, Alive { ttl, deadline });
        self.deadlines.insert((deadline, lease));
    }

    /// Gives a lease its TTL anew; `false` when it does not live.
    pub(super) fn renew(&mut self, lease: LeaseId, now: Instant) -> bool {
        let Some(Alive { ttl, .. }) = self.remove(lease) else { return false };
        self.insert(lease, ttl, now);
        true
    }

    /// Forgets a lease that is no longer stored.
    pub(super) fn forget(&mut self, lease: LeaseId) {
        self.remove(lease);
    }

    pub(super) fn is_alive(&self, lease: LeaseId) -> bool {
        self.alive.contains_key(&lease)
    }

    pub(super) fn count(&self) -> usize {
        self.alive.len()
    }

    /// When the next one is over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Some of those that are over.
    pub(super) fn over(&self, now: Instant) -> Vec<LeaseId> {
        let over = self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now);
        over.map(|(_, lease)| *lease).take(ENDED_AT_ONCE).collect()
    }

    fn remove(&mut self, lease: LeaseId) -> Option<Alive> {
        let alive = self.alive.remove(&lease)?;
        self.deadlines.remove(&(alive.deadline, lease));
        Some(alive)
    }
}

/// Every lease that is stored, with its TTL.
pub(super) fn all(db: &Connection) -> rusqlite::Result<Vec<rusqlite::Result<(LeaseId, Duration)>>> {
    let mut rows = db.prepare("SELECT id, ttl, sum, rowid FROM lease")?;
    let rows = rows.query_map([], |row| {
        let (lease, ttl, row_id): (LeaseId, u32, i64) = (row.get(0)?, row.get(1)?, row.get(3)?);
        sum::check("lease", row_id, &[Some(&lease.0), Some(&ttl.to_be_bytes())], row.get(2)?)?;
        Ok((lease, Duration::from_millis(ttl.into())))
    })?;
    Ok(rows.collect())
}

/// Stores a lease.
pub(super) fn store(db: &Connection, lease: LeaseId, ttl: Duration) -> rusqlite::Result<()> {
    // Rounded up: never early.
    let ttl = u32::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX);
    let sum = sum::of("lease", &[Some(&lease.0), Some(&ttl.to_be_bytes())]);
    db.prepare_cached("INSERT INTO lease (id, ttl, sum) VALUES (?1, ?2, ?3)")?
        .execute((lease, ttl, sum))
        .map(drop)
}

/// Removes a lease.
pub(super) fn remove(db: &Connection, lease: LeaseId) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM lease WHERE id = ?1")?.execute([lease]).map(drop)
}

/// Leases that end in one transaction, each with a revision of its own.
const ENDED_AT_ONCE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_is_over_at_its_deadline_and_not_before() {
        let (start, ttl, step) = (Instant::now(), Duration::from_secs(10), Duration::from_nanos(1));
        let mut leases = Leases::default();
        leases.insert(ID, ttl, start);
        assert_eq!(leases.over(start + ttl - step), []);
        assert_eq!(leases.over(start + ttl), [ID]);
        assert!(leases.renew(ID, start + ttl - step));
        assert_eq!(leases.over(start + ttl), []);
        assert_eq!(leases.deadline(), Some(start + ttl - step + ttl));
        leases.forget(ID);
        assert!(!leases.renew(ID, start) && leases.deadline().is_none());
    }

    const ID: LeaseId = LeaseId([1; 16]);
}
