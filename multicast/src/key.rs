//! Keys of a group, and what is derived from them for a session.

use std::fmt;

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::id::{ReceiverId, SessionId};

/// 32 secret bytes; wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<[u8; 32]>);

/// What every member of a group shares in one epoch; who is removed does not get the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochKey {
    /// Which epoch; it goes up.
    pub epoch: u16,
    /// The epoch's secret.
    pub secret: Secret,
}

/// A key that opens and seals packets.
pub struct PacketKey(LessSafeKey);

/// The two keys a sender and one receiver share in a session.
#[derive(Debug)]
pub struct FeedbackKeys {
    /// Seals feedback.
    pub feedback: PacketKey,
    /// Seals receipts.
    pub receipt: PacketKey,
}

/// A packet that the key did not seal, or that was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the packet is not authentic")]
pub struct NotAuthentic;

impl Secret {
    /// The secret with these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Draws a secret.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    pub fn random() -> Self {
        Self::new(random())
    }

    /// The secret itself, for a key file.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The receiver key of one receiver, from the feedback secret.
    pub fn receiver(&self, receiver: ReceiverId) -> Self {
        Self::new(derive(receiver.as_bytes(), self, &[b"klnet/multicast/receiver/v1"]))
    }
}

impl EpochKey {
    /// The key of a session's packets in one lane.
    pub fn packets(&self, session: SessionId, lane: u8) -> PacketKey {
        let info = [b"klnet/multicast/packet/v1".as_slice(), &self.epoch.to_be_bytes(), &[lane]];
        PacketKey::new(derive(&session.0, &self.secret, &info))
    }
}

impl FeedbackKeys {
    /// The keys of a session with the receiver whose key `receiver` is.
    pub fn new(receiver: &Secret, session: SessionId) -> Self {
        let key = |label: &[u8]| PacketKey::new(derive(&session.0, receiver, &[label]));
        Self { feedback: key(b"klnet/multicast/feedback/v1"), receipt: key(b"klnet/multicast/receipt/v1") }
    }
}

impl PacketKey {
    fn new(key: [u8; 16]) -> Self {
        let key = UnboundKey::new(&AES_128_GCM, &key).expect("the length is that of the algorithm");
        Self(LessSafeKey::new(key))
    }

    /// Encrypts `body` where it is and returns what authenticates it and the header.
    pub(crate) fn seal(&self, nonce: [u8; 12], header: &[u8], body: &mut [u8]) -> [u8; TAG] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(header), body);
        let tag = tag.expect("a packet is shorter than the algorithm's limit");
        *tag.as_ref().first_chunk().expect("the tag has 16 bytes")
    }

    /// Decrypts `sealed`, a body and its tag, where it is.
    pub(crate) fn open<'a>(
        &self,
        nonce: [u8; 12],
        header: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], NotAuthentic> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_in_place(nonce, Aad::from(header), sealed).map_err(|_| NotAuthentic)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

impl fmt::Debug for PacketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PacketKey([redacted])")
    }
}

/// Draws bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

fn derive<const N: usize>(salt: &[u8], secret: &Secret, info: &[&[u8]]) -> [u8; N] {
    let extracted = Salt::new(HKDF_SHA256, salt).extract(secret.as_bytes());
    let mut key = [0; N];
    extracted.expand(info, Length(N)).and_then(|okm| okm.fill(&mut key)).expect("HKDF gives so few bytes");
    key
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Bytes that authenticate a packet.
pub(crate) const TAG: usize = 16;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ten_thousand_restarts_in_four_lanes_never_repeat_a_key() {
        let secret = Secret::random();
        let mut keys = HashSet::new();
        for _ in 0..10_000 {
            let session = SessionId(random());
            for lane in 0..4_u8 {
                let info = [b"klnet/multicast/packet/v1".as_slice(), &[0, 1], &[lane]];
                assert!(keys.insert(derive::<16>(&session.0, &secret, &info)));
            }
        }
    }

    #[test]
    fn keys_of_epochs_lanes_sessions_receivers_and_purposes_differ() {
        let session = |n| SessionId([n; 16]);
        let epoch = |epoch| EpochKey { epoch, secret: Secret::new([9; 32]) };
        let receiver = |n| Secret::new([9; 32]).receiver(ReceiverId::new([n; 16]));
        let keys = [
            epoch(1).packets(session(1), 0),
            epoch(1).packets(session(1), 1),
            epoch(1).packets(session(2), 0),
            epoch(2).packets(session(1), 0),
            FeedbackKeys::new(&receiver(1), session(1)).feedback,
            FeedbackKeys::new(&receiver(1), session(1)).receipt,
            FeedbackKeys::new(&receiver(1), session(2)).feedback,
            FeedbackKeys::new(&receiver(2), session(1)).feedback,
        ];
        let tags: HashSet<_> = keys.iter().map(|key| key.seal([0; 12], b"", &mut [0; 16])).collect();
        assert_eq!(tags.len(), keys.len());
    }

    #[test]
    fn secrets_never_print_themselves() {
        let epoch = EpochKey { epoch: 7, secret: Secret::new([0xab; 32]) };
        let shown = format!("{epoch:?} {:?}", epoch.packets(SessionId([0; 16]), 0));
        assert!(!shown.contains("ab") && !shown.contains("171"), "{shown}");
    }
}
