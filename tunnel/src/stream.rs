//! The first messages inside the inner TLS: GO from the initiator, READY or REFUSED from the target.
//!
//! ```text
//! +---------------+----------------------------
//! | length (u16)  | prost message, <= 1 KiB …
//! +---------------+----------------------------
//! ```

use std::fmt;
use std::time::Duration;

use subtle::ConstantTimeEq as _;

/// What the initiator says first: begin a session, or join one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Go {
    /// `None` begins the grant's session, which only one redeemer can.
    pub session: Option<SessionId>,
    /// The number of the connection whose label was shown.
    pub connection: u32,
}

/// What the target answers to [`Go`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The target is connected; raw bytes follow both ways.
    Ready {
        /// The session, for further connections of the same initiator.
        session: SessionId,
        /// The address that was dialled, as text.
        address: String,
    },
    /// The connection ends here.
    Refused {
        /// Why, for programs.
        reason: Refusal,
        /// Why, for people.
        detail: String,
    },
}

/// Names a session of a grant; whoever shows it joins the session, so it never prints itself.
#[derive(Clone, Copy)]
pub struct SessionId([u8; 16]);

/// Why a target refuses. Numbers are part of the protocol and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Refusal {
    /// A reason of a newer version.
    Unknown = 0,
    /// The grant has a session already: the blob was redeemed before.
    InUse = 1,
    /// The session shown is not the grant's.
    WrongSession = 2,
    /// The grant is over, void or revoked.
    Over = 3,
    /// As many connections as the grant or the device allows are open.
    TooMany = 4,
    /// The address may not be reached through a tunnel.
    Forbidden = 5,
    /// The host name has no address.
    Unresolved = 6,
    /// The target does not accept the connection.
    Unreachable = 7,
    /// Resolving or dialling took too long.
    TimedOut = 8,
}

/// Bytes that are no message of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Longer than any message.
    #[error("message of {0} bytes exceeds the limit of {LIMIT}")]
    TooLong(usize),
    /// Not a message, or not its shortest encoding.
    #[error("the message cannot be read")]
    Malformed,
}

impl SessionId {
    /// Makes the session id with these bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl Go {
    /// Reads a message off the front of `input`, with the bytes it took; `None` while it is incomplete.
    ///
    /// # Errors
    /// [`StreamError`] as soon as the bytes cannot be a GO.
    pub fn read(input: &[u8]) -> Result<Option<(Self, usize)>, StreamError> {
        let Some((raw, len)) = read::<RawGo>(input)? else { return Ok(None) };
        let session = match raw.session.len() {
            0 => None,
            _ => Some(SessionId(raw.session[..].try_into().map_err(|_| StreamError::Malformed)?)),
        };
        Ok(Some((Self { session, connection: raw.connection }, len)))
    }

    /// The message with its length in front.
    pub fn encode(&self) -> Vec<u8> {
        let session = self.session.map_or(Vec::new(), |session| session.0.to_vec());
        encode(&RawGo { session, connection: self.connection })
    }
}

impl Answer {
    /// Reads a message off the front of `input`, with the bytes it took; `None` while it is incomplete.
    ///
    /// # Errors
    /// [`StreamError`] as soon as the bytes cannot be an answer.
    pub fn read(input: &[u8]) -> Result<Option<(Self, usize)>, StreamError> {
        let Some((raw, len)) = read::<RawAnswer>(input)? else { return Ok(None) };
        let answer = match raw.answer.ok_or(StreamError::Malformed)? {
            raw_answer::Answer::Ready(ready) => {
                let session = ready.session[..].try_into().map_err(|_| StreamError::Malformed)?;
                Self::Ready { session: SessionId(session), address: ready.address }
            }
            raw_answer::Answer::Refused(refused) => {
                Self::Refused { reason: refused.reason(), detail: refused.detail }
            }
        };
        Ok(Some((answer, len)))
    }

    /// The message with its length in front; a text too long for the message is cut.
    pub fn encode(&self) -> Vec<u8> {
        let answer = match self {
            Self::Ready { session, address } => raw_answer::Answer::Ready(RawReady {
                session: session.0.to_vec(),
                address: shortened(address).to_owned(),
            }),
            Self::Refused { reason, detail } => raw_answer::Answer::Refused(RawRefused {
                reason: (*reason).into(),
                detail: shortened(detail).to_owned(),
            }),
        };
        encode(&RawAnswer { answer: Some(answer) })
    }
}

impl PartialEq for SessionId {
    /// Compares in constant time: a guess learns nothing from how long its refusal took.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SessionId {}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId([redacted])")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "refused for a reason of a newer version",
            Self::InUse => "the grant is in use: it was redeemed before",
            Self::WrongSession => "the session is not the grant's",
            Self::Over => "the grant is over",
            Self::TooMany => "too many connections are open",
            Self::Forbidden => "the address may not be reached through a tunnel",
            Self::Unresolved => "the host name has no address",
            Self::Unreachable => "the target does not accept the connection",
            Self::TimedOut => "the target did not answer in time",
        })
    }
}

fn read<M: prost::Message + Default>(input: &[u8]) -> Result<Option<(M, usize)>, StreamError> {
    let Some((len, rest)) = input.split_first_chunk::<2>() else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes(*len));
    if len > LIMIT {
        return Err(StreamError::TooLong(len));
    }
    let Some(bytes) = rest.get(..len) else { return Ok(None) };
    let message = M::decode(bytes).map_err(|_| StreamError::Malformed)?;
    match message.encode_to_vec() == bytes {
        true => Ok(Some((message, 2 + len))),
        false => Err(StreamError::Malformed),
    }
}

fn encode(message: &impl prost::Message) -> Vec<u8> {
    let len = u16::try_from(message.encoded_len()).expect("texts are cut before");
    let mut bytes = len.to_be_bytes().to_vec();
    message.encode(&mut bytes).expect("a Vec grows as needed");
    bytes
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_LIMIT)]
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawGo {
    #[prost(bytes = "vec", tag = "1")]
    session: Vec<u8>,
    #[prost(uint32, tag = "2")]
    connection: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawAnswer {
    #[prost(oneof = "raw_answer::Answer", tags = "1, 2")]
    answer: Option<raw_answer::Answer>,
}

mod raw_answer {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Answer {
        #[prost(message, tag = "1")]
        Ready(super::RawReady),
        #[prost(message, tag = "2")]
        Refused(super::RawRefused),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawReady {
    #[prost(bytes = "vec", tag = "1")]
    session: Vec<u8>,
    #[prost(string, tag = "2")]
    address: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawRefused {
    #[prost(enumeration = "Refusal", tag = "1")]
    reason: i32,
    #[prost(string, tag = "2")]
    detail: String,
}

/// How long an initiator may keep a connection ready before it says GO on it.
pub const READY_LIFE: Duration = Duration::from_secs(30);

/// Most bytes of a message.
pub const LIMIT: usize = 1024;

/// Most bytes of a text in a message: what the other fields leave, rounded down.
pub const TEXT_LIMIT: usize = 900;

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    #[test]
    fn go_is_the_golden_one() {
        let first = Go { session: None, connection: 0 };
        assert_eq!(HEXLOWER.encode(&first.encode()), "0000");
        let further = Go { session: Some(SessionId([0xab; 16])), connection: 7 };
        assert_eq!(HEXLOWER.encode(&further.encode()), "00140a10abababababababababababababababab1007");
    }

    #[test]
    fn the_answers_are_the_golden_ones() {
        let ready = Answer::Ready { session: SessionId([1; 16]), address: "127.0.0.1:22".into() };
        let golden = "00220a200a1001010101010101010101010101010101120c3132372e302e302e313a3232";
        assert_eq!(HEXLOWER.encode(&ready.encode()), golden);
        let refused = Answer::Refused { reason: Refusal::InUse, detail: "no".into() };
        assert_eq!(HEXLOWER.encode(&refused.encode()), "00081206080112026e6f");
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_its_bytes_come() {
        assert_eq!(Go::read(&[0x04, 0x01]), Err(StreamError::TooLong(1025)));
    }

    #[test]
    fn a_session_of_another_length_is_refused() {
        assert_eq!(Go::read(&[0, 4, 0x0a, 2, 1, 1]), Err(StreamError::Malformed));
    }

    #[test]
    fn an_encoding_that_is_not_the_shortest_is_refused() {
        // A connection number of zero that is spelled out, and an unknown field.
        assert_eq!(Go::read(&[0, 2, 0x10, 0]), Err(StreamError::Malformed));
        assert_eq!(Go::read(&[0, 2, 0x38, 1]), Err(StreamError::Malformed));
    }

    #[test]
    fn a_text_too_long_is_cut_at_a_character() {
        let detail = "ü".repeat(2000);
        let bytes = Answer::Refused { reason: Refusal::Forbidden, detail }.encode();
        assert!(bytes.len() <= 2 + LIMIT);
        assert!(
            matches!(Answer::read(&bytes), Ok(Some((Answer::Refused { .. }, len))) if len == bytes.len())
        );
    }

    proptest! {
        #[test]
        fn go_survives_the_wire(session: Option<[u8; 16]>, connection: u32, extra: Vec<u8>) {
            let go = Go { session: session.map(SessionId), connection };
            let mut bytes = go.encode();
            for len in 0..bytes.len() {
                prop_assert_eq!(Go::read(&bytes[..len]), Ok(None));
            }
            let len = bytes.len();
            bytes.extend(extra);
            prop_assert_eq!(Go::read(&bytes), Ok(Some((go, len))));
        }

        #[test]
        fn answers_survive_the_wire(session: [u8; 16], text in ".{0,200}", ready: bool) {
            let answer = match ready {
                true => Answer::Ready { session: SessionId(session), address: text },
                false => Answer::Refused { reason: Refusal::Unreachable, detail: text },
            };
            let bytes = answer.encode();
            prop_assert_eq!(Answer::read(&bytes), Ok(Some((answer, bytes.len()))));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = (Go::read(&bytes), Answer::read(&bytes));
        }
    }
}
