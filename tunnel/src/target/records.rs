//! Records that the server has not confirmed yet.

use std::collections::VecDeque;

use crate::label::Cookie;
use crate::record::TunnelRecord;

/// Keeps records until each is confirmed; sends at most [`WINDOW`] ahead of their confirmations.
#[derive(Debug, Default)]
pub(super) struct Records {
    sent: VecDeque<TunnelRecord>,
    waiting: VecDeque<TunnelRecord>,
}

impl Records {
    /// Keeps a record; above `limit` the oldest is forgotten, which the server shows as unconfirmed.
    pub(super) fn push(&mut self, record: TunnelRecord, limit: usize) {
        if self.len() >= limit && self.sent.pop_front().is_none() {
            self.waiting.pop_front();
        }
        self.waiting.push_back(record);
    }

    /// The next record to send, if the server confirms as fast as they come.
    pub(super) fn next(&mut self) -> Option<TunnelRecord> {
        if self.sent.len() >= WINDOW {
            return None;
        }
        let record = self.waiting.pop_front()?;
        self.sent.push_back(record.clone());
        Some(record)
    }

    /// Forgets a record that the server has stored.
    pub(super) fn confirmed(&mut self, cookie: &Cookie) {
        self.sent.retain(|record| record.cookie != *cookie);
    }

    /// Sends again, on a new connection or after a long silence, what was sent and not confirmed.
    pub(super) fn restart(&mut self) {
        self.sent.append(&mut self.waiting);
        self.waiting = std::mem::take(&mut self.sent);
    }

    /// Whether any was sent and is not confirmed.
    pub(super) fn are_sent(&self) -> bool {
        !self.sent.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.sent.len() + self.waiting.len()
    }
}

/// Records on their way at once: a few kilobytes of a slow server's queue.
const WINDOW: usize = 32;
