//! Packets: a header in clear, and what AES-GCM protects together with it.
//!
//! ```text
//! ANNOUNCEMENT  1 lane epoch:2   session id:16   number:5            ┐
//! SYMBOL        2 lane session:4 number:5 block:3 ESI:2              ├ body, tag:16
//! MARK          3 lane session:4 number:5                            │
//! TAGS          6 lane session:4 number:5                            │
//! FEEDBACK      4 0    session:4 receiver:16 nonce:12                │
//! RECEIPT       5 0    session:4 receiver:16 nonce:12                ┘
//! ```

use bytes::BufMut;

use crate::id::{ReceiverId, SessionId};
use crate::key::{NotAuthentic, PacketKey, TAG};
use crate::reader::{Malformed, Reader};

/// What a packet says of itself before anybody has a key for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// A session is announced or ends.
    Announcement {
        /// Which of the sender's packet keys.
        lane: u8,
        /// Which epoch's secret.
        epoch: u16,
        /// The session.
        session: SessionId,
        /// The packet's number.
        number: u64,
    },
    /// A symbol of a block.
    Symbol {
        /// Which of the sender's packet keys.
        lane: u8,
        /// Beginning of the session's id.
        session: u32,
        /// The packet's number.
        number: u64,
        /// Which block.
        block: u32,
        /// Which symbol of it.
        esi: u16,
    },
    /// How far the sender is, and what it has heard.
    Mark {
        /// Which of the sender's packet keys.
        lane: u8,
        /// Beginning of the session's id.
        session: u32,
        /// The packet's number.
        number: u64,
    },
    /// What the symbols of a block are.
    Tags {
        /// Which of the sender's packet keys.
        lane: u8,
        /// Beginning of the session's id.
        session: u32,
        /// The packet's number.
        number: u64,
    },
    /// What a receiver has and needs.
    Feedback(Letter),
    /// The sender knows that a receiver is done.
    Receipt(Letter),
}

/// The header of what goes between the sender and one receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letter {
    /// Beginning of the session's id.
    pub session: u32,
    /// The receiver.
    pub receiver: ReceiverId,
    /// Drawn for each packet.
    pub nonce: [u8; 12],
}

impl Header {
    /// Reads the header off a datagram and says how long it is.
    ///
    /// # Errors
    /// [`Malformed`] for anything else, or a body that has no room for its tag.
    pub fn decode(datagram: &[u8]) -> Result<(Self, usize), Malformed> {
        let mut reader = Reader::new(datagram);
        let (kind, lane) = (reader.u8()?, reader.u8()?);
        let header = match kind {
            ANNOUNCEMENT => Self::Announcement {
                lane,
                epoch: reader.u16()?,
                session: SessionId(reader.array()?),
                number: reader.u40()?,
            },
            SYMBOL => Self::Symbol {
                lane,
                session: reader.u32()?,
                number: reader.u40()?,
                block: reader.u24()?,
                esi: reader.u16()?,
            },
            MARK => Self::Mark { lane, session: reader.u32()?, number: reader.u40()? },
            TAGS => Self::Tags { lane, session: reader.u32()?, number: reader.u40()? },
            FEEDBACK if lane == 0 => Self::Feedback(letter(&mut reader)?),
            RECEIPT if lane == 0 => Self::Receipt(letter(&mut reader)?),
            _ => return Err(Malformed),
        };
        if reader.left() < TAG {
            return Err(Malformed);
        }
        Ok((header, datagram.len() - reader.left()))
    }

    /// Seals a packet at the end of `packets`: header, body, tag.
    pub fn seal(&self, key: &PacketKey, body: &[u8], packets: &mut Vec<u8>) {
        let begin = packets.len();
        self.put(packets);
        let after = packets.len();
        packets.put_slice(body);
        let (header, sealed) = packets[begin..].split_at_mut(after - begin);
        let tag = key.seal(self.nonce(), header, sealed);
        packets.put_slice(&tag);
    }

    /// Opens the datagram that this header of `length` bytes was read off, where it is.
    ///
    /// # Errors
    /// [`NotAuthentic`] when the key did not seal it.
    pub fn open<'a>(
        &self,
        key: &PacketKey,
        length: usize,
        datagram: &'a mut [u8],
    ) -> Result<&'a mut [u8], NotAuthentic> {
        let (header, sealed) = datagram.split_at_mut_checked(length).ok_or(NotAuthentic)?;
        key.open(self.nonce(), header, sealed)
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        match *self {
            Self::Announcement { lane, epoch, session, number } => {
                bytes.put_slice(&[ANNOUNCEMENT, lane]);
                bytes.put_u16(epoch);
                bytes.put_slice(&session.0);
                bytes.put_uint(number, 5);
            }
            Self::Symbol { lane, session, number, block, esi } => {
                bytes.put_slice(&[SYMBOL, lane]);
                bytes.put_u32(session);
                bytes.put_uint(number, 5);
                bytes.put_uint(block.into(), 3);
                bytes.put_u16(esi);
            }
            Self::Mark { lane, session, number } => {
                bytes.put_slice(&[MARK, lane]);
                bytes.put_u32(session);
                bytes.put_uint(number, 5);
            }
            Self::Tags { lane, session, number } => {
                bytes.put_slice(&[TAGS, lane]);
                bytes.put_u32(session);
                bytes.put_uint(number, 5);
            }
            Self::Feedback(letter) => letter.put(FEEDBACK, bytes),
            Self::Receipt(letter) => letter.put(RECEIPT, bytes),
        }
    }

    fn nonce(&self) -> [u8; 12] {
        match *self {
            Self::Announcement { number, .. }
            | Self::Symbol { number, .. }
            | Self::Mark { number, .. }
            | Self::Tags { number, .. } => {
                let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
                [0, 0, 0, 0, a, b, c, d, e, f, g, h]
            }
            Self::Feedback(letter) | Self::Receipt(letter) => letter.nonce,
        }
    }
}

impl Letter {
    fn put(&self, kind: u8, bytes: &mut Vec<u8>) {
        bytes.put_slice(&[kind, 0]);
        bytes.put_u32(self.session);
        bytes.put_slice(self.receiver.as_bytes());
        bytes.put_slice(&self.nonce);
    }
}

fn letter(reader: &mut Reader<'_>) -> Result<Letter, Malformed> {
    let session = reader.u32()?;
    Ok(Letter { session, receiver: ReceiverId::new(reader.array()?), nonce: reader.array()? })
}

const ANNOUNCEMENT: u8 = 1;
const SYMBOL: u8 = 2;
const MARK: u8 = 3;
const FEEDBACK: u8 = 4;
const RECEIPT: u8 = 5;
const TAGS: u8 = 6;

/// Packet numbers stay below this: 2^40 symbols of 1,408 bytes are 1.5 PB.
pub const NUMBER_LIMIT: u64 = 1 << 40;
/// Bytes a symbol's packet has beside the symbol.
pub const SYMBOL_OVERHEAD: usize = 16 + TAG;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{EpochKey, Secret};

    #[test]
    fn every_packet_survives_the_wire() {
        for header in headers() {
            let mut packet = Vec::new();
            header.seal(&key(), b"what is said", &mut packet);
            let (read, length) = Header::decode(&packet).unwrap();
            assert_eq!(read, header);
            assert_eq!(read.open(&key(), length, &mut packet).unwrap(), b"what is said");
        }
    }

    #[test]
    fn no_flipped_bit_and_no_cut_passes() {
        for header in headers() {
            let mut packet = Vec::new();
            header.seal(&key(), b"x", &mut packet);
            for bit in 0..packet.len() * 8 {
                let mut forged = packet.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                let Ok((read, length)) = Header::decode(&forged) else { continue };
                assert!(read.open(&key(), length, &mut forged).is_err(), "{header:?} bit {bit}");
            }
            for cut in 0..packet.len() {
                let mut forged = packet[..cut].to_vec();
                let Ok((read, length)) = Header::decode(&forged) else { continue };
                assert!(read.open(&key(), length, &mut forged).is_err(), "{header:?} cut {cut}");
            }
        }
    }

    #[test]
    fn a_symbol_on_the_wire() {
        let mut packet = Vec::new();
        headers()[1].seal(&key(), &[0; 4], &mut packet);
        let golden = "0200deadbeef000000000a00000300075a0b1fc8";
        assert_eq!(data_encoding::HEXLOWER.encode(&packet)[..32], golden[..32], "the header");
        assert_eq!(packet.len(), SYMBOL_OVERHEAD + 4);
    }

    fn headers() -> [Header; 6] {
        let session = SessionId([0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let letter = Letter { session: session.short(), receiver: ReceiverId::new([7; 16]), nonce: [8; 12] };
        [
            Header::Announcement { lane: 2, epoch: 513, session, number: NUMBER_LIMIT - 1 },
            Header::Symbol { lane: 0, session: session.short(), number: 10, block: 3, esi: 7 },
            Header::Mark { lane: 1, session: session.short(), number: 11 },
            Header::Tags { lane: 1, session: session.short(), number: 12 },
            Header::Feedback(letter),
            Header::Receipt(letter),
        ]
    }

    fn key() -> PacketKey {
        EpochKey { epoch: 1, secret: Secret::new([1; 32]) }.packets(SessionId([2; 16]), 0)
    }
}
