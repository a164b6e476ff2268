//! A snapshot in memory, and its answers.

use std::io::{Read, Seek};
use std::ops::Range;
use std::time::Duration;

use klnet_wire::signed::PublicKey;
use prost::Message as _;

use super::manifest::Manifest;
use super::network::Networks;
use super::reader::{Reader, SnapshotError};
use super::record::{RECORD_LENGTH, Record};
use super::segment::{SegmentId, index_of};
use super::sorted::{Buckets, Sorted};
use crate::piece::{Fetch, Item, Piece};
use crate::subject::{Key, Kind, Subject};
use crate::verdict::{Reputation, Verdict};

/// A snapshot that answers. It never changes: another takes its place.
pub struct Snapshot {
    manifest: Manifest,
    /// The manifest as it was signed, for who replicates this snapshot.
    signed: Vec<u8>,
    body: Vec<u8>,
    /// By the number of the kind.
    spaces: [Option<LoadedSpace>; Kind::ALL.len() + 1],
    networks: Networks,
}

/// Where the segments of one key space are in memory; those that are not held are none.
struct LoadedSpace {
    bits: u32,
    segments: Vec<Option<Loaded>>,
}

/// A segment in memory.
struct Loaded {
    at: Range<usize>,
    buckets: Buckets,
}

impl LoadedSpace {
    fn index_of(&self, bytes: u128) -> usize {
        index_of(bytes, self.bits)
    }
}

/// What a search came to.
enum Found {
    Record(Record),
    /// Only the first bytes of the hash are on a list.
    Prefix(Record),
    Nothing,
    /// The segment that would have it is not held here.
    NotHeld,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Loads every segment that the file holds, and verifies all of it.
    ///
    /// # Errors
    /// [`SnapshotError`] when it is damaged, cut off, or signed by none of `trusted`.
    pub fn load(source: impl Read + Seek, trusted: &[PublicKey]) -> Result<Self, SnapshotError> {
        let mut reader = Reader::open(source, trusted)?;
        let (body, begins) = reader.whole()?;
        let load = |at: Range<usize>, bits| {
            let buckets = Buckets::new(&body[at.clone()], bits);
            Loaded { at, buckets }
        };
        let manifest = reader.manifest().clone();
        let mut spaces: [Option<LoadedSpace>; Kind::ALL.len() + 1] = std::array::from_fn(|_| None);
        for (segment, begin) in manifest.segments().zip(begins) {
            let bits = segment_bits(&manifest, &segment);
            let space = &mut spaces[segment.kind as usize];
            let space = space.get_or_insert_with(|| LoadedSpace { bits, segments: Vec::new() });
            let length = segment.records as usize * RECORD_LENGTH;
            space.segments.push(begin.map(|begin| load(begin..begin + length, bits)));
        }
        let signed = reader.signed().encode_to_vec();
        let mut snapshot = Self { manifest, signed, body, spaces, networks: Networks::default() };
        snapshot.networks = Networks::new(snapshot.records(Kind::Network));
        Ok(snapshot)
    }

    /// What is known of a subject at `now`, in seconds of Unix time. Partial says that this snapshot is a part and would
    /// have the answer in another, or that only the first bytes of the hash are on a list.
    pub fn lookup(&self, subject: &Subject, now: u64) -> Verdict {
        self.lookup_key(&subject.key(), now)
    }

    /// Like [`Self::lookup`], of whom only the key is known.
    pub fn lookup_key(&self, key: &Key, now: u64) -> Verdict {
        match self.find(key) {
            Found::Record(record) => verdict(&record, now, false),
            Found::Prefix(record) => verdict(&record, now, true),
            Found::Nothing => Verdict::unknown(ttl_of(Reputation::Unknown)),
            Found::NotHeld => Verdict { partial: true, ..Verdict::unknown(ttl_of(Reputation::Unknown)) },
        }
    }

    /// Every key of `kind` whose bytes begin with the first `bits` of `prefix`, with what is known of it; `None` when there
    /// are more than `most`, or not all of them are held here.
    pub fn matches(
        &self,
        kind: Kind,
        prefix: u64,
        bits: u8,
        most: usize,
        now: u64,
    ) -> Option<Vec<(Key, Verdict)>> {
        let free = 128 - u32::from(bits).min(64);
        let first = u128::from(prefix) << 64 & u128::MAX.checked_shl(free).unwrap_or(0);
        let last = first | u128::MAX.checked_shr(128 - free).unwrap_or(0);
        let mut matches = Vec::new();
        let Some(space) = &self.spaces[kind as usize] else { return Some(matches) };
        for segment in &space.segments[space.index_of(first)..=space.index_of(last)] {
            let records = self.sorted(segment.as_ref()?);
            let at = records.lower_bound(first);
            let within = (at..records.len())
                .map(|index| records.record(index))
                .take_while(|record| record.bytes <= last);
            for record in within {
                if matches.len() == most {
                    return None;
                }
                matches.push((record.key(kind), verdict(&record, now, false)));
            }
        }
        Some(matches)
    }

    /// What the snapshot consists of.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether every segment is held.
    pub fn is_whole(&self) -> bool {
        self.spaces.iter().flatten().all(|space| space.segments.iter().all(Option::is_some))
    }

    /// A piece of this snapshot for who replicates it; `None` when it is of another snapshot, or not held.
    pub fn piece(&self, fetch: &Fetch) -> Option<Piece> {
        let sequence = self.manifest.sequence;
        if ![0, sequence].contains(&fetch.sequence) {
            return None;
        }
        let item = match fetch.item {
            Item::Manifest => &self.signed[..],
            Item::Segment(place) => self.segment(usize::try_from(place).ok()?)?,
        };
        Piece::cut(sequence, item, fetch.number)
    }

    /// The records of the segment with this place, when it is held.
    fn segment(&self, place: usize) -> Option<&[u8]> {
        let (kind, index) = self.manifest.at(place)?;
        let space = self.spaces[kind as usize].as_ref()?;
        let segment = space.segments.get(index)?.as_ref()?;
        self.body.get(segment.at.clone())
    }

    fn sorted<'a>(&'a self, segment: &'a Loaded) -> Sorted<'a> {
        Sorted { encoded: &self.body[segment.at.clone()], buckets: &segment.buckets }
    }

    fn find(&self, key: &Key) -> Found {
        match key.kind {
            Kind::Network => self.find_network(key),
            Kind::Url => self.find_url(key),
            _ => self.find_exactly(key),
        }
    }

    fn find_exactly(&self, key: &Key) -> Found {
        let Some(space) = &self.spaces[key.kind as usize] else { return Found::Nothing };
        let segment = space.segments.get(space.index_of(u128::from_be_bytes(key.bytes)));
        let Some(segment) = segment.and_then(Option::as_ref) else { return Found::NotHeld };
        self.sorted(segment).find(key).map_or(Found::Nothing, Found::Record)
    }

    /// Whole hashes first, then lists of their first eight and four bytes.
    fn find_url(&self, key: &Key) -> Found {
        let whole = self.find_exactly(key);
        if !matches!(whole, Found::Nothing) {
            return whole;
        }
        for length in PREFIXES {
            let mut bytes = [0; 16];
            bytes[..length].copy_from_slice(&key.bytes[..length]);
            let prefix = Key { kind: Kind::Url, bytes, extent: length as u64 };
            match self.find_exactly(&prefix) {
                Found::Record(record) if record.extent() == prefix.extent => return Found::Prefix(record),
                _ => {}
            }
        }
        Found::Nothing
    }

    fn find_network(&self, key: &Key) -> Found {
        let held = self.spaces[Kind::Network as usize].as_ref();
        if held.is_some_and(|space| space.segments.iter().any(Option::is_none)) {
            return Found::NotHeld; // a larger network may begin in any segment
        }
        self.networks.find(key).map_or(Found::Nothing, Found::Record)
    }

    fn records(&self, kind: Kind) -> impl Iterator<Item = Record> {
        let segments = self.spaces[kind as usize].iter().flat_map(|space| space.segments.iter().flatten());
        segments.flat_map(|segment| self.body[segment.at.clone()].as_chunks().0).map(Record::decode)
    }
}

/// How long a judgement may be used. Harm is seldom taken back, and what nobody knows may be on a list in minutes.
pub const fn ttl_of(reputation: Reputation) -> Duration {
    match reputation {
        Reputation::Malicious => Duration::from_secs(24 * 3600),
        Reputation::Clean | Reputation::Known | Reputation::Suspicious => Duration::from_secs(6 * 3600),
        Reputation::Unknown => Duration::from_secs(5 * 60),
        Reputation::Unavailable => Duration::from_secs(5),
    }
}

fn verdict(record: &Record, now: u64, partial: bool) -> Verdict {
    let Some(claim) = record.claim() else { return Verdict::unknown(ttl_of(Reputation::Unknown)) };
    Verdict {
        reputation: claim.reputation,
        category: claim.category,
        confidence: claim.confidence,
        source: claim.source,
        ttl: ttl_of(claim.reputation),
        age: Duration::from_secs(now.saturating_sub(claim.time.into())),
        stale: false,
        partial,
    }
}

fn segment_bits(manifest: &Manifest, segment: &SegmentId) -> u32 {
    manifest.spaces.iter().find(|space| space.kind() == Some(segment.kind)).map_or(0, |space| space.bits)
}

/// Lengths of the prefixes that lists of Safe Browsing have, the more particular first; the extent of such a key.
pub(crate) const PREFIXES: [usize; 2] = [8, 4];
