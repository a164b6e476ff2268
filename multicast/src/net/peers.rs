//! Receivers as a sender's socket knows them: their keys, and where they were heard.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::SenderKeys;
use crate::feedback::Feedback;
use crate::id::{ReceiverId, SessionId};
use crate::key::{FeedbackKeys, random};
use crate::packet::{Header, Letter};
use crate::sender::MEMBERS_LIMIT;

/// The receivers of a session.
#[derive(Debug)]
pub(super) struct Peers<'a> {
    keys: &'a SenderKeys,
    session: SessionId,
    known: HashMap<ReceiverId, Peer>,
}

#[derive(Debug)]
struct Peer {
    address: SocketAddr,
    keys: FeedbackKeys,
}

impl<'a> Peers<'a> {
    pub(super) fn new(keys: &'a SenderKeys, session: SessionId) -> Self {
        Self { keys, session, known: HashMap::new() }
    }

    /// Opens a datagram that is authentic feedback of this session; nobody is remembered for less.
    pub(super) fn open(&mut self, datagram: &mut [u8], from: SocketAddr) -> Option<(ReceiverId, Feedback)> {
        let (header, length) = Header::decode(datagram).ok()?;
        let Header::Feedback(Letter { session, receiver, .. }) = header else { return None };
        if session != self.session.short() {
            return None;
        }
        if let Some(peer) = self.known.get_mut(&receiver) {
            let said = read(header, &peer.keys, length, datagram)?;
            peer.address = from;
            return Some((receiver, said));
        }
        let keys = FeedbackKeys::new(&self.keys.feedback.receiver(receiver), self.session);
        let said = read(header, &keys, length, datagram)?;
        if self.known.len() < MEMBERS_LIMIT {
            self.known.insert(receiver, Peer { address: from, keys });
        }
        Some((receiver, said))
    }

    /// Seals a receipt into `packets` and says where it goes.
    pub(super) fn receipt(&self, receiver: ReceiverId, packets: &mut Vec<u8>) -> Option<SocketAddr> {
        let peer = self.known.get(&receiver)?;
        let letter = Letter { session: self.session.short(), receiver, nonce: random() };
        packets.clear();
        Header::Receipt(letter).seal(&peer.keys.receipt, &[], packets);
        Some(peer.address)
    }
}

fn read(header: Header, keys: &FeedbackKeys, length: usize, datagram: &mut [u8]) -> Option<Feedback> {
    let body = header.open(&keys.feedback, length, datagram).ok()?;
    Feedback::decode(body).ok()
}
