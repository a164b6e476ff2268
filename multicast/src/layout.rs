//! How an object is cut into blocks, and a block into symbols.

/// The cut of one object in one session.
///
/// Block 0 is the catalogue; block *n* > 0 is the *n*-th block of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    catalogue: u32,
    length: u64,
    block: u32,
    symbol: u16,
    blocks: u32,
}

impl Layout {
    /// Cuts a catalogue and content of these lengths into blocks of 2^`block_log2` bytes and symbols of `symbol` bytes;
    /// `None` where a number is out of its range.
    pub fn new(catalogue: u32, length: u64, block_log2: u8, symbol: u16) -> Option<Self> {
        let symbols_fit = (SYMBOL_LEAST..=SYMBOL_MOST).contains(&symbol) && symbol.is_multiple_of(2);
        let in_range = (BLOCK_LOG2_LEAST..=BLOCK_LOG2_MOST).contains(&block_log2)
            && (1..=CATALOGUE_LIMIT).contains(&catalogue);
        if !symbols_fit || !in_range {
            return None;
        }
        let block = 1 << block_log2;
        let content = u32::try_from(length.div_ceil(u64::from(block))).ok()?;
        (content < BLOCKS_LIMIT).then_some(Self { catalogue, length, block, symbol, blocks: content + 1 })
    }

    /// How many blocks there are, the catalogue's among them.
    pub const fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Bytes of a symbol.
    pub const fn symbol(&self) -> u16 {
        self.symbol
    }

    /// Bytes of content in a block, or of the catalogue in block 0.
    pub fn bytes(&self, block: u32) -> u32 {
        let Some(index) = block.checked_sub(1) else { return self.catalogue };
        let left = self.length.saturating_sub(u64::from(index) * u64::from(self.block));
        u32::try_from(left).map_or(self.block, |left| left.min(self.block))
    }

    /// Where a content block begins in the content.
    pub fn offset(&self, block: u32) -> u64 {
        u64::from(block.saturating_sub(1)) * u64::from(self.block)
    }

    /// Source symbols of a block: as many as suffice to restore it.
    pub fn sources(&self, block: u32) -> u16 {
        let symbols = self.bytes(block).div_ceil(u32::from(self.symbol));
        u16::try_from(symbols).expect("a block of at most 4 MiB in symbols of at least 256 bytes")
    }

    /// Parity symbols of a block.
    pub fn parity(&self, block: u32) -> u16 {
        parity_of(self.sources(block))
    }

    /// All symbols of a block.
    pub fn symbols(&self, block: u32) -> u16 {
        self.sources(block) + self.parity(block)
    }

    /// Source symbols of all blocks together.
    pub fn total_sources(&self) -> u64 {
        let Some(last) = self.blocks.checked_sub(1).filter(|last| *last > 0) else {
            return u64::from(self.sources(0));
        };
        let full = u64::from(last - 1) * u64::from(self.sources(1));
        u64::from(self.sources(0)) + full + u64::from(self.sources(last))
    }
}

/// Parity symbols of a block of so many source symbols. The power of two at or above `sources` is what the code's
/// transform works on anyway; 1,024 of 4,096 bring a block through a loss of 25 % in one pass.
pub fn parity_of(sources: u16) -> u16 {
    sources.checked_next_power_of_two().unwrap_or(PARITY_MOST).clamp(PARITY_LEAST, PARITY_MOST)
}

/// Bytes of the longest catalogue.
pub const CATALOGUE_LIMIT: u32 = 4 << 20;
/// Content blocks must stay below this, so that a block's number has 24 bits.
pub const BLOCKS_LIMIT: u32 = (1 << 24) - 1;
/// Blocks of 4 KiB.
pub const BLOCK_LOG2_LEAST: u8 = 12;
/// Blocks of 4 MiB: 2,979 symbols, by which repair costs 1.4 % above the bound at 5 % loss and 1,000 receivers.
pub const BLOCK_LOG2_MOST: u8 = 22;
/// Bytes of the shortest symbol.
pub const SYMBOL_LEAST: u16 = 256;
/// Bytes of the longest symbol: an Ethernet jumbo frame of 9,000 bytes.
pub const SYMBOL_MOST: u16 = 8896;
/// Bytes of a symbol on Ethernet: with headers 1,468 of the 1,500 of IPv4, 1,488 of IPv6; a multiple of 64 for SIMD.
pub const SYMBOL_USUAL: u16 = 1408;
/// Parity symbols of the smallest block.
pub const PARITY_LEAST: u16 = 64;
/// Parity symbols of the largest block.
pub const PARITY_MOST: u16 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_blocks_stay_in_one_transform_of_4096() {
        let layout = layout(100, 1 << 30);
        assert_eq!((layout.blocks(), layout.sources(1), layout.symbols(1)), (257, 2979, 4003));
    }

    #[test]
    fn blocks_cover_the_content_exactly() {
        for length in [0, 1, 1407, 1408, 4 << 20, (4 << 20) + 1, 9 << 20] {
            let layout = layout(77, length);
            let content: u64 = (1..layout.blocks()).map(|block| u64::from(layout.bytes(block))).sum();
            let symbols: u64 = (0..layout.blocks()).map(|block| u64::from(layout.sources(block))).sum();
            assert_eq!((content, symbols), (length, layout.total_sources()), "{length}");
        }
    }

    #[test]
    fn what_is_out_of_range_has_no_layout() {
        assert!(Layout::new(0, 1, 22, 1408).is_none());
        assert!(Layout::new(CATALOGUE_LIMIT + 1, 1, 22, 1408).is_none());
        assert!(Layout::new(1, u64::MAX, 22, 1408).is_none());
        assert!(Layout::new(1, 1, 11, 1408).is_none());
        assert!(Layout::new(1, 1, 23, 1408).is_none());
        assert!(Layout::new(1, 1, 22, 1407).is_none());
        assert!(Layout::new(1, 1, 22, 254).is_none());
        assert!(Layout::new(1, 1, 22, 8898).is_none());
        assert!(Layout::new(1, u64::from(BLOCKS_LIMIT - 1) << 12, 12, 256).is_some());
        assert!(Layout::new(1, u64::from(BLOCKS_LIMIT) << 12, 12, 256).is_none());
    }

    #[test]
    fn the_most_symbols_of_a_block_fit_their_number() {
        let layout = Layout::new(CATALOGUE_LIMIT, 1 << 30, 22, SYMBOL_LEAST).unwrap();
        assert_eq!(layout.symbols(0), 16_384 + 1024);
    }

    fn layout(catalogue: u32, length: u64) -> Layout {
        Layout::new(catalogue, length, 22, SYMBOL_USUAL).unwrap()
    }
}
