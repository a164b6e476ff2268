//! What waits for a peer that reads slowly: latest-wins slots for control, one bounded queue for the rest.

use std::collections::VecDeque;

use crate::frame::HEADER_LEN;
use crate::message::{Kind, Message, Queueing};

use bytes::BytesMut;

/// Messages that wait to be written, already encoded, never more than [`OUTBOX_LIMIT`] bytes.
#[derive(Debug, Default)]
pub struct Outbox {
    /// One pending message for each kind that is [`Queueing::Latest`].
    slots: Vec<(Kind, BytesMut)>,
    queue: VecDeque<BytesMut>,
    bytes: usize,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The peer reads too slowly.
    #[error("the peer holds {0} bytes unread, which with this message exceeds the limit of {OUTBOX_LIMIT}")]
    Stalled(usize),
    /// The message does not fit in a frame at all.
    #[error("{0}")]
    TooLong(#[from] crate::frame::FrameError),
}

impl Outbox {
    /// Takes a message in.
    ///
    /// # Errors
    /// [`Full`] when it would hold more than the limit; nothing has changed then.
    pub fn push(&mut self, message: &Message, stream: u32) -> Result<(), Full> {
        let mut encoded = BytesMut::new();
        message.encode(stream, &mut encoded)?;
        let kind = message.kind();
        let replaced = self.slots.iter().position(|(slot, _)| *slot == kind);
        let freed = replaced.map_or(0, |slot| self.slots[slot].1.len());
        if self.bytes - freed + encoded.len() > OUTBOX_LIMIT {
            return Err(Full::Stalled(self.bytes));
        }
        self.bytes = self.bytes - freed + encoded.len();
        match (kind.queueing(), replaced) {
            (Queueing::Queued, _) => self.queue.push_back(encoded),
            (Queueing::Latest, Some(slot)) => self.slots[slot].1 = encoded,
            (Queueing::Latest, None) => self.slots.push((kind, encoded)),
        }
        Ok(())
    }

    /// Takes the next bytes to write: control first, then the queue; several frames at once up to one TLS record.
    pub fn pop(&mut self) -> Option<BytesMut> {
        let mut record = self.next()?;
        while let Some(len) = self.next_len()
            && record.len() + len <= RECORD
        {
            let Some(more) = self.next() else { break };
            record.unsplit(more);
        }
        self.bytes -= record.len();
        Some(record)
    }

    /// Bytes that wait.
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    fn next(&mut self) -> Option<BytesMut> {
        match self.slots.is_empty() {
            false => Some(self.slots.remove(0).1),
            true => self.queue.pop_front(),
        }
    }

    fn next_len(&self) -> Option<usize> {
        self.slots.first().map(|(_, bytes)| bytes.len()).or_else(|| self.queue.front().map(BytesMut::len))
    }
}

/// Most bytes that wait for one peer: with the record being written, at most 64 KiB are held for it.
pub const OUTBOX_LIMIT: usize = 48 * 1024;

/// Most bytes handed out at once: the plaintext of one TLS record.
const RECORD: usize = 16 * 1024;

const _: () = assert!(crate::frame::PAYLOAD_LIMIT + HEADER_LEN <= RECORD);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{GoAway, Open};

    #[test]
    fn control_waits_in_one_slot_and_goes_first() {
        let mut outbox = Outbox::default();
        outbox.push(&Message::Open(Open::default()), 0).unwrap();
        for n in 0..1000 {
            outbox.push(&go_away(n), 0).unwrap();
        }
        let mut bytes = outbox.pop().unwrap();
        let first = crate::frame::Frame::decode(&mut bytes).unwrap().unwrap();
        assert_eq!(Message::decode(&first), Ok(Some(go_away(999))));
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_stalled_peer_holds_less_than_the_limit() {
        let mut outbox = Outbox::default();
        let open = Message::Open(Open { grant: vec![0; 10_000].into(), ..Open::default() });
        while outbox.push(&open, 0).is_ok() {
            assert!(outbox.len() <= OUTBOX_LIMIT);
        }
        assert!(matches!(outbox.push(&open, 0), Err(Full::Stalled(_))));
        outbox.push(&Message::Ping, 0).expect("there is still room for a heartbeat");
    }

    fn go_away(reconnect_ms: u32) -> Message {
        Message::GoAway(GoAway { reconnect_ms, ..GoAway::default() })
    }
}
