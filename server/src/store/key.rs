//! Keys, and the prefixes under which they are scanned and watched.

use std::fmt;

use bytes::Bytes;

use super::Limits;

/// A key: 1 to 512 bytes, ordered bytewise.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

/// The start of keys; may be empty, which means every key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Prefix(Bytes);

/// Why bytes are not a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No bytes, or a part without any.
    #[error("key or part of a key is empty")]
    Empty,
    /// More bytes than [`Limits::key`].
    #[error("key of {length} bytes exceeds the limit of {limit}", limit = Limits::COMMON.key)]
    TooLong {
        /// Length in bytes.
        length: usize,
    },
    /// A part contains `/`, so it could pose as another key.
    #[error("part {part:?} of a key contains the separator '/'")]
    Separator {
        /// The offending part.
        part: String,
    },
}

impl Key {
    /// Takes bytes as a key.
    ///
    /// # Errors
    /// `Empty`, or `TooLong` beyond 512 bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, KeyError> {
        let bytes = bytes.into();
        match bytes.len() {
            0 => Err(KeyError::Empty),
            length if length > Limits::COMMON.key => Err(KeyError::TooLong { length }),
            _ => Ok(Self(bytes)),
        }
    }

    /// Joins parts by `/`: `["devices", "42"]` is `devices/42`.
    ///
    /// # Errors
    /// As [`Key::new`]; `Separator` when a part contains `/`, for parts often come from outside.
    pub fn join(parts: &[&str]) -> Result<Self, KeyError> {
        for part in parts {
            check_part(part)?;
        }
        Self::new(parts.join("/"))
    }

    /// The bytes of the key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What follows `prefix`; `None` when the key does not begin with it.
    pub fn strip_prefix(&self, prefix: &Prefix) -> Option<&[u8]> {
        self.0.strip_prefix(&prefix.0[..])
    }

    /// The smallest byte string above this key.
    pub(super) fn successor(&self) -> Vec<u8> {
        let mut next = Vec::with_capacity(self.0.len() + 1);
        next.extend_from_slice(&self.0);
        next.push(0);
        next
    }
}

impl Prefix {
    /// The prefix of every key.
    pub const fn all() -> Self {
        Self(Bytes::new())
    }

    /// The keys below these parts: `["devices"]` is `devices/`; no parts means every key.
    ///
    /// # Errors
    /// As [`Key::join`].
    pub fn below(parts: &[&str]) -> Result<Self, KeyError> {
        if parts.is_empty() {
            return Ok(Self::all());
        }
        for part in parts {
            check_part(part)?;
        }
        Self::new(parts.join("/") + "/")
    }

    /// Takes bytes as a prefix.
    ///
    /// # Errors
    /// `TooLong` beyond 512 bytes, since no key could begin with it.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, KeyError> {
        let bytes = bytes.into();
        match bytes.len() {
            length if length > Limits::COMMON.key => Err(KeyError::TooLong { length }),
            _ => Ok(Self(bytes)),
        }
    }

    /// Whether `key` begins with this prefix.
    pub fn contains(&self, key: &Key) -> bool {
        key.0.starts_with(&self.0)
    }

    /// The bytes of the prefix, which is also the lowest key it can contain.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A byte string above every key of this prefix and not above any other that follows.
    pub(super) fn end(&self) -> Vec<u8> {
        let mut end = self.0.to_vec();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                return end;
            }
        }
        // Nothing follows this prefix: one byte more than the longest key is above every key.
        vec![u8::MAX; Limits::COMMON.key + 1]
    }
}

fn check_part(part: &str) -> Result<(), KeyError> {
    if part.is_empty() {
        return Err(KeyError::Empty);
    }
    if part.contains('/') {
        return Err(KeyError::Separator { part: part.to_owned() });
    }
    Ok(())
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix({})", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_join_with_slashes() {
        assert_eq!(Key::join(&["devices", "42"]), Key::new("devices/42"));
        assert_eq!(Prefix::below(&["devices"]), Prefix::new("devices/"));
        assert_eq!(Prefix::below(&[]), Ok(Prefix::all()));
    }

    #[test]
    fn part_with_separator_cannot_pose_as_another_key() {
        assert_eq!(Key::join(&["devices", "4/2"]), Err(KeyError::Separator { part: "4/2".into() }));
        assert_eq!(Key::join(&["devices", ""]), Err(KeyError::Empty));
    }

    #[test]
    fn key_is_accepted_at_its_limit_and_refused_one_past_it() {
        assert!(Key::new(vec![b'k'; 512]).is_ok());
        assert_eq!(Key::new(vec![b'k'; 513]), Err(KeyError::TooLong { length: 513 }));
        assert_eq!(Key::new(Bytes::new()), Err(KeyError::Empty));
    }

    #[test]
    fn range_of_a_prefix_ends_right_after_it() {
        assert_eq!(Prefix::new("ab").expect("short").end(), b"ac");
        assert_eq!(Prefix::new(&b"a\xff\xff"[..]).expect("short").end(), b"b");
        assert!(Prefix::new(&b"\xff"[..]).expect("short").end() > vec![u8::MAX; 512]);
    }

    #[test]
    fn prefix_holds_only_keys_below_it() {
        let below = Prefix::below(&["a"]).expect("short");
        assert!(below.contains(&Key::new("a/b").expect("short")));
        assert!(!below.contains(&Key::new("ab").expect("short")));
        assert_eq!(Key::new("a/b").expect("short").strip_prefix(&below), Some(&b"b"[..]));
    }
}
