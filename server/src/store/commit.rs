//! A commit: guards that must hold, operations to apply, and how it can fail.

use bytes::Bytes;
use ring::digest;

use super::{Key, LeaseId, LimitError, Limits, OpId, Rev};

/// A condition on one key, judged in the same transaction as the operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The key has no value.
    Absent(Key),
    /// The key has a value.
    Present(Key),
    /// The key was last changed by exactly this commit.
    ModRev(Key, Rev),
}

/// One change; made by [`Op::put`], [`Op::put_leased`] and [`Op::delete`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets the value of a key.
    Put {
        /// The key.
        key: Key,
        /// Its new value.
        value: Bytes,
        /// The lease whose end deletes the key; `None` detaches it from the one it had.
        lease: Option<LeaseId>,
    },
    /// Removes a key; of no effect when it has no value.
    Delete {
        /// The key.
        key: Key,
    },
}

/// Guards and operations within the limits; a backend receives nothing else.
#[derive(Clone, Debug)]
pub struct Commit {
    op_id: OpId,
    guards: Vec<Guard>,
    ops: Vec<Op>,
    length: usize,
    digest: [u8; 32],
}

/// A guard that did not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedGuard {
    /// Place of the guard in the commit.
    pub guard: usize,
    /// The commit that last changed its key; `None` when the key has no value.
    pub current: Option<Rev>,
}

/// Why a commit failed, and whether it can have been applied all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Guards did not hold; certainly not applied.
    #[error("{} of the commit's guards did not hold", .0.len())]
    Conflict(Vec<FailedGuard>),
    /// The commit breaks a limit; certainly not applied.
    #[error("{0}")]
    TooLarge(#[from] LimitError),
    /// The id already names a commit with other contents; this one was not applied.
    #[error("operation {0} was already committed with other contents")]
    Reused(OpId),
    /// A put names a lease that has ended or never was; certainly not applied.
    #[error("there is no lease {0}")]
    NoLease(LeaseId),
    /// A lease would hold more keys than a commit may delete; certainly not applied.
    #[error("lease {lease} holds {limit} keys already")]
    LeaseFull {
        /// The lease.
        lease: LeaseId,
        /// See [`Limits::ops`].
        limit: usize,
    },
    /// The store cannot write now; certainly not applied.
    #[error("store unavailable: {0}")]
    Unavailable(#[from] Unavailable),
    /// The commit may or may not have been applied; ask again with the same id.
    #[error("outcome of the commit is unknown: {reason}")]
    Unknown {
        /// What cut the answer off.
        reason: String,
    },
}

/// Why the store does not serve now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// No space for the commit; served again by itself once there is.
    #[error("disk full")]
    DiskFull,
    /// As many calls wait as the store allows.
    #[error("queue full")]
    QueueFull,
    /// The store is shut, or its writer has died.
    #[error("store closed")]
    Closed,
    /// What is stored does not match its checksum, or cannot be read as what it was.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The engine reports a fault.
    #[error("{0}")]
    Fault(String),
}

impl Guard {
    /// The key it looks at.
    pub const fn key(&self) -> &Key {
        match self {
            Self::Absent(key) | Self::Present(key) | Self::ModRev(key, _) => key,
        }
    }

    /// Whether it holds for a key last changed by `current` (`None`: without a value).
    pub fn holds(&self, current: Option<Rev>) -> bool {
        match self {
            Self::Absent(_) => current.is_none(),
            Self::Present(_) => current.is_some(),
            Self::ModRev(_, rev) => current == Some(*rev),
        }
    }
}

impl Op {
    /// Sets `key` to `value`.
    pub fn put(key: Key, value: impl Into<Bytes>) -> Self {
        Self::Put { key, value: value.into(), lease: None }
    }

    /// Sets `key` to `value` for as long as `lease` lives.
    pub fn put_leased(key: Key, value: impl Into<Bytes>, lease: LeaseId) -> Self {
        Self::Put { key, value: value.into(), lease: Some(lease) }
    }

    /// Removes `key`.
    pub const fn delete(key: Key) -> Self {
        Self::Delete { key }
    }

    /// The key it changes.
    pub const fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// The value it sets; `None` for a delete.
    pub const fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Put { value, .. } => Some(value),
            Self::Delete { .. } => None,
        }
    }

    /// The lease it attaches the key to.
    pub const fn lease(&self) -> Option<LeaseId> {
        match self {
            Self::Put { lease, .. } => *lease,
            Self::Delete { .. } => None,
        }
    }
}

impl Commit {
    /// Admits guards and operations that are within `limits`.
    ///
    /// # Errors
    /// The first limit that is broken.
    pub(super) fn admit(
        op_id: OpId,
        guards: Vec<Guard>,
        ops: Vec<Op>,
        limits: &Limits,
    ) -> Result<Self, LimitError> {
        let length = limits.admit(&guards, &ops)?;
        let digest = digest(&guards, &ops);
        Ok(Self { op_id, guards, ops, length, digest })
    }

    /// Names the commit across its retries.
    pub const fn op_id(&self) -> OpId {
        self.op_id
    }

    /// What must hold.
    pub fn guards(&self) -> &[Guard] {
        &self.guards
    }

    /// What to apply, each key at most once.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Bytes of all keys and values.
    pub const fn length(&self) -> usize {
        self.length
    }

    /// SHA-256 of guards and operations, by which a retry is told from another commit under its id.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

/// Hashes tag, lengths and bytes of each part, so that no two commits share an encoding.
fn digest(guards: &[Guard], ops: &[Op]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"klnet store commit 1\0");
    context.update(&(guards.len() as u64).to_be_bytes());
    for guard in guards {
        let (tag, rev) = match guard {
            Guard::Absent(_) => (b'a', Rev::ZERO),
            Guard::Present(_) => (b'p', Rev::ZERO),
            Guard::ModRev(_, rev) => (b'm', *rev),
        };
        update(&mut context, tag, guard.key().as_bytes());
        context.update(&rev.0.to_be_bytes());
    }
    for op in ops {
        update(&mut context, b'k', op.key().as_bytes());
        match op.value() {
            Some(value) => update(&mut context, b'v', value),
            None => update(&mut context, b'd', &[]),
        }
        if let Some(lease) = op.lease() {
            update(&mut context, b'l', &lease.0);
        }
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

fn update(context: &mut digest::Context, tag: u8, bytes: &[u8]) {
    context.update(&[tag]);
    context.update(&(bytes.len() as u64).to_be_bytes());
    context.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_tells_apart_what_differs_in_one_part() {
        let key = || Key::new("k").expect("short");
        let put = |value: &'static str| vec![Op::put(key(), value)];
        let all = [
            digest(&[], &[]),
            digest(&[], &put("a")),
            digest(&[], &put("b")),
            digest(&[], &put("")),
            digest(&[], &[Op::delete(key())]),
            digest(&[], &[Op::put_leased(key(), "a", LeaseId([1; 16]))]),
            digest(&[], &[Op::put_leased(key(), "a", LeaseId([2; 16]))]),
            digest(&[Guard::Absent(key())], &put("a")),
            digest(&[Guard::Present(key())], &put("a")),
            digest(&[Guard::ModRev(key(), Rev(1))], &put("a")),
            digest(&[Guard::ModRev(key(), Rev(2))], &put("a")),
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(!all[n + 1..].contains(one), "digest {n} repeats");
        }
    }
}
