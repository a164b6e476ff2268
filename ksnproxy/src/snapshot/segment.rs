//! Which segment of a key space a key is in, and looking into one.

use super::manifest::{Manifest, Space};
use super::record::{RECORD_LENGTH, Record};
use crate::subject::{Key, Kind};

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

/// The number that the first bits of a key are; no more than [`BITS_MOST`] of them.
pub(super) fn index_of(bytes: u128, bits: u32) -> usize {
    usize::try_from(bytes.checked_shr(128 - bits).unwrap_or(0)).unwrap_or(usize::MAX)
}

#[cfg(feature = "import")]
/// How many leading bits tell segments apart when a key space has so many records.
pub(super) fn bits_for(records: u64) -> u32 {
    let segments = records.div_ceil(SEGMENT_RECORDS).max(1);
    segments.next_power_of_two().trailing_zeros().min(BITS_MOST)
}

/// Sorted records of one segment.
#[derive(Clone, Copy)]
pub(super) struct Sorted<'a>(pub(super) &'a [u8]);

impl Sorted<'_> {
    pub(super) fn len(&self) -> usize {
        self.0.len() / RECORD_LENGTH
    }

    pub(super) fn record(&self, index: usize) -> Record {
        let (records, _) = self.0.as_chunks();
        records.get(index).map_or(Record { bytes: u128::MAX, rest: u128::MAX }, Record::decode)
    }

    /// The record about `key` that is to be believed. A size that either side does not know fits any.
    pub(super) fn find(&self, key: &Key, bits: u32) -> Option<Record> {
        let bytes = u128::from_be_bytes(key.bytes);
        let first = self.lower_bound(bytes, bits);
        let here = (first < self.len()).then(|| self.record(first)).filter(|record| record.bytes == bytes)?;
        let whatever = self.of_extent(first, bytes, Key::NO_EXTENT);
        let sized =
            if key.extent == Key::NO_EXTENT { Some(here) } else { self.of_extent(first, bytes, key.extent) };
        match (sized, whatever) {
            (Some(one), Some(other)) => Some(if other.outweighs(&one) { other } else { one }),
            (one, other) => one.or(other),
        }
    }

    /// The record with exactly this extent, from `first` on.
    pub(super) fn of_extent(&self, first: usize, bytes: u128, extent: u64) -> Option<Record> {
        let (mut low, mut high) = (first, self.len());
        if self.record(first).subject() >= (bytes, extent) {
            high = first; // almost always: one hash, one size
        }
        while low < high {
            let middle = low.midpoint(high);
            if self.record(middle).subject() < (bytes, extent) { low = middle + 1 } else { high = middle }
        }
        Some(self.record(low)).filter(|record| low < self.len() && record.subject() == (bytes, extent))
    }

    /// The first record whose key is not below `bytes`. Hashes are spread evenly, so where one is can be calculated; a
    /// feed of keys that are not gets no more than a few guesses before the range is halved as usual.
    pub(super) fn lower_bound(&self, bytes: u128, bits: u32) -> usize {
        let (mut low, mut high) = (0, self.len());
        let (mut below, mut above) = (0_u64, u64::MAX);
        let wanted = fraction(bytes, bits);
        for _ in 0..GUESSES {
            if high - low <= SCAN {
                break;
            }
            let guess = low + between(wanted, below, above, high - low);
            let record = self.record(guess);
            if record.bytes < bytes {
                (low, below) = (guess + 1, fraction(record.bytes, bits));
            } else {
                (high, above) = (guess, fraction(record.bytes, bits));
            }
        }
        while low < high {
            let middle = low.midpoint(high);
            if self.record(middle).bytes < bytes { low = middle + 1 } else { high = middle }
        }
        low
    }
}

/// Where in its segment a key would be, as a fraction of 2^64.
fn fraction(bytes: u128, bits: u32) -> u64 {
    u64::try_from(bytes.checked_shl(bits).unwrap_or(0) >> 64).expect("64 bits are left")
}

/// The place in `0..count` of `wanted` between two keys.
fn between(wanted: u64, below: u64, above: u64, count: usize) -> usize {
    let width = u128::from(above.saturating_sub(below)).max(1);
    let into = u128::from(wanted.saturating_sub(below)).min(width);
    let place = into * u128::try_from(count).unwrap_or(u128::MAX) / width;
    usize::try_from(place).unwrap_or(usize::MAX).min(count - 1)
}

#[cfg(feature = "import")]
/// Segments have about so many records: 1 MiB, few enough to keep the manifest small (a megabyte for a billion keys) and
/// to send again when one was damaged.
pub(super) const SEGMENT_RECORDS: u64 = 32_768;

/// No key space has more than 2^16 segments: two billion records then make segments of that size.
pub(super) const BITS_MOST: u32 = 16;

/// Guesses before the rest is halved.
const GUESSES: u32 = 6;

/// Ranges this short are halved.
const SCAN: usize = 8;
