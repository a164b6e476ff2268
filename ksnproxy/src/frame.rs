//! Frames: the bodies behind a header.

pub use crate::header::{Header, MAGIC, Malformed, Op, Reason, TAG, VERSION};
use crate::subject::{Key, Kind};
use crate::ticket::Ticket;
use crate::verdict::Verdict;

/// Some first bits of a key, for who must not learn which key is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The key space.
    pub kind: Kind,
    /// How many bits count, 16 to 64.
    pub bits: u8,
    /// The bits, the others zero.
    pub value: u64,
}

impl Key {
    /// Bytes of a key on the wire.
    pub const LENGTH: usize = 24;

    /// Its form on the wire.
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..8].copy_from_slice(&(u64::from(self.kind as u8) << 56 | self.extent).to_be_bytes());
        bytes[8..].copy_from_slice(&self.bytes);
        bytes
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`Malformed`] when there is no such kind, or an extent where there can be none.
    pub fn decode(bytes: &[u8; Self::LENGTH]) -> Result<Self, Malformed> {
        let [kind, zero, e0, e1, e2, e3, e4, e5, rest @ ..] = *bytes;
        let kind = Kind::from_number(kind).filter(|_| zero == 0).ok_or(Malformed)?;
        let extent = u64::from_be_bytes([0, 0, e0, e1, e2, e3, e4, e5]);
        let possible = match kind {
            Kind::Network => extent <= 128,
            Kind::Url | Kind::Domain => extent == Self::NO_EXTENT,
            Kind::CertificateSha256 | Kind::CertificateSha1 | Kind::CertificateMd5 => {
                extent == Self::NO_EXTENT
            }
            _ => true,
        };
        if possible { Ok(Self { kind, bytes: rest, extent }) } else { Err(Malformed) }
    }
}

impl Prefix {
    /// Bytes of the body of a PREFIX.
    pub const LENGTH: usize = 16;

    /// The first `bits` bits of a key, at least 16 and at most 64.
    pub fn of(key: &Key, bits: u8) -> Self {
        let bits = bits.clamp(PREFIX_BITS.0, PREFIX_BITS.1);
        let value = u64::from_be_bytes(*key.bytes.first_chunk().expect("a key has 16 bytes"));
        Self { kind: key.kind, bits, value: value & mask(bits) }
    }

    /// Whether the key begins with these bits.
    pub fn is_of(&self, key: &Key) -> bool {
        Self::of(key, self.bits) == *self
    }

    /// Its form on the wire.
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[0] = self.kind as u8;
        bytes[7] = self.bits;
        bytes[8..].copy_from_slice(&self.value.to_be_bytes());
        bytes
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`Malformed`] when there is no such kind, or the bits are too few, too many or not zero behind their end.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let [kind, 0, 0, 0, 0, 0, 0, bits, value @ ..] = bytes else { return Err(Malformed) };
        let value = u64::from_be_bytes(value.try_into().map_err(|_| Malformed)?);
        let kind = Kind::from_number(*kind).ok_or(Malformed)?;
        let possible = (PREFIX_BITS.0..=PREFIX_BITS.1).contains(bits) && value & !mask(*bits) == 0;
        if possible { Ok(Self { kind, bits: *bits, value }) } else { Err(Malformed) }
    }
}

/// Writes a query of `keys` to `frame`, plain: at most [`KEYS_LIMIT`] of them.
pub fn encode_query(token: u64, serial: u64, keys: &[Key], frame: &mut Vec<u8>) {
    let count = u8::try_from(keys.len()).expect("at most 255 keys are in one frame");
    let header = Header { op: Op::Query, sealed: false, count, length: 0, token, serial };
    frame.extend(header.with_body(keys.len(), Key::LENGTH).encode());
    keys.iter().for_each(|key| frame.extend(key.encode()));
}

/// Writes the question which keys begin like this.
pub fn encode_prefix(serial: u64, prefix: Prefix, frame: &mut Vec<u8>) {
    let header = Header { op: Op::Prefix, sealed: false, count: 1, length: 0, token: 0, serial };
    frame.extend(header.with_body(1, Prefix::LENGTH).encode());
    frame.extend(prefix.encode());
}

/// Writes the plain answer to `query`: as many verdicts as it has keys.
///
/// # Panics
/// When there are more than 255 verdicts.
pub fn encode_answer(query: Header, verdicts: &[Verdict], frame: &mut Vec<u8>) {
    let count = u8::try_from(verdicts.len()).expect("as many verdicts as keys");
    let header = Header { op: Op::Answer, sealed: false, count, ..query };
    frame.extend(header.with_body(verdicts.len(), VERDICT).encode());
    verdicts.iter().for_each(|verdict| frame.extend(verdict.pack()));
}

/// Writes the answer to a PREFIX: at most [`MATCHES_LIMIT`] keys.
///
/// # Panics
/// When there are more.
pub fn encode_matches(query: Header, matches: &[(Key, Verdict)], frame: &mut Vec<u8>) {
    assert!(matches.len() <= MATCHES_LIMIT, "a prefix matches too many keys");
    let header = Header { op: Op::Matches, sealed: false, count: 0, ..query };
    frame.extend(header.with_body(matches.len(), MATCH).encode());
    for (key, verdict) in matches {
        frame.extend(key.encode());
        frame.extend(verdict.pack());
    }
}

/// Writes the wish for a ticket.
pub fn encode_ticket(serial: u64, frame: &mut Vec<u8>) {
    let header = Header { op: Op::Ticket, sealed: false, count: 0, length: 0, token: 0, serial };
    frame.extend(header.with_body(0, 0).encode());
}

/// Writes a ticket that was wished for.
pub fn encode_issued(wish: Header, ticket: &Ticket, frame: &mut Vec<u8>) {
    let header = Header { op: Op::Issued, sealed: false, count: 0, ..wish };
    frame.extend(header.with_body(1, Ticket::LENGTH).encode());
    frame.extend(ticket.encode().as_slice());
}

/// The keys of a query's body, which has to have as many as the header says.
///
/// # Errors
/// [`Malformed`], also when one of them is no key.
pub fn decode_keys(header: &Header, body: &[u8]) -> Result<Vec<Key>, Malformed> {
    items(header, body)?.map(Key::decode).collect()
}

/// The verdicts of an answer's body.
///
/// # Errors
/// [`Malformed`], also when one of them is no verdict.
pub fn decode_verdicts(header: &Header, body: &[u8]) -> Result<Vec<Verdict>, Malformed> {
    items(header, body)?.map(|packed| Verdict::unpack(packed).map_err(|_| Malformed)).collect()
}

/// The keys and verdicts of a MATCHES' body, which has no count: there may be more than 255.
///
/// # Errors
/// [`Malformed`], also when one of them is no key or no verdict.
pub fn decode_matches(body: &[u8]) -> Result<Vec<(Key, Verdict)>, Malformed> {
    let (pairs, []) = body.as_chunks::<MATCH>() else { return Err(Malformed) };
    let pair = |pair: &[u8; MATCH]| {
        let (key, verdict) = pair.split_first_chunk().ok_or(Malformed)?;
        let verdict = verdict.first_chunk().ok_or(Malformed)?;
        Ok((Key::decode(key)?, Verdict::unpack(verdict).map_err(|_| Malformed)?))
    };
    pairs.iter().map(pair).collect()
}

/// The items of a body, at least one.
pub(crate) fn items<'a, const SIZE: usize>(
    header: &Header,
    body: &'a [u8],
) -> Result<std::slice::Iter<'a, [u8; SIZE]>, Malformed> {
    match body.as_chunks() {
        (items, []) if items.len() == usize::from(header.count) && !items.is_empty() => Ok(items.iter()),
        _ => Err(Malformed),
    }
}

const fn mask(bits: u8) -> u64 {
    u64::MAX << (64 - bits)
}

/// Most keys in a frame on TCP.
pub const KEYS_LIMIT: usize = 255;

/// Most keys in a datagram: so it fits every path.
pub const DATAGRAM_KEYS_LIMIT: usize = 8;

/// Bytes of the longest query on TCP.
pub const QUERY_LIMIT: usize = Header::LENGTH + KEYS_LIMIT * Key::LENGTH + TAG;

/// Bytes of the longest datagram.
pub const DATAGRAM_LIMIT: usize = Header::LENGTH + DATAGRAM_KEYS_LIMIT * Key::LENGTH + TAG;

/// Bytes of a key and its verdict.
pub(crate) const MATCH: usize = Key::LENGTH + VERDICT;

/// Bytes of a verdict.
pub const VERDICT: usize = 16;

/// Most keys that one prefix may match.
pub const MATCHES_LIMIT: usize = 1024;

/// Least and most bits of a prefix.
const PREFIX_BITS: (u8, u8) = (16, 64);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;
    use crate::subject::{Digest, Subject};

    #[test]
    fn a_query_on_the_wire_is_these_bytes() {
        let key = Subject::File(Digest::Sha256([0xab; 32]), Some(5)).key();
        let mut frame = Vec::new();
        encode_query(7, 9, &[key], &mut frame);
        let expected = concat!(
            "4b530101000100300000000000000007",
            "0000000000000009",
            "0100000000000005",
            "abababababababababababababababab"
        );
        assert_eq!(HEXLOWER.encode(&frame), expected);
        let header = Header::parse(&frame).unwrap();
        assert_eq!(decode_keys(&header, &frame[Header::LENGTH..]), Ok(vec![key]));
    }

    #[test]
    fn an_answer_is_shorter_than_its_query_whatever_the_number_of_keys() {
        for keys in 1..=KEYS_LIMIT {
            for sealed in [false, true] {
                let header = Header { sealed, ..header(Op::Query) };
                assert!(header.with_body(keys, VERDICT).length < header.with_body(keys, Key::LENGTH).length);
            }
        }
    }

    #[test]
    fn a_body_has_as_many_items_as_its_header_says() {
        let header = Header { count: 2, ..header(Op::Answer) };
        let one = Verdict::unknown(Duration::ZERO).pack();
        assert!(decode_verdicts(&header, &[one, one].concat()).is_ok());
        for body in [vec![], one.to_vec(), [one, one, one].concat(), vec![0; 33]] {
            assert_eq!(decode_verdicts(&header, &body), Err(Malformed));
        }
        assert_eq!(decode_keys(&Header { count: 0, ..header }, &[]), Err(Malformed));
    }

    #[test]
    fn a_prefix_is_of_the_keys_that_begin_with_it() {
        let key = Subject::domain("example.org").key();
        let prefix = Prefix::of(&key, 20);
        assert!(prefix.is_of(&key));
        assert!(!prefix.is_of(&Subject::url("example.org").key()));
        assert_eq!(Prefix::decode(&prefix.encode()), Ok(prefix));
        for (bits, value) in [(15, 0), (65, 0), (20, 1)] {
            let bad = Prefix { bits, value, ..prefix };
            assert_eq!(Prefix::decode(&bad.encode()), Err(Malformed), "{bits} {value}");
        }
    }

    proptest! {
        #[test]
        fn what_is_a_key_encodes_to_the_same_bytes(mut bytes: [u8; Key::LENGTH]) {
            bytes[0] %= 16;
            bytes[1] %= 2;
            if let Ok(key) = Key::decode(&bytes) {
                prop_assert_eq!(key.encode(), bytes);
            }
        }
    }

    fn header(op: Op) -> Header {
        Header { op, sealed: false, count: 1, length: 24, token: 1, serial: 2 }
    }
}
