//! TAGS: what the symbols of a block are, signed by who sends them. For when a member of the group forges some: with these
//! each symbol is checked by itself, by something that not every member can make.

use bytes::BufMut;
use klnet_wire::signed::{Context, PublicKey};
use klnet_wire::signing::SigningKey;

use crate::id::SessionId;
use crate::reader::{Malformed, Reader};

/// Tags of some symbols of a block that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tags {
    /// Which block.
    pub block: u32,
    /// The first symbol.
    pub first: u16,
    /// Of it and those that follow.
    pub tags: Vec<Tag>,
}

/// The beginning of a hash of a symbol and of where it belongs.
pub type Tag = [u8; 8];

/// The tag of a symbol. Who forges one has to find other bytes with the same tag while the session lasts.
pub fn tag(session: SessionId, block: u32, esi: u16, symbol: &[u8]) -> Tag {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&session.0).update(&block.to_be_bytes()).update(&esi.to_be_bytes()).update(symbol);
    let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
    [a, b, c, d, e, f, g, h]
}

impl Tags {
    /// The sealed body, and the announcer's signature over it and the session.
    pub fn encode(&self, session: SessionId, announcer: &SigningKey) -> Vec<u8> {
        let mut bytes = session.0.to_vec();
        bytes.put_u32(self.block);
        bytes.put_u8(NO_PHASE);
        bytes.put_u16(self.first);
        let tags = self.tags.get(..TAGS_LIMIT.into()).unwrap_or(&self.tags);
        bytes.put_u8(u8::try_from(tags.len()).unwrap_or(u8::MAX));
        tags.iter().for_each(|tag| bytes.put_slice(tag));
        let signed = announcer.sign(Context::MulticastSession, bytes.into());
        [&signed.bytes[session.0.len()..], &signed.key_id, &signed.signature].concat()
    }

    /// The block that an opened body is about, which says whether the signature is worth checking.
    ///
    /// # Errors
    /// [`Malformed`] when there is none.
    pub fn block(body: &[u8]) -> Result<u32, Malformed> {
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
        let block = reader.u32()?;
        if reader.u8()? != NO_PHASE {
            return Err(Malformed);
        }
        let (first, count) = (reader.u16()?, usize::from(reader.u8()?));
        if count > TAGS_LIMIT.into() {
            return Err(Malformed);
        }
        let tags = (0..count).map(|_| reader.array()).collect::<Result<_, _>>()?;
        reader.end()?;
        Ok(Self { block, first, tags })
    }
}

/// Where an announcement, which is signed in the same context, has its phase: it is never this.
const NO_PHASE: u8 = 0;
/// Tags in one packet, so that it fits every MTU of 1,280 or more.
pub const TAGS_LIMIT: u16 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_survive_the_wire_and_the_most_fit_an_mtu_of_1280() {
        let (key, tags) = (SigningKey::generate_ed25519(), sample());
        let body = tags.encode(SESSION, &key);
        assert!(body.len() + 11 + 16 + 8 + 40 <= 1280, "{}", body.len());
        assert_eq!(Tags::verify(&body, SESSION, &[key.public().clone()]), Ok(tags));
        assert_eq!(Tags::block(&body), Ok(7));
    }

    #[test]
    fn another_session_signer_or_byte_is_refused() {
        let (key, other) = (SigningKey::generate_ed25519(), SigningKey::generate_ed25519());
        let known = [key.public().clone()];
        let body = sample().encode(SESSION, &key);
        assert!(Tags::verify(&body, SessionId([5; 16]), &known).is_err());
        assert!(Tags::verify(&sample().encode(SESSION, &other), SESSION, &known).is_err());
        for at in 0..body.len() {
            let mut forged = body.clone();
            forged[at] ^= 1;
            assert!(Tags::verify(&forged, SESSION, &known).is_err(), "byte {at}");
            assert!(Tags::verify(&body[..at], SESSION, &known).is_err(), "cut {at}");
        }
    }

    #[test]
    fn no_announcement_is_taken_for_tags_and_the_other_way_round() {
        use crate::announcement::Announcement;
        let key = SigningKey::generate_ed25519();
        let known = [key.public().clone()];
        let body = sample().encode(SESSION, &key);
        assert!(Announcement::verify(&body, SESSION, &known).is_err());
        let body = crate::announcement::tests::announcement(&key, 3).encode(SESSION, &key);
        assert!(Tags::verify(&body, SESSION, &known).is_err());
    }

    #[test]
    fn a_tag_is_of_one_symbol_in_one_place() {
        let tags = [
            tag(SESSION, 1, 2, b"x"),
            tag(SESSION, 1, 2, b"y"),
            tag(SESSION, 1, 3, b"x"),
            tag(SESSION, 2, 2, b"x"),
            tag(SessionId([5; 16]), 1, 2, b"x"),
        ];
        assert!((1..tags.len()).all(|n| !tags[..n].contains(&tags[n])));
    }

    fn sample() -> Tags {
        Tags { block: 7, first: 256, tags: vec![[3; 8]; TAGS_LIMIT.into()] }
    }

    const SESSION: SessionId = SessionId([4; 16]);
}
