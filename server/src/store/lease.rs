//! Leases: keys that go when their holder stops saying that it lives.
//!
//! ```text
//! grant ──▶ alive ──keep_alive──▶ alive for another TTL
//!             └── TTL over, or revoke ──▶ gone: one commit deletes its keys
//! ```
//! Holding a lease proves nothing: its holder may be asleep while it ends. Whoever acts under a lease puts a key under
//! it, takes that key's `mod_rev` as its **fencing token**, and guards each of its commits by
//! [`Guard::ModRev`](super::Guard::ModRev) of key and token: once the lease has ended, none of them is applied.

use std::time::Duration;

use super::{LeaseId, Unavailable};

/// Why a lease is not granted, kept or ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// It has ended, or never was.
    #[error("there is no lease {0}")]
    Gone(LeaseId),
    /// Too short or too long a life.
    #[error("a lease of {asked:?} is not within {LEASE_TTL_LEAST:?} and {LEASE_TTL_LIMIT:?}")]
    Ttl {
        /// What was asked for.
        asked: Duration,
    },
    /// As many leases live as the store allows.
    #[error("{LEASES_LIMIT} leases live already")]
    TooMany,
    /// The store cannot serve now. A grant may have been stored all the same, and ends by itself.
    #[error("store unavailable: {0}")]
    Unavailable(#[from] Unavailable),
}

/// Refuses a life that is too short or too long.
pub(super) fn admit(ttl: Duration) -> Result<Duration, LeaseError> {
    let good = (LEASE_TTL_LEAST..=LEASE_TTL_LIMIT).contains(&ttl);
    good.then_some(ttl).ok_or(LeaseError::Ttl { asked: ttl })
}

/// The shortest life of a lease; a store is not asked more often than it can answer.
pub const LEASE_TTL_LEAST: Duration = Duration::from_millis(500);

/// The longest life of a lease.
pub const LEASE_TTL_LIMIT: Duration = Duration::from_secs(86_400);

/// How long after its TTL a lease ends at the latest, while the store can write.
pub const LEASE_LATENESS: Duration = Duration::from_secs(1);

/// Leases that live at once.
pub const LEASES_LIMIT: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn life_of_a_lease_is_granted_at_its_limits_and_refused_one_past_them() {
        let step = Duration::from_nanos(1);
        for good in [LEASE_TTL_LEAST, LEASE_TTL_LIMIT] {
            assert_eq!(admit(good), Ok(good));
        }
        for bad in [LEASE_TTL_LEAST - step, LEASE_TTL_LIMIT + step, Duration::ZERO, Duration::MAX] {
            assert_eq!(admit(bad), Err(LeaseError::Ttl { asked: bad }));
        }
    }
}
