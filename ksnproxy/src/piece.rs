//! Pieces: how the items of a snapshot are sent over 1443, and how pieces become an item again.
//!
//! ```text
//!  Collector ── FETCH sequence, item, number ──▶ whoever has the snapshot
//!      ▲  └─ at most WINDOW of them under way           │
//!      └──────── PIECE sequence, length, bytes ─────────┘      in the order they were asked for
//! ```
//! The collector believes nothing but how much it may take in: what came is compared with what was signed by who asked.

use bytes::Bytes;

use crate::frame::{Header, Malformed, Op};

/// A part of a snapshot that is sent as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// What the snapshot consists of, as it was signed.
    Manifest,
    /// The segment with this place among all.
    Segment(u32),
}

/// The wish for a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetch {
    /// Which snapshot; the newest with 0.
    pub sequence: u64,
    /// Which item of it.
    pub item: Item,
    /// Which piece of the item.
    pub number: u32,
}

/// A piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Of which snapshot.
    pub sequence: u64,
    /// How many bytes the whole item has.
    pub length: u64,
    /// At most [`PIECE`].
    pub bytes: Bytes,
}

/// Asks for the pieces of one item and puts them together.
#[derive(Debug)]
pub struct Collector {
    sequence: u64,
    item: Item,
    limit: u64,
    /// How many bytes the item has, once a piece has said so.
    length: Option<u64>,
    asked: u32,
    taken: u32,
    bytes: Vec<u8>,
}

/// A piece that is not the one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PieceError {
    /// Of another snapshot.
    #[error("a piece is of snapshot {0}, not of {1}")]
    Sequence(u64, u64),
    /// Of an item that is too long.
    #[error("item of {0} bytes exceeds the limit of {1}")]
    TooLong(u64, u64),
    /// More or less than was asked for.
    #[error("a piece has {0} bytes, not {1}")]
    Length(usize, u64),
    /// Nobody asked for one.
    #[error("a piece came that nobody asked for")]
    Unwanted,
}

impl Collector {
    /// Of an item with at most `limit` bytes; `sequence` 0 takes it of whichever snapshot is the newest.
    pub const fn new(sequence: u64, item: Item, limit: u64) -> Self {
        Self { sequence, item, limit, length: None, asked: 0, taken: 0, bytes: Vec::new() }
    }

    /// Takes the next piece, in the order they were asked for.
    ///
    /// # Errors
    /// [`PieceError`]; then nothing more is to be taken.
    pub fn take(&mut self, piece: &Piece) -> Result<(), PieceError> {
        if self.taken == self.asked {
            return Err(PieceError::Unwanted);
        }
        if self.sequence == 0 {
            self.sequence = piece.sequence;
        }
        if piece.sequence != self.sequence {
            return Err(PieceError::Sequence(piece.sequence, self.sequence));
        }
        let length = *self.length.get_or_insert(piece.length);
        if piece.length != length || length > self.limit {
            return Err(PieceError::TooLong(piece.length.max(length), self.limit));
        }
        let expected = (length - self.bytes.len() as u64).min(PIECE as u64);
        if piece.bytes.len() as u64 != expected {
            return Err(PieceError::Length(piece.bytes.len(), expected));
        }
        self.bytes.extend_from_slice(&piece.bytes);
        self.taken += 1;
        Ok(())
    }

    /// The next piece to ask for; `None` while enough are under way, or when all were asked for.
    pub fn poll_fetch(&mut self) -> Option<Fetch> {
        let wanted = match self.length {
            // Only the first piece says how many there are, and of which snapshot.
            None => 1,
            Some(length) => u32::try_from(length.div_ceil(PIECE as u64)).unwrap_or(u32::MAX),
        };
        if self.asked >= wanted || self.asked - self.taken >= WINDOW {
            return None;
        }
        let fetch = Fetch { sequence: self.sequence, item: self.item, number: self.asked };
        self.asked += 1;
        Some(fetch)
    }

    /// Whether every piece has come.
    pub fn is_whole(&self) -> bool {
        self.length == Some(self.bytes.len() as u64)
    }

    /// The bytes that have come.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Fetch {
    /// Bytes of the body of a FETCH.
    pub const LENGTH: usize = 16;

    /// Writes the frame.
    pub fn encode(&self, serial: u64, frame: &mut Vec<u8>) {
        let header = Header { op: Op::Fetch, sealed: false, count: 1, length: 0, token: 0, serial };
        frame.extend(header.with_body(1, Self::LENGTH).encode());
        frame.extend(self.sequence.to_be_bytes());
        let item = match self.item {
            Item::Manifest => MANIFEST,
            Item::Segment(place) => place,
        };
        frame.extend(item.to_be_bytes());
        frame.extend(self.number.to_be_bytes());
    }

    /// Reads the body of a FETCH.
    ///
    /// # Errors
    /// [`Malformed`] when it has another length.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let body: &[u8; Self::LENGTH] = body.try_into().map_err(|_| Malformed)?;
        let [s0, s1, s2, s3, s4, s5, s6, s7, i0, i1, i2, i3, n0, n1, n2, n3] = *body;
        let item = match u32::from_be_bytes([i0, i1, i2, i3]) {
            MANIFEST => Item::Manifest,
            place => Item::Segment(place),
        };
        let sequence = u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        Ok(Self { sequence, item, number: u32::from_be_bytes([n0, n1, n2, n3]) })
    }
}

impl Piece {
    /// The piece of an item with this number; `None` when it has fewer.
    pub fn cut(sequence: u64, item: &[u8], number: u32) -> Option<Self> {
        let begin = usize::try_from(number).ok()?.checked_mul(PIECE)?;
        let rest = item.get(begin..).filter(|rest| number == 0 || !rest.is_empty())?;
        let bytes = Bytes::copy_from_slice(&rest[..rest.len().min(PIECE)]);
        Some(Self { sequence, length: item.len() as u64, bytes })
    }

    /// Writes the frame that answers `fetch`.
    ///
    /// # Panics
    /// When there are more than [`PIECE`] bytes.
    pub fn encode(&self, fetch: Header, frame: &mut Vec<u8>) {
        assert!(self.bytes.len() <= PIECE, "a piece has no more bytes");
        let header = Header { op: Op::Piece, sealed: false, count: 0, ..fetch };
        frame.extend(header.with_body(ABOUT + self.bytes.len(), 1).encode());
        frame.extend(self.sequence.to_be_bytes());
        frame.extend(self.length.to_be_bytes());
        frame.extend_from_slice(&self.bytes);
    }

    /// Reads the body of a PIECE.
    ///
    /// # Errors
    /// [`Malformed`] when it is too short or too long.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let (about, bytes) = body.split_first_chunk::<ABOUT>().ok_or(Malformed)?;
        let (sequence, length) = about.split_at(8);
        let number = |half: &[u8]| half.try_into().map(u64::from_be_bytes).map_err(|_| Malformed);
        if bytes.len() > PIECE {
            return Err(Malformed);
        }
        Ok(Self {
            sequence: number(sequence)?,
            length: number(length)?,
            bytes: Bytes::copy_from_slice(bytes),
        })
    }
}

/// Bytes of a piece that is not the last.
pub const PIECE: usize = 32 << 10;

/// Bytes of the longest PIECE frame.
pub const PIECE_LIMIT: usize = Header::LENGTH + ABOUT + PIECE;

/// Pieces of one item under way: a segment of ordinary size, so that it takes one round trip.
pub const WINDOW: u32 = 32;

/// Bytes in front of those of the piece.
const ABOUT: usize = 16;

/// The item that is no segment.
const MANIFEST: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    #[test]
    fn a_wish_and_its_piece_on_the_wire_are_these_bytes() {
        let fetch = Fetch { sequence: 7, item: Item::Segment(2), number: 1 };
        let mut frame = Vec::new();
        fetch.encode(9, &mut frame);
        let expected = concat!(
            "4b530109000100280000000000000000",
            "0000000000000009",
            "0000000000000007",
            "0000000200000001"
        );
        assert_eq!(HEXLOWER.encode(&frame), expected);
        assert_eq!(Fetch::decode(&frame[Header::LENGTH..]), Ok(fetch));
        let piece = Piece { sequence: 7, length: 3, bytes: Bytes::from_static(b"abc") };
        let mut answer = Vec::new();
        piece.encode(Header::parse(&frame).unwrap(), &mut answer);
        let expected = concat!(
            "4b53010a0000002b0000000000000000",
            "0000000000000009",
            "0000000000000007",
            "0000000000000003",
            "616263"
        );
        assert_eq!(HEXLOWER.encode(&answer), expected);
        assert_eq!(Piece::decode(&answer[Header::LENGTH..]), Ok(piece));
    }

    #[test]
    fn bytes_of_another_length_are_neither() {
        assert_eq!(Fetch::decode(&[0; 15]), Err(Malformed));
        assert_eq!(Fetch::decode(&[0; 17]), Err(Malformed));
        assert_eq!(Piece::decode(&[0; 15]), Err(Malformed));
        assert_eq!(Piece::decode(&vec![0; 16 + PIECE + 1]), Err(Malformed));
        assert!(Piece::decode(&vec![0; 16 + PIECE]).is_ok());
    }

    #[test]
    fn an_item_of_any_length_arrives_as_it_was() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 40 * PIECE + 7] {
            let item: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let (arrived, most) = collected(0, &item, item.len() as u64);
            assert_eq!(arrived.unwrap(), item, "{length} bytes");
            assert!(most <= WINDOW, "{most} pieces were under way");
        }
    }

    #[test]
    fn an_item_above_its_limit_is_refused_at_its_first_piece() {
        let (refused, most) = collected(0, &[0; 3 * PIECE], 2 * PIECE as u64);
        assert_eq!(refused, Err(PieceError::TooLong(3 * PIECE as u64, 2 * PIECE as u64)));
        assert_eq!(most, 1);
    }

    #[test]
    fn a_piece_of_another_snapshot_length_or_place_is_refused() {
        let item = vec![1; 2 * PIECE];
        let first = Piece::cut(5, &item, 0).unwrap();
        let begun = || {
            let mut collector = Collector::new(0, Item::Manifest, u64::MAX);
            assert_eq!(collector.take(&first), Err(PieceError::Unwanted));
            collector.poll_fetch().unwrap();
            collector.take(&first).unwrap();
            assert_eq!(
                collector.poll_fetch(),
                Some(Fetch { sequence: 5, item: Item::Manifest, number: 1 }),
                "the rest is of the snapshot that the first was of"
            );
            collector
        };
        let second = Piece::cut(5, &item, 1).unwrap();
        let other = Piece { sequence: 6, ..second.clone() };
        assert_eq!(begun().take(&other), Err(PieceError::Sequence(6, 5)));
        let longer = Piece { length: u64::MAX, ..second.clone() };
        assert!(matches!(begun().take(&longer), Err(PieceError::TooLong(..))));
        let short = Piece { bytes: second.bytes.slice(1..), ..second.clone() };
        assert_eq!(begun().take(&short), Err(PieceError::Length(PIECE - 1, PIECE as u64)));
        let mut whole = begun();
        whole.take(&second).unwrap();
        assert!(whole.is_whole());
        assert_eq!(whole.take(&second), Err(PieceError::Unwanted));
        assert_eq!(Piece::cut(5, &item, 2), None);
    }

    /// What arrives when everything is answered, and how many pieces were under way at most.
    fn collected(sequence: u64, item: &[u8], limit: u64) -> (Result<Vec<u8>, PieceError>, u32) {
        let mut collector = Collector::new(sequence, Item::Segment(1), limit);
        let (mut asked, mut most) = (std::collections::VecDeque::new(), 0);
        while !collector.is_whole() {
            asked.extend(std::iter::from_fn(|| collector.poll_fetch()));
            most = most.max(u32::try_from(asked.len()).unwrap());
            let fetch = asked.pop_front().unwrap();
            let piece = Piece::cut(fetch.sequence.max(3), item, fetch.number).unwrap();
            if let Err(error) = collector.take(&piece) {
                return (Err(error), most);
            }
        }
        assert_eq!(collector.poll_fetch(), None);
        (Ok(collector.into_bytes()), most)
    }
}
