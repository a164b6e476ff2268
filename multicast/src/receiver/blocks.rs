//! The blocks of an object: what is in memory of each, and what is verified.

use std::collections::BTreeSet;

use super::Run;
use super::suspect::Suspect;
use crate::layout::Layout;
use crate::symbols::SymbolSet;

/// The blocks of an object; so many at most are in memory.
#[derive(Debug)]
pub(super) struct Blocks {
    layout: Layout,
    window: usize,
    blocks: Vec<Block>,
    /// Blocks in memory.
    held: usize,
    /// Those that wait for the disk.
    restoring: usize,
    verified: u32,
    /// Every block below is verified.
    below: u32,
    /// Blocks that were not what was signed.
    suspects: BTreeSet<u32>,
}

/// A block on its way.
#[derive(Debug)]
enum Block {
    Empty,
    Filling(SymbolSet),
    Restoring,
    Suspect(Suspect),
    Verified,
}

/// There is no room for another block.
#[derive(Debug)]
pub(super) struct NoRoom;

impl Blocks {
    /// Nothing is there yet.
    pub(super) fn new(layout: Layout, window: usize) -> Self {
        Self {
            layout,
            window,
            blocks: (0..layout.blocks()).map(|_| Block::Empty).collect(),
            held: 0,
            restoring: 0,
            verified: 0,
            below: 0,
            suspects: BTreeSet::new(),
        }
    }

    /// Begins to hold a block, where nothing of it is held. Where there is no room, a block below `deferred` that holds little
    /// is given up, or the highest one for a lower one: repair comes lowest first, so what is given up comes again.
    pub(super) fn open(&mut self, block: u32, deferred: u32) -> Result<Option<u32>, NoRoom> {
        let given_up = match self.held < self.window {
            true => None,
            false => Some(self.least_wanted(block, deferred).ok_or(NoRoom)?),
        };
        if let Some(given_up) = given_up {
            self.blocks[given_up as usize] = Block::Empty;
            self.held -= 1;
        }
        self.held += 1;
        self.blocks[block as usize] = Block::Filling(SymbolSet::new(self.layout.symbols(block)));
        Ok(given_up)
    }

    /// Notes the symbols of a run; says whether any was new and is needed.
    pub(super) fn insert(&mut self, run: Run) -> bool {
        let Block::Filling(have) = &mut self.blocks[run.block as usize] else { return false };
        have.len() < self.layout.sources(run.block) && have.insert(run.esi, run.count) > 0
    }

    /// The symbols of a block to restore it from, once there are enough.
    pub(super) fn restore(&mut self, block: u32) -> Option<SymbolSet> {
        let Block::Filling(have) = &mut self.blocks[block as usize] else { return None };
        if have.len() < self.layout.sources(block) {
            return None;
        }
        let have = std::mem::replace(have, SymbolSet::new(0));
        self.blocks[block as usize] = Block::Restoring;
        self.restoring += 1;
        Some(have)
    }

    /// Begins anew with a block that could not be restored.
    pub(super) fn forget(&mut self, block: u32) {
        (self.held, self.restoring) = (self.held - 1, self.restoring - 1);
        self.blocks[block as usize] = Block::Empty;
    }

    /// Keeps a restored block that is not what was signed.
    pub(super) fn suspect(&mut self, block: u32, have: SymbolSet) {
        self.restoring -= 1;
        self.blocks[block as usize] = Block::Suspect(Suspect::new(have, self.layout.symbols(block)));
        self.suspects.insert(block);
    }

    /// Throws away what was forged of a block; says whether all of its symbols were compared now.
    pub(super) fn compare(&mut self, block: u32, (first, count): (u16, u16), sound: &SymbolSet) -> bool {
        let Some(Block::Suspect(suspect)) = self.blocks.get_mut(block as usize) else { return false };
        suspect.compare(first, count, sound);
        let Some(sound) = suspect.verdict() else { return false };
        self.blocks[block as usize] = Block::Filling(sound);
        self.suspects.remove(&block);
        true
    }

    /// Notes that a block is verified.
    pub(super) fn verify(&mut self, block: u32) {
        match self.blocks.get(block as usize) {
            None | Some(Block::Verified) => return,
            Some(Block::Restoring) => (self.held, self.restoring) = (self.held - 1, self.restoring - 1),
            Some(Block::Filling(_)) => self.held -= 1,
            Some(Block::Suspect(_)) => {
                self.held -= 1;
                self.suspects.remove(&block);
            }
            Some(Block::Empty) => {}
        }
        self.blocks[block as usize] = Block::Verified;
        self.verified += 1;
        while self.is_verified(self.below) {
            self.below += 1;
        }
    }

    /// Whether hardly anything finds room: much waits for the disk or, unless this is the tail, for anything at all but what
    /// is deferred. Who was full is so until there is more room.
    pub(super) fn is_full(&self, was_full: bool, tail: bool, deferred: u32) -> bool {
        let window = self.window;
        let (much, most) =
            if was_full { (window / 4, window / 2) } else { (window / 2, window - window.div_ceil(SPARE)) };
        let held = self.held - self.idle(deferred).count();
        self.restoring > much || !tail && held > most
    }

    /// Whether nothing of a block is held, and it is not verified.
    pub(super) fn is_empty(&self, block: u32) -> bool {
        matches!(self.blocks[block as usize], Block::Empty)
    }

    /// Whether a block is being restored.
    pub(super) fn is_restoring(&self, block: u32) -> bool {
        matches!(self.blocks.get(block as usize), Some(Block::Restoring))
    }

    pub(super) fn is_verified(&self, block: u32) -> bool {
        matches!(self.blocks.get(block as usize), Some(Block::Verified))
    }

    /// How many symbols of a block are there, unless it needs none.
    pub(super) fn have(&self, block: u32) -> Option<u16> {
        let have = match self.blocks.get(block as usize)? {
            Block::Empty => 0,
            Block::Filling(have) => have.len(),
            Block::Restoring | Block::Suspect(_) | Block::Verified => return None,
        };
        (have < self.layout.sources(block)).then_some(have)
    }

    /// How many symbols a block lacks.
    pub(super) fn deficit(&self, block: u32) -> u16 {
        self.have(block).map_or(0, |have| self.layout.sources(block) - have)
    }

    /// Blocks that are verified.
    pub(super) const fn verified(&self) -> u32 {
        self.verified
    }

    /// Every block below is verified.
    pub(super) const fn below(&self) -> u32 {
        self.below
    }

    /// A block that waits for tags.
    pub(super) fn spoilt(&self) -> Option<u32> {
        self.suspects.first().copied()
    }

    /// Blocks in memory below `deferred` that hold too little to be asked for.
    fn idle(&self, deferred: u32) -> impl Iterator<Item = u32> {
        (self.below.max(1)..deferred).filter(|block| {
            let half = self.layout.sources(*block) / 2;
            matches!(&self.blocks[*block as usize], Block::Filling(have) if have.len() < half)
        })
    }

    fn least_wanted(&self, block: u32, deferred: u32) -> Option<u32> {
        let above = || (block + 1..self.layout.blocks()).rev();
        let is_filling = |block: &u32| matches!(self.blocks[*block as usize], Block::Filling(_));
        self.idle(deferred).next().or_else(|| above().find(is_filling))
    }
}

/// One part in so many of the window is for what is on its way when a receiver says that it is full.
const SPARE: usize = 3;
