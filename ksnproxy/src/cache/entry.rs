//! An entry: five words, so that it is read and written without a lock.

use crate::subject::Key;
use crate::verdict::{Category, Reputation};

/// What is kept of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cached {
    /// The judgement.
    pub reputation: Reputation,
    /// What it is.
    pub category: Category,
    /// How sure the source is, in percent.
    pub confidence: u8,
    /// Not everything that could know was asked.
    pub partial: bool,
    /// Which list says so.
    pub source: u16,
    /// The last so many seconds of its time are the last tenth.
    pub tenth: u16,
    /// When its time is over, in seconds of the clock.
    pub expires: u32,
    /// When the source said so.
    pub said: u32,
    /// How often it was asked for, counted up to 3; not stored with the entry.
    pub asked: u8,
}

/// Words of an entry.
pub(super) type Words<const N: usize> = [u64; N];

/// The words of a key.
pub(super) fn key_words(key: &Key) -> Words<3> {
    let (upper, lower) = key.bytes.split_at(8);
    let word = |half: &[u8]| half.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    [u64::from(key.kind as u8) << 56 | key.extent, word(upper), word(lower)]
}

/// The words of what is kept.
pub(super) fn value_words(cached: &Cached) -> Words<2> {
    let Cached { reputation, category, confidence, partial, source, tenth, expires, said, .. } = *cached;
    let [s0, s1] = source.to_be_bytes();
    let [t0, t1] = tenth.to_be_bytes();
    let said_of = [reputation as u8, category as u8, confidence, u8::from(partial), s0, s1, t0, t1];
    [u64::from_be_bytes(said_of), u64::from(expires) << 32 | u64::from(said)]
}

/// What the words of [`value_words`] say.
pub(super) fn cached([said_of, times]: Words<2>, asked: u8) -> Option<Cached> {
    let [reputation, category, confidence, partial, s0, s1, t0, t1] = said_of.to_be_bytes();
    Some(Cached {
        reputation: Reputation::from_number(reputation)?,
        category: Category::from_number(category)?,
        confidence,
        partial: partial != 0,
        source: u16::from_be_bytes([s0, s1]),
        tenth: u16::from_be_bytes([t0, t1]),
        expires: u32::try_from(times >> 32).ok()?,
        said: u32::try_from(times & 0xffff_ffff).ok()?,
        asked,
    })
}
