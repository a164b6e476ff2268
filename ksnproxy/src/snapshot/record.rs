//! One key with what one source says of it, in 32 bytes.

use std::cmp::Ordering;

use crate::subject::{Key, Kind};
use crate::verdict::{Category, Reputation};

/// What a source says of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The judgement.
    pub reputation: Reputation,
    /// What it is.
    pub category: Category,
    /// How sure the source is, in percent.
    pub confidence: u8,
    /// Which source, by its number in the manifest; 0 in a file of one source.
    pub source: u16,
    /// When it said so, in seconds of Unix time.
    pub time: u32,
}

/// A key without its kind, and a claim. Two big-endian numbers, so that the order of bytes is the order of records:
///
/// ```text
/// bytes of the key 16 | extent 6 | time 4 | source 2 | reputation 1 | category 1 | confidence 1 | zero 1
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub(super) bytes: u128,
    pub(super) rest: u128,
}

impl Record {
    /// Puts a claim about a key into a record; an extent beyond 48 bits is none.
    pub fn new(key: Key, claim: Claim) -> Self {
        let rest = u128::from(key.extent.min(Key::NO_EXTENT)) << EXTENT_SHIFT
            | u128::from(claim.time) << 48
            | u128::from(claim.source) << 32
            | u128::from(claim.reputation as u8) << 24
            | u128::from(claim.category as u8) << 16
            | u128::from(claim.confidence.min(100)) << 8;
        Self { bytes: u128::from_be_bytes(key.bytes), rest }
    }

    /// The key, in the key space it was taken from.
    pub fn key(&self, kind: Kind) -> Key {
        Key { kind, bytes: self.bytes.to_be_bytes(), extent: self.extent() }
    }

    /// The claim; `None` when a number in it has no meaning.
    pub fn claim(&self) -> Option<Claim> {
        let [.., t0, t1, t2, t3, s0, s1, reputation, category, confidence, zero] = self.rest.to_be_bytes();
        (confidence <= 100 && zero == 0).then_some(Claim {
            reputation: Reputation::from_number(reputation)?,
            category: Category::from_number(category)?,
            confidence,
            source: u16::from_be_bytes([s0, s1]),
            time: u32::from_be_bytes([t0, t1, t2, t3]),
        })
    }

    /// Its form in a file.
    pub fn encode(&self) -> [u8; RECORD_LENGTH] {
        let mut encoded = [0; RECORD_LENGTH];
        encoded[..16].copy_from_slice(&self.bytes.to_be_bytes());
        encoded[16..].copy_from_slice(&self.rest.to_be_bytes());
        encoded
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(encoded: &[u8; RECORD_LENGTH]) -> Self {
        let (bytes, rest) = encoded.split_at(16);
        let number = |half: &[u8]| half.try_into().map_or(0, u128::from_be_bytes);
        Self { bytes: number(bytes), rest: number(rest) }
    }

    pub(super) fn extent(&self) -> u64 {
        u64::try_from(self.rest >> EXTENT_SHIFT).expect("48 bits are left")
    }

    /// What is the same for records about the same subject.
    pub(super) fn subject(&self) -> (u128, u64) {
        (self.bytes, self.extent())
    }

    #[cfg(feature = "import")]
    /// The same, said by the source of another number.
    pub(super) fn said_by(self, source: u16) -> Self {
        Self { rest: self.rest & !(0xffff << 32) | u128::from(source) << 32, ..self }
    }

    /// Which of two records about one subject is to be believed: see the rules of [`crate::snapshot`].
    pub(super) fn outweighs(&self, other: &Self) -> bool {
        let (Some(mine), Some(theirs)) = (self.claim(), other.claim()) else { return self.claim().is_some() };
        mine.weigh(&theirs) == Ordering::Greater
    }
}

impl Claim {
    fn weigh(&self, other: &Self) -> Ordering {
        let weight = |claim: &Self| (claim.confidence, rank(claim.reputation), claim.time);
        let earlier = |claim: &Self| (std::cmp::Reverse(claim.source), claim.category as u8);
        weight(self).cmp(&weight(other)).then_with(|| earlier(self).cmp(&earlier(other)))
    }
}

const fn rank(reputation: Reputation) -> u8 {
    match reputation {
        Reputation::Clean => 4,
        Reputation::Malicious => 3,
        Reputation::Suspicious => 2,
        Reputation::Known => 1,
        Reputation::Unknown | Reputation::Unavailable => 0,
    }
}

/// Bytes of a record in a file.
pub const RECORD_LENGTH: usize = 32;

const EXTENT_SHIFT: u32 = 80;
