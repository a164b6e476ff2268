//! What a snapshot consists of: the part that is signed.

use std::collections::BTreeMap;

use prost::Message as _;

use crate::subject::Kind;

/// What a snapshot consists of.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Manifest {
    /// Grows with each snapshot of a store; a proxy takes none below the one it has.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    /// When it was made, in seconds of Unix time.
    #[prost(uint64, tag = "2")]
    pub created: u64,
    /// Who says what is in it; source N of a claim is the Nth, counted from 1.
    #[prost(message, repeated, tag = "3")]
    pub sources: Vec<Source>,
    /// The key spaces, in the order of their numbers.
    #[prost(message, repeated, tag = "4")]
    pub spaces: Vec<Space>,
}

/// A source as of its last import.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Source {
    /// Its name, unique in a store.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The format it was read as.
    #[prost(string, tag = "2")]
    pub format: String,
    /// When it was imported, in seconds of Unix time.
    #[prost(uint64, tag = "3")]
    pub imported: u64,
    /// How many records it has.
    #[prost(uint64, tag = "4")]
    pub records: u64,
}

/// One key space, cut into segments by the first bits of the keys.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Space {
    /// [`Kind`] as a number.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// How many bits: there are 2^bits segments.
    #[prost(uint32, tag = "2")]
    pub bits: u32,
    /// How many records each segment has.
    #[prost(uint32, repeated, tag = "3")]
    pub records: Vec<u32>,
    /// SHA-256 of each segment, one after the other.
    #[prost(bytes = "vec", tag = "4")]
    pub digests: Vec<u8>,
}

/// Bytes that are no manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no manifest of a snapshot")]
pub struct BadManifest;

impl Manifest {
    /// Reads a manifest; what it says of sizes and numbers agrees with itself.
    ///
    /// # Errors
    /// When it does not.
    pub fn read(bytes: &[u8]) -> Result<Self, BadManifest> {
        if bytes.len() > MANIFEST_MOST {
            return Err(BadManifest);
        }
        let manifest = Self::decode(bytes).map_err(|_| BadManifest)?;
        let sound = manifest.spaces.iter().all(Space::is_sound)
            && manifest.spaces.is_sorted_by(|one, next| one.kind < next.kind)
            && manifest.sources.len() <= SOURCES_MOST;
        if sound { Ok(manifest) } else { Err(BadManifest) }
    }

    /// How many records there are of each kind.
    pub fn records(&self) -> BTreeMap<Kind, u64> {
        let total = |space: &Space| space.records.iter().map(|records| u64::from(*records)).sum();
        self.spaces.iter().filter_map(|space| Some((space.kind()?, total(space)))).collect()
    }

    /// The name of the source with this number.
    pub fn source(&self, number: u16) -> Option<&str> {
        let index = usize::from(number).checked_sub(1)?;
        self.sources.get(index).map(|source| source.name.as_str())
    }

    /// The key space of the segment with this place among all, and its number there.
    pub(super) fn at(&self, place: usize) -> Option<(Kind, usize)> {
        let (space, index) = self.space_at(place)?;
        Some((space.kind()?, index))
    }

    /// The SHA-256 that a segment must have, by its place among all.
    pub(super) fn digest(&self, place: usize) -> Option<&[u8; 32]> {
        let (space, index) = self.space_at(place)?;
        space.digests.as_chunks().0.get(index)
    }

    fn space_at(&self, place: usize) -> Option<(&Space, usize)> {
        let mut rest = place;
        for space in &self.spaces {
            match rest.checked_sub(space.records.len()) {
                Some(beyond) => rest = beyond,
                None => return Some((space, rest)),
            }
        }
        None
    }
}

impl Space {
    /// The key space.
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_number(u8::try_from(self.kind).ok()?)
    }

    fn is_sound(&self) -> bool {
        self.kind().is_some()
            && self.bits <= BITS_MOST
            && self.records.len() == 1 << self.bits
            && self.digests.len() == self.records.len() * 32
    }
}

/// A manifest of more bytes is refused: it holds 36 bytes or less for each of at most 2^16 segments of 12 key spaces.
pub const MANIFEST_MOST: usize = 32 * 1024 * 1024;

/// The number of a source has 16 bits, and 0 is none.
pub const SOURCES_MOST: usize = 65_535;

/// No key space has more than 2^16 segments: two billion records then make segments of that size.
pub(super) const BITS_MOST: u32 = 16;
