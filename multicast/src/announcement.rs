//! ANNOUNCEMENT: a session, and the object it brings; signed by who sends it.

use bytes::{BufMut, Bytes};
use klnet_wire::signed::{Context, PublicKey, Signed};
use klnet_wire::signing::SigningKey;

use crate::id::{ReceiverId, SessionId};
use crate::manifest::{put_signed, read_signed};
use crate::reader::{Malformed, Reader};

/// What a sender says of its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Goes up with each one of a session.
    pub sequence: u32,
    /// Whether the session goes on.
    pub phase: Phase,
    /// Bytes of a symbol.
    pub symbol: u16,
    /// The sender's time in Unix milliseconds.
    pub stamp: u64,
    /// The manifest, still to be verified.
    pub manifest: Signed,
    /// Receivers that have to wait for the tail.
    pub demoted: Vec<ReceiverId>,
    /// Catalogue and content of a small object.
    pub inline: Bytes,
}

/// Whether a session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It does.
    Open,
    /// It is over.
    Ended,
}

impl Announcement {
    /// The sealed body: everything, and the announcer's signature over it and the session.
    pub fn encode(&self, session: SessionId, announcer: &SigningKey) -> Vec<u8> {
        let mut bytes = session.0.to_vec();
        bytes.put_u32(self.sequence);
        bytes.put_u8(self.phase as u8 + 1);
        bytes.put_u16(self.symbol);
        bytes.put_u64(self.stamp);
        put_signed(&mut bytes, &self.manifest);
        let demoted = self.demoted.get(..DEMOTED_LIMIT).unwrap_or(&self.demoted);
        bytes.put_u8(u8::try_from(demoted.len()).unwrap_or(u8::MAX));
        demoted.iter().for_each(|receiver| bytes.put_slice(receiver.as_bytes()));
        bytes.put_u16(u16::try_from(self.inline.len()).unwrap_or(u16::MAX));
        bytes.put_slice(&self.inline);
        let signed = announcer.sign(Context::MulticastSession, bytes.into());
        [&signed.bytes[session.0.len()..], &signed.key_id, &signed.signature].concat()
    }

    /// The sequence number of an opened body, which says whether the signature is worth checking.
    ///
    /// # Errors
    /// [`Malformed`] when there is none.
    pub fn sequence(body: &[u8]) -> Result<u32, Malformed> {
        Reader::new(body).u32()
    }

    /// Reads an opened body that one of `announcers` signed for this session.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are anything else, or nobody known signed them.
    pub fn verify(body: &[u8], session: SessionId, announcers: &[PublicKey]) -> Result<Self, Malformed> {
        let (rest, signature) = body.split_last_chunk::<64>().ok_or(Malformed)?;
        let (text, key_id) = rest.split_last_chunk::<8>().ok_or(Malformed)?;
        let announcer = announcers.iter().find(|key| key.id() == *key_id).ok_or(Malformed)?;
        let message = Context::MulticastSession.message(&[&session.0, text].concat());
        announcer.verify(&message, signature).map_err(|_| Malformed)?;
        Self::decode(text)
    }

    fn decode(text: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(text);
        let sequence = reader.u32()?;
        let phase = match reader.u8()? {
            1 => Phase::Open,
            2 => Phase::Ended,
            _ => return Err(Malformed),
        };
        let (symbol, stamp, manifest) = (reader.u16()?, reader.u64()?, read_signed(&mut reader)?);
        let count = usize::from(reader.u8()?);
        if count > DEMOTED_LIMIT {
            return Err(Malformed);
        }
        let demoted = (0..count).map(|_| Ok(ReceiverId::new(reader.array()?))).collect::<Result<_, _>>()?;
        let inline = usize::from(reader.u16()?);
        if inline > INLINE_LIMIT {
            return Err(Malformed);
        }
        let inline = Bytes::copy_from_slice(reader.bytes(inline)?);
        reader.end()?;
        Ok(Self { sequence, phase, symbol, stamp, manifest, demoted, inline })
    }
}

/// Receivers that are told to wait in one announcement.
pub const DEMOTED_LIMIT: usize = 8;
/// Bytes of catalogue and content that an announcement takes along, so that it fits every MTU of 1,280 or more.
pub const INLINE_LIMIT: usize = 640;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::manifest::tests::sample;

    #[test]
    fn an_announcement_survives_the_wire_and_its_longest_fits_an_mtu_of_1280() {
        let key = SigningKey::generate_ed25519();
        let announcement = announcement(&key, INLINE_LIMIT);
        let body = announcement.encode(SESSION, &key);
        let headers = 25 + 16 + 8 + 40;
        assert!(body.len() + headers + 128 <= 1280, "{}", body.len());
        assert_eq!(Announcement::verify(&body, SESSION, &[key.public().clone()]), Ok(announcement));
        assert_eq!(Announcement::sequence(&body), Ok(9));
    }

    #[test]
    fn another_session_signer_or_byte_is_refused() {
        let (key, other) = (SigningKey::generate_ed25519(), SigningKey::generate_ed25519());
        let known = [key.public().clone()];
        let body = announcement(&key, 3).encode(SESSION, &key);
        assert_eq!(Announcement::verify(&body, SessionId([5; 16]), &known), Err(Malformed));
        let forged = announcement(&key, 3).encode(SESSION, &other);
        assert_eq!(Announcement::verify(&forged, SESSION, &known), Err(Malformed));
        for bit in 0..body.len() * 8 {
            let mut forged = body.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(Announcement::verify(&forged, SESSION, &known).is_err(), "bit {bit}");
        }
        assert!((0..body.len()).all(|cut| Announcement::verify(&body[..cut], SESSION, &known).is_err()));
    }

    pub(crate) fn announcement(key: &SigningKey, inline: usize) -> Announcement {
        Announcement {
            sequence: 9,
            phase: Phase::Open,
            symbol: 1408,
            stamp: 1_800_000_000_000,
            manifest: sample().sign(key).unwrap(),
            demoted: vec![ReceiverId::new([1; 16]); DEMOTED_LIMIT],
            inline: vec![5; inline].into(),
        }
    }

    const SESSION: SessionId = SessionId([4; 16]);
}
