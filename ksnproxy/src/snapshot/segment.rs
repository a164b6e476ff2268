//! Which segment of a key space a key is in.

use super::manifest::{Manifest, Space};
use super::record::RECORD_LENGTH;
use crate::subject::Kind;

/// A segment of a snapshot: what is verified, held and replicated as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentId {
    /// Its key space.
    pub kind: Kind,
    /// The number its keys begin with.
    pub index: usize,
    /// Its place among all segments of the snapshot.
    pub ordinal: usize,
    /// Where it begins in a whole snapshot, after the magic.
    pub offset: u64,
    /// How many records it has.
    pub records: u32,
}

impl SegmentId {
    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        u64::from(self.records) * RECORD_LENGTH as u64
    }
}

impl Manifest {
    /// Every segment in the order of the file.
    pub fn segments(&self) -> impl Iterator<Item = SegmentId> + '_ {
        let (mut ordinal, mut offset) = (0, 0);
        self.spaces
            .iter()
            .flat_map(|space| space.kind().map(|kind| (kind, space)))
            .flat_map(|(kind, space)| {
                space.records.iter().enumerate().map(move |(index, records)| (kind, index, *records))
            })
            .map(move |(kind, index, records)| {
                let segment = SegmentId { kind, index, ordinal, offset, records };
                ordinal += 1;
                offset += segment.length();
                segment
            })
    }
}

/// The segments that hold the keys of `kind` from `first` to `last`: what a proxy asks for that wants only those.
pub fn segments_of(manifest: &Manifest, kind: Kind, first: [u8; 16], last: [u8; 16]) -> Vec<SegmentId> {
    let Some(space) = manifest.spaces.iter().find(|space| space.kind() == Some(kind)) else {
        return Vec::new();
    };
    let range = space.index_of(u128::from_be_bytes(first))..=space.index_of(u128::from_be_bytes(last));
    manifest.segments().filter(|segment| segment.kind == kind && range.contains(&segment.index)).collect()
}

impl Space {
    /// The segment that a key is in.
    pub(super) fn index_of(&self, bytes: u128) -> usize {
        index_of(bytes, self.bits)
    }
}

/// The number that the first bits of a key are; no more than [`super::manifest::BITS_MOST`] of them.
pub(super) fn index_of(bytes: u128, bits: u32) -> usize {
    usize::try_from(bytes.checked_shr(128 - bits).unwrap_or(0)).unwrap_or(usize::MAX)
}

#[cfg(feature = "import")]
/// How many leading bits tell segments apart when a key space has so many records.
pub(super) fn bits_for(records: u64) -> u32 {
    let segments = records.div_ceil(SEGMENT_RECORDS).max(1);
    segments.next_power_of_two().trailing_zeros().min(super::manifest::BITS_MOST)
}

#[cfg(feature = "import")]
/// Segments have about so many records: 1 MiB, few enough to keep the manifest small (a megabyte for a billion keys) and
/// to send again when one was damaged.
pub(super) const SEGMENT_RECORDS: u64 = 32_768;
