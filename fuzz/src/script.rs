//! A fuzzer's bytes read as decisions: what happens next, to which of several things, with which bytes.

use std::time::Duration;

/// Reads decisions off the front of the input; past its end every number is 0.
#[derive(Debug, Clone, Copy)]
pub struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// Reads `data` from its beginning.
    pub const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// The next decision; `None` once the input is used up, which ends every loop over it.
    pub fn decision(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number of one byte.
    pub fn byte(&mut self) -> u8 {
        self.decision().unwrap_or_default()
    }

    /// A number of two bytes.
    pub fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number of four bytes.
    pub fn number(&mut self) -> u32 {
        u32::from(self.short()) << 16 | u32::from(self.short())
    }

    /// Yes or no.
    pub fn coin(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// An index below `len`; `None` when there is nothing to choose from.
    pub fn index(&mut self, len: usize) -> Option<usize> {
        usize::from(self.byte()).checked_rem(len)
    }

    /// One of several.
    pub fn pick<'b, T>(&mut self, from: &'b [T]) -> Option<&'b T> {
        from.get(self.index(from.len())?)
    }

    /// At most `most` of the next bytes; the input says how many.
    pub fn bytes(&mut self, most: u16) -> &'a [u8] {
        let wanted = if most < 256 { u16::from(self.byte()) } else { self.short() };
        let (taken, rest) = self.0.split_at(usize::from(wanted.min(most)).min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Up to 200 printable characters.
    pub fn text(&mut self) -> String {
        self.bytes(200).iter().map(|byte| char::from(b' ' + byte % 95)).collect()
    }

    /// From nothing to some hours: each step of the byte is a power of two of milliseconds.
    pub fn duration(&mut self) -> Duration {
        let byte = self.byte();
        Duration::from_millis(u64::from(byte & 7) << (byte >> 3).min(24))
    }

    /// Everything that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}
