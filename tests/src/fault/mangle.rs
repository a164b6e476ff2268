//! What a hostile relay does to one direction of a connection: bytes in, steps out.

use std::ops::Range;

/// What is done to one direction of one connection; the default is nothing.
///
/// Offsets count the bytes of the direction as they were sent, from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mangle {
    /// Bits to turn over: the byte at this offset is XORed with this mask.
    pub flip: Option<(u64, u8)>,
    /// Bytes that vanish from the stream.
    pub drop: Option<Range<u64>>,
    /// The most bytes written at once; 1 gives a segment per byte.
    pub segment: Option<usize>,
    /// How the direction ends, and before which byte.
    pub end: Option<(u64, End)>,
}

/// How a direction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing more comes, and nothing is closed.
    Stall,
    /// A clean FIN, as if the sender were done: a truncation.
    Finish,
    /// A reset of both sides.
    Reset,
}

/// What to do next with a direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Write(Vec<u8>),
    End(End),
}

/// A [`Mangle`] at work: knows how far the stream has come.
#[derive(Clone, Debug)]
pub(super) struct Mangler {
    mangle: Mangle,
    offset: u64,
}

impl Mangler {
    pub(super) fn new(mangle: Mangle) -> Self {
        Self { mangle, offset: 0 }
    }

    /// Takes in the next bytes.
    pub(super) fn handle_input(&mut self, bytes: &[u8]) -> Vec<Step> {
        let mut kept = Vec::with_capacity(bytes.len());
        let mut end = None;
        for byte in bytes {
            if let Some((at, how)) = self.mangle.end
                && self.offset >= at
            {
                end = Some(Step::End(how));
                break;
            }
            if !self.mangle.drop.as_ref().is_some_and(|range| range.contains(&self.offset)) {
                kept.push(byte ^ self.mask());
            }
            self.offset += 1;
        }
        let segment = self.mangle.segment.unwrap_or(usize::MAX).max(1);
        kept.chunks(segment).map(|chunk| Step::Write(chunk.to_vec())).chain(end).collect()
    }

    fn mask(&self) -> u8 {
        self.mangle.flip.filter(|(at, _)| *at == self.offset).map_or(0, |(_, mask)| mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_changes_nothing() {
        assert_eq!(mangled(Mangle::default(), &[b"hel", b"lo"]), [write(b"hel"), write(b"lo")]);
    }

    #[test]
    fn flip_finds_its_byte_across_reads() {
        let mangle = Mangle { flip: Some((4, 0x20)), ..Mangle::default() };
        assert_eq!(mangled(mangle, &[b"hel", b"lo!"]), [write(b"hel"), write(b"lO!")]);
    }

    #[test]
    fn dropped_range_is_cut_out() {
        let mangle = Mangle { drop: Some(1..4), ..Mangle::default() };
        assert_eq!(mangled(mangle, &[b"hel", b"lo"]), [write(b"h"), write(b"o")]);
    }

    #[test]
    fn end_comes_before_its_byte() {
        let mangle = Mangle { end: Some((4, End::Finish)), ..Mangle::default() };
        let steps = mangled(mangle, &[b"hel", b"lo"]);
        assert_eq!(steps, [write(b"hel"), write(b"l"), Step::End(End::Finish)]);
    }

    #[test]
    fn segment_of_one_writes_every_byte_alone() {
        let mangle = Mangle { segment: Some(1), ..Mangle::default() };
        assert_eq!(mangled(mangle, &[b"hey"]), [write(b"h"), write(b"e"), write(b"y")]);
    }

    fn mangled(mangle: Mangle, reads: &[&[u8]]) -> Vec<Step> {
        let mut mangler = Mangler::new(mangle);
        reads.iter().flat_map(|bytes| mangler.handle_input(bytes)).collect()
    }

    fn write(bytes: &[u8]) -> Step {
        Step::Write(bytes.to_vec())
    }
}
