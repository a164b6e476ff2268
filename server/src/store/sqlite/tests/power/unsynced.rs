//! What of a file is not durable, and how little of that can be left.

use std::{collections::BTreeMap, fs::File, os::unix::fs::FileExt};

use crate::store::conformance::Chance;

/// The size at the last sync, and what was in each sector that was written since.
///
/// What a sync that failed was to write is forgotten by the system, which takes it for written: only writing it again
/// helps.
#[derive(Debug)]
pub(super) struct Unsynced {
    size: u64,
    sectors: BTreeMap<u64, Vec<u8>>,
    forgotten: BTreeMap<u64, Vec<u8>>,
}

impl Unsynced {
    /// A file whose first `size` bytes are durable.
    pub(super) const fn new(size: u64) -> Self {
        Self { size, sectors: BTreeMap::new(), forgotten: BTreeMap::new() }
    }

    /// A sync has worked, with the file at this size.
    pub(super) fn sync(&mut self, size: u64) {
        self.sectors.clear();
        self.size = size;
    }

    /// A sync has failed, with the file at this size.
    pub(super) fn fail(&mut self, size: u64) {
        let added = self.size.div_ceil(SECTOR)..size.div_ceil(SECTOR);
        self.forgotten.extend(added.map(|sector| (sector, vec![0; SECTOR_LENGTH])));
        self.forgotten.append(&mut self.sectors);
        self.size = size;
    }

    /// The sectors under a write that are durable as they are now, and not remembered yet.
    pub(super) fn fresh(&self, offset: u64, length: u64) -> Vec<u64> {
        let sectors = offset / SECTOR..(offset + length).min(self.size).div_ceil(SECTOR);
        let known = |sector: &u64| self.sectors.contains_key(sector) || self.forgotten.contains_key(sector);
        sectors.filter(|sector| !known(sector)).collect()
    }

    /// Sectors are written again, wholly or in part.
    pub(super) fn write(&mut self, offset: u64, length: u64) {
        for sector in offset / SECTOR..(offset + length).div_ceil(SECTOR) {
            if let Some(old) = self.forgotten.remove(&sector) {
                self.sectors.insert(sector, old);
            }
        }
    }

    /// Remembers what is in a sector before it is written over.
    pub(super) fn remember(&mut self, sector: u64, content: Vec<u8>) {
        self.sectors.insert(sector, content);
    }

    /// Loses any part of what is not durable.
    pub(super) fn lose(&self, file: &File, chance: &mut Chance) {
        let now = file.metadata().expect("it is open").len();
        for (sector, old) in self.sectors.iter().chain(&self.forgotten) {
            if chance.one_in(2) {
                file.write_all_at(old, sector * SECTOR).expect("the file is ours");
            }
        }
        // Of what was added, sectors may be there as zeroes; of the size, any between the two.
        for sector in self.size.div_ceil(SECTOR)..now.div_ceil(SECTOR) {
            if chance.one_in(2) {
                file.write_all_at(&[0; SECTOR_LENGTH], sector * SECTOR).expect("the file is ours");
            }
        }
        let (least, most) = (self.size.min(now), self.size.max(now));
        let size = match chance.below(4) {
            0 => least,
            1 => least + chance.below((most - least) / SECTOR + 1) * SECTOR,
            _ => most,
        };
        file.set_len(size).expect("the file is ours");
    }
}

/// The most that a disk writes as a whole.
pub(super) const SECTOR: u64 = 512;
const SECTOR_LENGTH: usize = 512;
