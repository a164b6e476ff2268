//! The limits of a commit, designed to the weakest backend (etcd refuses requests above 1.5 MiB).

use super::{Guard, Key, Op};

/// What a commit may hold at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a key.
    pub key: usize,
    /// Bytes of a value.
    pub value: usize,
    /// Operations in a commit; as many guards again, and as many keys under one lease.
    pub ops: usize,
    /// Bytes of all keys and values in the guards and operations of a commit.
    pub commit: usize,
}

/// Which limit a commit breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Too many operations.
    #[error("commit of {count} operations exceeds the limit of {limit}")]
    Ops {
        /// Operations in the commit.
        count: usize,
        /// See [`Limits::ops`].
        limit: usize,
    },
    /// Too many guards.
    #[error("commit of {count} guards exceeds the limit of {limit}")]
    Guards {
        /// Guards in the commit.
        count: usize,
        /// See [`Limits::ops`].
        limit: usize,
    },
    /// A value is too long.
    #[error("value of {length} bytes at {key} exceeds the limit of {limit}")]
    Value {
        /// The key it was put at.
        key: Key,
        /// Length in bytes.
        length: usize,
        /// See [`Limits::value`].
        limit: usize,
    },
    /// All together is too long.
    #[error("commit of {length} bytes exceeds the limit of {limit}")]
    Commit {
        /// Bytes of keys and values.
        length: usize,
        /// See [`Limits::commit`].
        limit: usize,
    },
    /// Two operations on one key.
    #[error("commit names the key {key} twice")]
    Twice {
        /// The repeated key.
        key: Key,
    },
}

impl Limits {
    /// The limits common to all backends.
    pub const COMMON: Self = Self { key: 512, value: 256 << 10, ops: 64, commit: 512 << 10 };

    /// Measures a commit and returns its length in bytes.
    pub(super) fn admit(&self, guards: &[Guard], ops: &[Op]) -> Result<usize, LimitError> {
        self.admit_counts(guards, ops)?;
        let mut length: usize = guards.iter().map(|guard| guard.key().as_bytes().len()).sum();
        for op in ops {
            length += op.key().as_bytes().len() + self.admit_value(op)?;
        }
        if length > self.commit {
            return Err(LimitError::Commit { length, limit: self.commit });
        }
        admit_keys(ops)?;
        Ok(length)
    }

    fn admit_counts(&self, guards: &[Guard], ops: &[Op]) -> Result<(), LimitError> {
        let limit = self.ops;
        match (guards.len(), ops.len()) {
            (count, _) if count > limit => Err(LimitError::Guards { count, limit }),
            (_, count) if count > limit => Err(LimitError::Ops { count, limit }),
            _ => Ok(()),
        }
    }

    fn admit_value(&self, op: &Op) -> Result<usize, LimitError> {
        let length = op.value().map_or(0, |value| value.len());
        if length > self.value {
            return Err(LimitError::Value { key: op.key().clone(), length, limit: self.value });
        }
        Ok(length)
    }
}

fn admit_keys(ops: &[Op]) -> Result<(), LimitError> {
    let mut keys: Vec<&Key> = ops.iter().map(Op::key).collect();
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(LimitError::Twice { key: pair[0].clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_accepted_at_its_limit_and_refused_one_past_it() {
        assert!(admit(&[put(0, 256 << 10)]).is_ok());
        assert!(matches!(admit(&[put(0, (256 << 10) + 1)]), Err(LimitError::Value { .. })));
    }

    #[test]
    fn count_of_operations_is_accepted_at_its_limit_and_refused_one_past_it() {
        let ops: Vec<Op> = (0..65).map(|n| put(n, 1)).collect();
        assert!(admit(&ops[..64]).is_ok());
        assert_eq!(admit(&ops), Err(LimitError::Ops { count: 65, limit: 64 }));
    }

    #[test]
    fn count_of_guards_is_accepted_at_its_limit_and_refused_one_past_it() {
        let guards: Vec<Guard> = (0..65).map(|n| Guard::Absent(key(n))).collect();
        assert!(Limits::COMMON.admit(&guards[..64], &[]).is_ok());
        let refused = Limits::COMMON.admit(&guards, &[]);
        assert_eq!(refused, Err(LimitError::Guards { count: 65, limit: 64 }));
    }

    #[test]
    fn length_of_a_commit_is_accepted_at_its_limit_and_refused_one_past_it() {
        // Two keys of five bytes leave 512 KiB - 10 for the values.
        let half = (256 << 10) - 5;
        assert_eq!(admit(&[put(0, half), put(1, half)]), Ok(512 << 10));
        assert!(matches!(admit(&[put(0, half), put(1, half + 1)]), Err(LimitError::Commit { .. })));
    }

    #[test]
    fn key_named_twice_in_one_commit_is_refused() {
        assert_eq!(admit(&[put(1, 1), Op::delete(key(1))]), Err(LimitError::Twice { key: key(1) }));
    }

    fn admit(ops: &[Op]) -> Result<usize, LimitError> {
        Limits::COMMON.admit(&[], ops)
    }

    fn put(n: usize, length: usize) -> Op {
        Op::put(key(n), vec![0; length])
    }

    fn key(n: usize) -> Key {
        Key::new(format!("key{n:02}")).expect("short")
    }
}
