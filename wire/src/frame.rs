//! Frames: an 8-byte header and at most one TLS record of payload.
//!
//! ```text
//!  0               2       3       4               8
//! +---------------+-------+-------+---------------+----------------
//! | payload length| type  | flags | stream        | payload …
//! +---------------+-------+-------+---------------+----------------
//! ```
//! All integers are big-endian. See `PROTOCOL.md` in this crate.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A frame's fixed part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Payload length in bytes, at most [`PAYLOAD_LIMIT`].
    pub len: u16,
    /// The frame type's number; see [`Kind`](crate::message::Kind).
    pub kind: u8,
    /// [`IGNORABLE`], [`END`], [`SIGNED`].
    pub flags: u8,
    /// 0 for the connection itself; a gateway gives each agent it carries a stream of its own.
    pub stream: u32,
}

/// A whole frame; its payload shares the buffer it was received in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The frame type's number.
    pub kind: u8,
    /// The frame's flags.
    pub flags: u8,
    /// The frame's stream.
    pub stream: u32,
    /// The payload.
    pub payload: Bytes,
}

/// A frame that breaks the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A payload longer than a frame may carry.
    #[error("frame payload of {0} bytes exceeds the limit of {PAYLOAD_LIMIT}")]
    TooLong(usize),
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// [`FrameError::TooLong`], before anything is allocated for the payload.
    #[inline]
    pub fn decode(bytes: [u8; HEADER_LEN]) -> Result<Self, FrameError> {
        let [len_high, len_low, kind, flags, s0, s1, s2, s3] = bytes;
        let len = u16::from_be_bytes([len_high, len_low]);
        if usize::from(len) > PAYLOAD_LIMIT {
            return Err(FrameError::TooLong(len.into()));
        }
        Ok(Self { len, kind, flags, stream: u32::from_be_bytes([s0, s1, s2, s3]) })
    }

    /// Takes the next whole frame off `input` as its header and payload; `None` while it is incomplete.
    ///
    /// # Errors
    /// [`FrameError`] as soon as the header shows that the frame cannot be valid.
    #[inline]
    pub fn split(input: &mut BytesMut) -> Result<Option<(Self, BytesMut)>, FrameError> {
        let Some(header) = input.first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let header = Self::decode(*header)?;
        let whole = HEADER_LEN + usize::from(header.len);
        if input.len() < whole {
            return Ok(None);
        }
        let mut payload = input.split_to(whole);
        payload.advance(HEADER_LEN);
        Ok(Some((header, payload)))
    }

    /// The header's bytes.
    #[inline]
    pub fn encode(self) -> [u8; HEADER_LEN] {
        let ([l0, l1], [s0, s1, s2, s3]) = (self.len.to_be_bytes(), self.stream.to_be_bytes());
        [l0, l1, self.kind, self.flags, s0, s1, s2, s3]
    }
}

impl Frame {
    /// Takes the next whole frame off `input`; `None` while it is incomplete.
    ///
    /// The payload is split off without copying.
    ///
    /// # Errors
    /// [`FrameError`] as soon as the header shows that the frame cannot be valid.
    #[inline]
    pub fn decode(input: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        let Some((header, payload)) = Header::split(input)? else { return Ok(None) };
        let Header { kind, flags, stream, .. } = header;
        Ok(Some(Self { kind, flags, stream, payload: payload.freeze() }))
    }

    /// Appends the frame to `output`.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] when the payload does not fit in a frame; `output` is left as it was.
    #[inline]
    pub fn encode(&self, output: &mut BytesMut) -> Result<(), FrameError> {
        let header = Self::header(self.kind, self.flags, self.stream, self.payload.len())?;
        output.reserve(HEADER_LEN + self.payload.len());
        output.put_slice(&header.encode());
        output.put_slice(&self.payload);
        Ok(())
    }

    /// Appends a frame whose payload is a message, encoded in place.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] when the message does not fit in a frame; `output` is left as it was.
    #[inline]
    pub fn encode_message(
        kind: u8,
        flags: u8,
        stream: u32,
        message: &impl prost::Message,
        output: &mut BytesMut,
    ) -> Result<(), FrameError> {
        let len = message.encoded_len();
        let header = Self::header(kind, flags, stream, len)?;
        output.reserve(HEADER_LEN + len);
        output.put_slice(&header.encode());
        message.encode(output).expect("a BytesMut grows as needed");
        Ok(())
    }

    #[inline]
    fn header(kind: u8, flags: u8, stream: u32, len: usize) -> Result<Header, FrameError> {
        match u16::try_from(len) {
            Ok(short) if len <= PAYLOAD_LIMIT => Ok(Header { len: short, kind, flags, stream }),
            _ => Err(FrameError::TooLong(len)),
        }
    }
}

/// Bytes of a frame's header.
pub const HEADER_LEN: usize = 8;

/// Most payload bytes in a frame: with its header it fits in one TLS 1.3 record (2^14 bytes, RFC 8446, 5.1),
/// with 8 bytes to spare.
pub const PAYLOAD_LIMIT: usize = 16_368;

/// Flag: a receiver that does not know the frame's type skips it.
pub const IGNORABLE: u8 = 0x01;
/// Flag: the last frame of its stream. Reserved with DATA, like streams of their own; no frame of this version has it.
pub const END: u8 = 0x02;
/// Flag: the payload is a [`Signed`](crate::signed::Signed) blob; hops forward it untouched.
pub const SIGNED: u8 = 0x08;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_too_long_is_refused_from_its_header() {
        let mut input = BytesMut::from(&[0x3f, 0xf1, 3, 0, 0, 0, 0, 0][..]);
        assert_eq!(Frame::decode(&mut input), Err(FrameError::TooLong(16_369)));
    }

    #[test]
    fn a_payload_too_long_is_not_sent() {
        let payload = Bytes::from(vec![0; PAYLOAD_LIMIT + 1]);
        let mut output = BytesMut::new();
        let frame = Frame { kind: 1, flags: 0, stream: 0, payload };
        assert_eq!(frame.encode(&mut output), Err(FrameError::TooLong(PAYLOAD_LIMIT + 1)));
        assert!(output.is_empty());
    }

    proptest! {
        #[test]
        fn frames_survive_the_wire_in_any_pieces(
            kind: u8, flags: u8, stream: u32,
            payload in proptest::collection::vec(any::<u8>(), 0..=PAYLOAD_LIMIT),
            piece in 1_usize..3000,
        ) {
            let frame = Frame { kind, flags, stream, payload: payload.into() };
            let mut wire = BytesMut::new();
            frame.encode(&mut wire).unwrap();
            let mut input = BytesMut::new();
            let mut decoded = None;
            for piece in wire.chunks(piece) {
                prop_assert_eq!(&decoded, &None);
                input.extend_from_slice(piece);
                decoded = Frame::decode(&mut input).unwrap();
            }
            prop_assert_eq!(decoded, Some(frame));
            prop_assert!(input.is_empty());
        }
    }
}
