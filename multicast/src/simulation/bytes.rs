//! Real bytes for a few receivers: what they restore is compared with what was sent.

use std::collections::HashMap;

use crate::dice::Dice;
use crate::erasure::Codec;
use crate::layout::Layout;
use crate::symbols::SymbolSet;

/// The object, and what each receiver keeps of it.
#[derive(Debug)]
pub(super) struct Content {
    layout: Layout,
    codec: Codec,
    /// Source and parity symbols of each block.
    blocks: Vec<Vec<u8>>,
    kept: HashMap<(usize, u32), Vec<u8>>,
}

impl Content {
    pub(super) fn new(layout: Layout, seed: u64) -> Self {
        let (mut dice, mut codec, size) = (Dice::new(seed), Codec::default(), usize::from(layout.symbol()));
        let mut block = |block| {
            let sources = usize::from(layout.sources(block)) * size;
            let mut bytes: Vec<u8> =
                (0..sources.div_ceil(8)).flat_map(|_| dice.bits().to_le_bytes()).collect();
            bytes.truncate(sources);
            let parity = codec.parity(&bytes, layout.symbol()).expect("a layout's block can be encoded");
            bytes.extend(parity);
            bytes
        };
        let blocks = (0..layout.blocks()).map(&mut block).collect();
        Self { layout, codec, blocks, kept: HashMap::new() }
    }

    pub(super) fn keep(&mut self, receiver: usize, block: u32, esi: u16, count: u16) {
        let source = &self.blocks[block as usize];
        let kept = self.kept.entry((receiver, block)).or_insert_with(|| vec![0; source.len()]);
        let size = usize::from(self.layout.symbol());
        let bytes = usize::from(esi) * size..usize::from(esi + count) * size;
        kept[bytes.clone()].copy_from_slice(&source[bytes]);
    }

    /// Keeps what nobody sent.
    pub(super) fn keep_forged(&mut self, receiver: usize, block: u32, esi: u16) {
        self.keep(receiver, block, esi, 1);
        if let Some(kept) = self.kept.get_mut(&(receiver, block)) {
            let size = usize::from(self.layout.symbol());
            kept[usize::from(esi) * size..][..size].fill(0xaa);
        }
    }

    /// The symbols of a block that a receiver keeps as they were sent, among some that follow each other.
    pub(super) fn sound(&self, receiver: usize, block: u32, first: u16, count: u16) -> SymbolSet {
        let mut sound = SymbolSet::new(self.layout.symbols(block));
        let Some(kept) = self.kept.get(&(receiver, block)) else { return sound };
        let size = usize::from(self.layout.symbol());
        for esi in first..first + count {
            let bytes = usize::from(esi) * size..(usize::from(esi) + 1) * size;
            if kept[bytes.clone()] == self.blocks[block as usize][bytes] {
                sound.insert(esi, 1);
            }
        }
        sound
    }

    pub(super) fn forget(&mut self, receiver: usize, block: u32) {
        self.kept.remove(&(receiver, block));
    }

    /// Restores what a receiver kept of a block; says how many symbols that were, and whether it is what was sent.
    pub(super) fn restore(&mut self, receiver: usize, block: u32, have: &SymbolSet) -> (u16, bool) {
        let Some(mut kept) = self.kept.remove(&(receiver, block)) else { return (0, false) };
        let (sources, symbol) = (self.layout.sources(block), self.layout.symbol());
        let restored = self.codec.restore(&mut kept, have, sources, symbol);
        let length = usize::from(sources) * usize::from(symbol);
        let fits = restored.is_ok() && kept[..length] == self.blocks[block as usize][..length];
        if !fits {
            // It is compared with the tags.
            self.kept.insert((receiver, block), kept);
        }
        (restored.unwrap_or(0), fits)
    }
}
