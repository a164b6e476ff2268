//! What the sender said the symbols of some blocks are.

use std::collections::BTreeMap;

use crate::id::SessionId;
use crate::layout::Layout;
use crate::symbols::SymbolSet;
use crate::tags::{Tag, Tags, tag};

/// The tags of a session.
#[derive(Debug)]
pub(super) struct TagBook {
    session: SessionId,
    layout: Layout,
    blocks: BTreeMap<u32, Vec<Option<Tag>>>,
}

impl TagBook {
    pub(super) const fn new(session: SessionId, layout: Layout) -> Self {
        Self { session, layout, blocks: BTreeMap::new() }
    }

    /// Takes in tags that the sender signed.
    pub(super) fn take(&mut self, tags: &Tags) {
        if tags.block >= self.layout.blocks() {
            return;
        }
        if self.blocks.len() == BLOCKS_KEPT && !self.blocks.contains_key(&tags.block) {
            // What was done first is needed least.
            self.blocks.pop_first();
        }
        let all = usize::from(self.layout.symbols(tags.block));
        let known = self.blocks.entry(tags.block).or_insert_with(|| vec![None; all]);
        for (place, tag) in known.iter_mut().skip(tags.first.into()).zip(&tags.tags) {
            *place = Some(*tag);
        }
    }

    /// Whether a symbol may be what was sent: it is, or nothing is known of it.
    pub(super) fn admits(&self, block: u32, esi: u16, symbol: &[u8]) -> bool {
        let known = self.blocks.get(&block).and_then(|known| *known.get(usize::from(esi))?);
        known.is_none_or(|known| known == tag(self.session, block, esi, symbol))
    }

    /// The symbols among `symbols`, those of a whole block, that have their tags.
    pub(super) fn sound(&self, block: u32, first: u16, count: u16, symbols: &[u8]) -> SymbolSet {
        let mut sound = SymbolSet::new(self.layout.symbols(block));
        let size = usize::from(self.layout.symbol());
        let places = symbols.chunks_exact(size).enumerate().skip(first.into()).take(count.into());
        for (esi, symbol) in places {
            let esi = u16::try_from(esi).unwrap_or(u16::MAX);
            if self.admits(block, esi, symbol) {
                sound.insert(esi, 1);
            }
        }
        sound
    }

    /// Whether the tags of a whole block are known.
    pub(super) fn is_complete(&self, block: u32) -> bool {
        self.blocks.get(&block).is_some_and(|known| known.iter().all(Option::is_some))
    }

    /// Forgets a block that is verified.
    pub(super) fn forget(&mut self, block: u32) {
        self.blocks.remove(&block);
    }
}

/// Twice as many as are held at once; their tags are 1 MB.
const BLOCKS_KEPT: usize = 2 * crate::receiver::WINDOW;
