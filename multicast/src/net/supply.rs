//! Symbols of an object: source from its files, parity made when first needed; the last blocks are kept.

use std::collections::VecDeque;

use super::object::{Object, ObjectError};
use crate::erasure::Codec;
use crate::layout::Layout;

/// Where a sender's symbols come from.
#[derive(Debug)]
pub(super) struct Supply<'a> {
    object: &'a Object,
    layout: Layout,
    codec: Codec,
    /// Newest last.
    blocks: VecDeque<Ready>,
}

#[derive(Debug)]
struct Ready {
    block: u32,
    /// Source symbols, the last one filled up.
    sources: Vec<u8>,
    parity: Option<Vec<u8>>,
}

impl<'a> Supply<'a> {
    pub(super) fn new(object: &'a Object, layout: Layout) -> Self {
        Self { object, layout, codec: Codec::default(), blocks: VecDeque::new() }
    }

    /// Calls `take` with `count` symbols of a block from `esi` on.
    ///
    /// # Errors
    /// When the files cannot be read or have changed.
    pub(super) fn symbols(
        &mut self,
        block: u32,
        esi: u16,
        count: u16,
        mut take: impl FnMut(u16, &[u8]),
    ) -> Result<(), ObjectError> {
        let (size, sources) = (usize::from(self.layout.symbol()), self.layout.sources(block));
        let needs_parity = esi.saturating_add(count) > sources;
        let ready = self.ready(block, needs_parity)?;
        for esi in esi..esi.saturating_add(count) {
            let (bytes, index) = match (esi.checked_sub(sources), &ready.parity) {
                (Some(index), Some(parity)) => (parity, index),
                _ => (&ready.sources, esi),
            };
            if let Some(symbol) = bytes.get(usize::from(index) * size..).and_then(|rest| rest.get(..size)) {
                take(esi, symbol);
            }
        }
        Ok(())
    }

    fn ready(&mut self, block: u32, needs_parity: bool) -> Result<&Ready, ObjectError> {
        let index = match self.blocks.iter().position(|ready| ready.block == block) {
            Some(index) => index,
            None => self.read(block)?,
        };
        let ready = &mut self.blocks[index];
        if needs_parity && ready.parity.is_none() {
            let parity = self.codec.parity(&ready.sources, self.layout.symbol());
            ready.parity = Some(parity.map_err(|_| ObjectError::TooMuch)?);
        }
        Ok(ready)
    }

    /// Reads a block in place of the oldest one.
    fn read(&mut self, block: u32) -> Result<usize, ObjectError> {
        let mut sources = if self.blocks.len() == KEPT {
            self.blocks.pop_front().map(|oldest| oldest.sources).unwrap_or_default()
        } else {
            Vec::new()
        };
        if block == 0 {
            sources.clear();
            sources.extend_from_slice(self.object.catalogue());
        } else {
            self.object.read_block(block, &mut sources)?;
        }
        sources.resize(usize::from(self.layout.sources(block)) * usize::from(self.layout.symbol()), 0);
        self.blocks.push_back(Ready { block, sources, parity: None });
        Ok(self.blocks.len() - 1)
    }
}

/// Blocks kept: those that are being sent, and those whose repair is usual; 22 MB with parity.
const KEPT: usize = 4;
