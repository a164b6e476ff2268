//! The header that every frame begins with.

/// What begins every frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub op: Op,
    /// The body is sealed under a ticket.
    pub sealed: bool,
    /// How many keys or verdicts the body has; the reason of a refusal.
    pub count: u8,
    /// Bytes of the whole frame.
    pub length: u16,
    /// The cookie, or the number of the ticket.
    pub token: u64,
    /// What an answer is told by; the counter of a sealed frame.
    pub serial: u64,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// Keys that are asked about.
    Query = 1,
    /// A verdict for each key.
    Answer = 2,
    /// Ask again with this cookie.
    Challenge = 3,
    /// No answer; `count` says why.
    Refused = 4,
    /// A device wants a ticket.
    Ticket = 5,
    /// The ticket.
    Issued = 6,
    /// Keys that begin with these bits are asked for.
    Prefix = 7,
    /// All of them, with their verdicts.
    Matches = 8,
    /// A piece of a snapshot is asked for: [`crate::piece`].
    Fetch = 9,
    /// The piece.
    Piece = 10,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// The frame is malformed.
    Malformed = 1,
    /// Plain queries are not answered here.
    Plain = 2,
    /// Too many queries.
    Rate = 3,
    /// This op is not answered here.
    Op = 4,
    /// The ticket is not known, or its time is over.
    Ticket = 5,
    /// This snapshot, or this item of it, is not here.
    Gone = 6,
}

/// Bytes that are no frame, or no body of the frame they are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no frame: cut short, left over, or a number in them has no meaning")]
pub struct Malformed;

impl Header {
    /// Bytes of a header.
    pub const LENGTH: usize = 24;

    /// Reads the header of the frame that `bytes` begin with.
    ///
    /// # Errors
    /// [`Malformed`] when they are too few, or say what has no meaning.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let header: &[u8; Self::LENGTH] = bytes.first_chunk().ok_or(Malformed)?;
        let [m0, m1, version, op, flags, count, l0, l1, numbers @ ..] = header;
        if [*m0, *m1, *version] != [MAGIC[0], MAGIC[1], VERSION] || *flags > SEALED {
            return Err(Malformed);
        }
        let number =
            |at: usize| numbers[at..].first_chunk().copied().map(u64::from_be_bytes).ok_or(Malformed);
        let length = u16::from_be_bytes([*l0, *l1]);
        if usize::from(length) < Self::LENGTH {
            return Err(Malformed);
        }
        let op = Op::from_number(*op).ok_or(Malformed)?;
        Ok(Self {
            op,
            sealed: *flags == SEALED,
            count: *count,
            length,
            token: number(0)?,
            serial: number(8)?,
        })
    }

    /// Its bytes.
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..2].copy_from_slice(&MAGIC);
        bytes[2] = VERSION;
        bytes[3] = self.op as u8;
        bytes[4] = u8::from(self.sealed);
        bytes[5] = self.count;
        bytes[6..8].copy_from_slice(&self.length.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.token.to_be_bytes());
        bytes[16..].copy_from_slice(&self.serial.to_be_bytes());
        bytes
    }

    /// The header of a frame whose body has `items` items of `size` bytes, and a tag when it is sealed.
    pub(crate) fn with_body(self, items: usize, size: usize) -> Self {
        let tag = if self.sealed { TAG } else { 0 };
        let length =
            u16::try_from(Self::LENGTH + items * size + tag).expect("the number of items is limited");
        Self { length, ..self }
    }

    /// The frame that answers this one and has no body.
    pub(crate) fn bare(self, op: Op, count: u8, token: u64) -> [u8; Self::LENGTH] {
        Self { op, sealed: false, count, token, ..self }.with_body(0, 0).encode()
    }
}

impl Op {
    fn from_number(number: u8) -> Option<Self> {
        use Op::*;
        [Query, Answer, Challenge, Refused, Ticket, Issued, Prefix, Matches, Fetch, Piece]
            .get(usize::from(number).checked_sub(1)?)
            .copied()
    }
}

impl Reason {
    /// The reason with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        use Reason::*;
        [Malformed, Plain, Rate, Op, Ticket, Gone].get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// The first bytes of every frame: what is on a TCP connection is told from TLS by them, whose first byte is 22.
pub const MAGIC: [u8; 2] = *b"KS";

/// The version of the protocol.
pub const VERSION: u8 = 1;

/// Bytes that authenticate a sealed frame.
pub const TAG: usize = 16;

const SEALED: u8 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_has_no_meaning_is_no_header() {
        let good = header(Op::Query).encode();
        for (at, byte) in [(0, 0x16), (1, 0), (2, 2), (3, 0), (3, 11), (4, 2), (7, 23)] {
            let mut bad = good;
            bad[at] = byte;
            assert_eq!(Header::parse(&bad), Err(Malformed), "byte {at}");
        }
        assert_eq!(Header::parse(&good[..23]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn what_is_a_header_encodes_to_the_same_bytes(mut bytes: [u8; Header::LENGTH], op in 0..10_u8) {
            bytes[..4].copy_from_slice(&[MAGIC[0], MAGIC[1], VERSION, op]);
            bytes[4] &= 3;
            if let Ok(header) = Header::parse(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }
    }

    fn header(op: Op) -> Header {
        Header { op, sealed: false, count: 1, length: 24, token: 1, serial: 2 }
    }
}
