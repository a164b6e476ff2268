//! Looking into the sorted records of a segment.
//!
//! Keys are hashes, which are spread evenly: where the records begin whose keys have the same first bits is written down
//! once, and a look-up reads one of those numbers and the few records there. A feed whose keys crowd together has them
//! in few buckets, which are halved as usual.

use std::ops::Range;

use super::record::{RECORD_LENGTH, Record};
use crate::subject::Key;

/// Where in a segment the records begin whose keys have the same first bits, behind those that all of its keys have.
pub(super) struct Buckets {
    /// Bits that tell segments apart.
    shared: u32,
    /// Bits that tell buckets apart.
    bits: u32,
    /// The first record of each, and where the last one ends.
    begins: Box<[u32]>,
}

impl Buckets {
    /// Of the encoded records of a segment whose keys share their first bits.
    pub(super) fn new(encoded: &[u8], shared: u32) -> Self {
        let records: &[[u8; RECORD_LENGTH]] = encoded.as_chunks().0;
        let bits = records.len().div_ceil(RECORDS).next_power_of_two().trailing_zeros();
        let mut buckets = Self { shared, bits, begins: vec![0; (1 << bits) + 1].into() };
        for record in records {
            let bucket = buckets.of(Record::decode(record).bytes);
            buckets.begins[bucket + 1] += 1;
        }
        let mut begin = 0;
        for bucket in &mut buckets.begins {
            begin += *bucket;
            *bucket = begin;
        }
        buckets
    }

    fn of(&self, bytes: u128) -> usize {
        let bits = bytes.checked_shl(self.shared).unwrap_or(0);
        usize::try_from(bits.checked_shr(u128::BITS - self.bits).unwrap_or(0))
            .expect("a segment has few buckets")
    }

    /// Where a record with this key is, if there is one; those before have lower keys, and those behind higher ones.
    fn range(&self, bytes: u128) -> Range<usize> {
        let bucket = self.of(bytes);
        self.begins[bucket] as usize..self.begins[bucket + 1] as usize
    }
}

/// The records of one segment, encoded, and where to look for a key.
#[derive(Clone, Copy)]
pub(super) struct Sorted<'a> {
    pub(super) encoded: &'a [u8],
    pub(super) buckets: &'a Buckets,
}

impl Sorted<'_> {
    pub(super) fn len(&self) -> usize {
        self.encoded.len() / RECORD_LENGTH
    }

    pub(super) fn record(&self, index: usize) -> Record {
        let (records, _) = self.encoded.as_chunks();
        records.get(index).map_or(Record { bytes: u128::MAX, rest: u128::MAX }, Record::decode)
    }

    /// The record about `key` that is to be believed. A size that either side does not know fits any.
    pub(super) fn find(&self, key: &Key) -> Option<Record> {
        let bytes = u128::from_be_bytes(key.bytes);
        let first = self.lower_bound(bytes);
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
        let end = self.buckets.range(bytes).end;
        // Almost always: one hash, one size.
        let is_first = self.record(first).subject() >= (bytes, extent);
        let found = if is_first {
            first
        } else {
            self.halve(first..end, |record| record.subject() < (bytes, extent))
        };
        Some(self.record(found)).filter(|record| found < self.len() && record.subject() == (bytes, extent))
    }

    /// The first record whose key is not below `bytes`.
    pub(super) fn lower_bound(&self, bytes: u128) -> usize {
        let range = self.buckets.range(bytes);
        if range.len() > FEW {
            return self.halve(range, |record| record.bytes < bytes);
        }
        // No branch hangs on what the memory says, so that the processor need not wait for it to go on.
        let begin = range.start;
        begin + range.map(|index| usize::from(self.record(index).bytes < bytes)).sum::<usize>()
    }

    /// The first record of a range that is not before what is looked for.
    fn halve(&self, range: Range<usize>, is_before: impl Fn(&Record) -> bool) -> usize {
        let Range { start: mut low, end: mut high } = range;
        while low < high {
            let middle = low.midpoint(high);
            if is_before(&self.record(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }
}

/// At most so many records are in a bucket on the average: two cache lines beside each other, and two bytes of the table
/// for each record at most.
const RECORDS: usize = 4;
/// Records of a bucket that are all looked at.
const FEW: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_where_it_is_or_would_be() {
        for shared in [0, 7, 16] {
            // Spread evenly, and crowded into one bucket.
            for step in [u128::MAX >> 12, 1] {
                let keys: Vec<_> = (0..1000).map(|number| (number * step) >> shared).collect();
                let encoded: Vec<_> = keys.iter().flat_map(|bytes| record(*bytes).encode()).collect();
                let buckets = Buckets::new(&encoded, shared);
                let sorted = Sorted { encoded: &encoded, buckets: &buckets };
                for bytes in keys.iter().flat_map(|key| [key.saturating_sub(1), *key, key + 1]) {
                    let expected = keys.partition_point(|key| *key < bytes);
                    assert_eq!(sorted.lower_bound(bytes), expected, "{bytes:x} with {shared} bits shared");
                }
            }
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        let buckets = Buckets::new(&[], 3);
        let sorted = Sorted { encoded: &[], buckets: &buckets };
        assert_eq!([0, 1, u128::MAX >> 3].map(|bytes| sorted.lower_bound(bytes)), [0; 3]);
        assert_eq!(sorted.of_extent(0, 1, Key::NO_EXTENT), None);
    }

    fn record(bytes: u128) -> Record {
        Record { bytes, rest: 0 }
    }
}
