//! The cache: sets of 16 entries, each with a SIEVE of its own; readers wait for nobody.
//!
//! A set is found by a keyed hash, so nobody outside can choose keys that share one. Its entries are read under a sequence
//! number: a reader that was overtaken by a writer reads again. The bound is in bytes and all of it is taken at the start.

mod entry;
mod set;
mod sieve;

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

pub use entry::Cached;
use entry::Words;
use set::Set;

use crate::subject::Key;

/// A cache for all threads.
pub struct Cache {
    sets: Box<[Set]>,
    hash_key: [u8; 16],
}

impl Cache {
    /// A cache of at most `bytes`, at least one set, whose hash nobody knows without `hash_key`.
    pub fn new(bytes: usize, hash_key: [u8; 16]) -> Self {
        let sets = (bytes / size_of::<Set>()).max(1);
        Self { sets: (0..sets).map(|_| Set::default()).collect(), hash_key }
    }

    /// What is cached under the key, whatever its age; how often it was asked for before counts up to 3.
    pub fn find(&self, key: &Key) -> Option<Cached> {
        let words = entry::key_words(key);
        let (set, tag) = self.place(&words);
        set.find(&words, tag)
    }

    /// Puts an entry in the place of an older one with its key, of one nobody asks for, or of none.
    pub fn insert(&self, key: &Key, cached: &Cached) {
        let words = entry::key_words(key);
        let (set, tag) = self.place(&words);
        set.insert(&words, tag, entry::value_words(cached));
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.sets.iter().map(Set::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sets.iter().all(|set| set.len() == 0)
    }

    /// How many entries there can be.
    pub const fn capacity(&self) -> usize {
        self.sets.len() * set::WAYS
    }

    /// The set of a key, and its tag there.
    fn place(&self, key: &Words<3>) -> (&Set, u8) {
        let mut hasher = SipHasher13::new_with_key(&self.hash_key);
        key.iter().for_each(|word| hasher.write_u64(*word));
        let hash = hasher.finish();
        let [tag, ..] = hash.to_le_bytes();
        // The upper half of the product: the hash's upper bits, scaled to the number of sets.
        let at = (u128::from(hash) * self.sets.len() as u128) >> 64;
        let at = usize::try_from(at).expect("less than the number of sets");
        (&self.sets[at], tag.max(1))
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("sets", &self.sets.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
