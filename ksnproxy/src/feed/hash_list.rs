//! Lists of hashes that are brought up to date in place, and what being on one means.
//!
//! ```text
//! list of the import before ── update: places that go, hashes that come ──▶ list ── checksum fits ──▶ claims
//! ```
//! An update is of one version alone, and does not say which: on any other the checksum does not fit.

use std::collections::BTreeMap;

use data_encoding::BASE64URL;
use prost::Message as _;
use ring::digest::{SHA256, digest};

use super::error::Reason;
use super::says::Says;
use crate::subject::{Key, Kind};
use crate::verdict::{Category, Reputation};

/// The lists of a source, by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HashLists(BTreeMap<String, HashList>);

/// Hashes of one length, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HashList {
    /// What its publisher calls this state of it.
    version: Vec<u8>,
    length: usize,
    hashes: Vec<u8>,
}

/// What a list is to become.
#[derive(Debug, Default)]
pub(super) struct Update {
    pub(super) name: String,
    pub(super) version: Vec<u8>,
    /// Whether what is here stays, but for the removals.
    pub(super) is_partial: bool,
    /// Places in the list before, in order.
    pub(super) removals: Vec<usize>,
    /// Hashes one after the other, in order.
    pub(super) additions: Vec<u8>,
    /// SHA-256 of the hashes afterwards; of what has not changed there may be none.
    pub(super) checksum: Vec<u8>,
}

impl HashLists {
    /// Reads what [`Self::encode`] wrote; `None` when it is damaged.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (checksum, stored) = bytes.split_first_chunk::<32>()?;
        if digest(&SHA256, stored).as_ref() != checksum {
            return None;
        }
        let list = |stored: StoredList| {
            let length = usize::from(length_of(&stored.name)?);
            let list = HashList { version: stored.version, length, hashes: stored.hashes };
            list.hashes.len().is_multiple_of(length).then_some((stored.name, list))
        };
        let stored = StoredLists::decode(stored).ok()?.lists.into_iter();
        stored.map(list).collect::<Option<_>>().map(Self)
    }

    /// All of them, for a file.
    pub fn encode(&self) -> Vec<u8> {
        let stored = |(name, list): (&String, &HashList)| StoredList {
            name: name.clone(),
            version: list.version.clone(),
            hashes: list.hashes.clone(),
        };
        let stored = StoredLists { lists: self.0.iter().map(stored).collect() }.encode_to_vec();
        [digest(&SHA256, &stored).as_ref(), &stored].concat()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &HashList)> {
        self.0.iter().map(|(name, list)| (name.as_str(), list))
    }

    /// Brings a list up to date: the one that is here already, or that of the import before.
    pub(super) fn update(&mut self, before: &Self, update: Update) -> Result<(), Reason> {
        let length = length_of(&update.name).ok_or_else(|| Reason::Word(update.name.as_bytes().into()))?;
        let known = self.0.get(&update.name).or_else(|| before.0.get(&update.name));
        let list = match (known, update.is_partial) {
            (Some(known), true) => known.updated(&update).ok_or_else(|| Reason::Base(known.version()))?,
            (None, true) => return Err(Reason::Partial),
            (_, false) => {
                let none = HashList { length: length.into(), ..HashList::default() };
                none.updated(&update).ok_or(Reason::Checksum)?
            }
        };
        self.0.insert(update.name, list);
        Ok(())
    }

    /// What all lists say.
    pub(super) fn claims(&self) -> impl Iterator<Item = (Key, Says)> + '_ {
        self.0.iter().flat_map(|(name, list)| {
            let says = says_of(name);
            list.hashes.chunks_exact(list.length).filter_map(move |hash| Some((key(hash), says?)))
        })
    }
}

impl HashList {
    /// The version to ask for changes since, as it stands in a request.
    pub fn version(&self) -> String {
        BASE64URL.encode(&self.version)
    }

    /// How many hashes it has.
    pub fn count(&self) -> usize {
        self.hashes.len() / self.length.max(1)
    }

    /// `None` when the update is not of this list, or damaged.
    fn updated(&self, update: &Update) -> Option<Self> {
        let hashes = merged(&self.without(&update.removals)?, &update.additions, self.length)?;
        let is_same = update.is_partial && update.removals.is_empty() && update.additions.is_empty();
        let fits = digest(&SHA256, &hashes).as_ref() == update.checksum;
        let list = Self { version: update.version.clone(), length: self.length, hashes };
        (fits || (is_same && update.checksum.is_empty())).then_some(list)
    }

    /// The hashes but for those at these places, which are in order; `None` when there is no such place.
    fn without(&self, removals: &[usize]) -> Option<Vec<u8>> {
        if removals.last().is_some_and(|last| *last >= self.count()) {
            return None;
        }
        let (mut kept, mut begin) = (Vec::with_capacity(self.hashes.len()), 0);
        for place in removals {
            kept.extend_from_slice(self.hashes.get(begin..place * self.length)?);
            begin = (place + 1) * self.length;
        }
        kept.extend_from_slice(self.hashes.get(begin..)?);
        Some(kept)
    }
}

/// Both in order; `None` when a hash is in both.
fn merged(kept: &[u8], added: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut all = Vec::with_capacity(kept.len() + added.len());
    let mut added = added.chunks_exact(length).peekable();
    for hash in kept.chunks_exact(length) {
        while let Some(before) = added.next_if(|added| *added < hash) {
            all.extend_from_slice(before);
        }
        if added.peek() == Some(&hash) {
            return None;
        }
        all.extend_from_slice(hash);
    }
    added.for_each(|hash| all.extend_from_slice(hash));
    Some(all)
}

/// How many bytes the hashes of a list have, as the end of its name says; `None` when it is no list that is known.
pub(super) fn length_of(name: &str) -> Option<u8> {
    says_of(name)?;
    match name.split_once('-')?.1 {
        "4b" => Some(4),
        "8b" => Some(8),
        "16b" => Some(16),
        "32b" => Some(32),
        _ => None,
    }
}

/// Of sixteen bytes and more a key is a whole one; a shorter one has its length as extent.
fn key(hash: &[u8]) -> Key {
    let mut bytes = [0; 16];
    let length = hash.len().min(16);
    bytes[..length].copy_from_slice(&hash[..length]);
    let extent = if length < 16 { length as u64 } else { Key::NO_EXTENT };
    Key { kind: Kind::Url, bytes, extent }
}

/// What being on a list means. A hash that begins alike is suspicious, no more.
fn says_of(name: &str) -> Option<Says> {
    let suspicious =
        |category| Says { reputation: Reputation::Suspicious, ..Says::malicious(category, CONFIDENCE) };
    match name.split_once('-')?.0 {
        "gc" => Some(Says::clean(Category::None, CONFIDENCE)),
        "se" => Some(suspicious(Category::Phishing)),
        "mw" => Some(suspicious(Category::Malware)),
        "uws" | "uwsa" | "pha" => Some(suspicious(Category::Unwanted)),
        _ => None,
    }
}

const CONFIDENCE: u8 = 60;

#[derive(Clone, PartialEq, prost::Message)]
struct StoredLists {
    #[prost(message, repeated, tag = "1")]
    lists: Vec<StoredList>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredList {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    version: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    hashes: Vec<u8>,
}

#[cfg(test)]
mod tests;
