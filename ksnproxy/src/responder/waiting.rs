//! A query of which not everything is known here, until it is.

use std::sync::Arc;

use super::finish;
use crate::frame::{Header, VERDICT};
use crate::subject::Key;
use crate::ticket::Session;
use crate::verdict::Verdict;

/// A query that waits for verdicts.
#[derive(Debug)]
pub struct Waiting {
    header: Header,
    session: Option<Arc<Session>>,
    verdicts: Vec<u8>,
    missing: Vec<(u8, Key)>,
}

impl Waiting {
    pub(super) fn new(
        header: Header,
        session: Option<Arc<Session>>,
        verdicts: &[u8],
        missing: Vec<(u8, Key)>,
    ) -> Self {
        Self { header, session, verdicts: verdicts.to_vec(), missing }
    }

    /// The keys that are not known, each with its place in the query.
    pub fn missing(&self) -> &[(u8, Key)] {
        &self.missing
    }

    /// Takes the verdict of the key in this place; whether it was the last.
    pub fn take(&mut self, place: u8, verdict: &Verdict) -> bool {
        let before = self.missing.len();
        self.missing.retain(|(missing, _)| *missing != place);
        if self.missing.len() < before {
            let at = usize::from(place) * VERDICT;
            self.verdicts[at..at + VERDICT].copy_from_slice(&verdict.pack());
        }
        self.missing.is_empty()
    }

    /// Writes the answer to `room`, and says how many bytes of it that were: less than the query had.
    pub fn finish(&self, room: &mut [u8]) -> usize {
        room[Header::LENGTH..][..self.verdicts.len()].copy_from_slice(&self.verdicts);
        finish(self.header, self.session.as_deref(), room)
    }
}
