//! Where claims of a feed go, and what is told of them.

use super::error::{FeedError, Reason};
use super::hash_list::{HashLists, Update};
use super::report::{Report, Skipped};
use super::says::Says;
use crate::snapshot::{Claim, Sorter};
use crate::subject::{Key, Subject};

/// Takes what a feed says.
pub struct Intake {
    sorter: Sorter,
    report: Report,
    now: u32,
    /// Given by the operator in the place of the feed's or the format's.
    confidence: Option<u8>,
    /// The lists of the import before, and those of this one.
    before: HashLists,
    lists: HashLists,
}

impl Intake {
    /// Takes claims into `sorter`. `now` is in seconds of Unix time, and what claims without a time get; `confidence` of
    /// the operator goes before that of the feed.
    pub fn new(sorter: Sorter, now: u64, confidence: Option<u8>) -> Self {
        let now = u32::try_from(now).unwrap_or(u32::MAX);
        Self {
            sorter,
            report: Report::default(),
            now,
            confidence: confidence.map(|percent| percent.min(100)),
            before: HashLists::default(),
            lists: HashLists::default(),
        }
    }

    /// What partial updates build on: the lists that the import before left.
    #[must_use]
    pub fn upon(self, before: HashLists) -> Self {
        Self { before, ..self }
    }

    /// What the partial updates of the next import build on; none in formats without any.
    pub fn hash_lists(&self) -> &HashLists {
        &self.lists
    }

    /// What came so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Ends the intake.
    ///
    /// # Errors
    /// [`Reason::Empty`] when there is no claim, [`Reason::LeftOut`] when most were left out: then it is another format,
    /// or has changed beyond what is known of it.
    pub fn finish(mut self) -> Result<(Sorter, Report), FeedError> {
        let lists = std::mem::take(&mut self.lists);
        for (key, says) in lists.claims() {
            self.take_key(key, says)?;
        }
        let taken: u64 = self.report.taken.values().sum();
        let left_out: u64 = self.report.left_out.values().map(|skipped| skipped.times).sum();
        if taken == 0 && left_out == 0 && lists.is_empty() {
            return Err(Reason::Empty.into());
        }
        if left_out > taken {
            return Err(Reason::LeftOut(Box::new(self.report)).into());
        }
        Ok((self.sorter, self.report))
    }

    pub(super) fn take(&mut self, subject: Subject, says: Says) -> Result<(), FeedError> {
        self.take_key(subject.key(), says)
    }

    pub(super) fn take_key(&mut self, key: Key, says: Says) -> Result<(), FeedError> {
        let claim = Claim {
            reputation: says.reputation,
            category: says.category,
            confidence: self.confidence.unwrap_or(says.confidence),
            source: 0,
            time: says.time.unwrap_or(self.now).min(self.now),
        };
        self.sorter.push(key, claim).map_err(FeedError::Keep)?;
        *self.report.taken.entry(key.kind).or_default() += 1;
        Ok(())
    }

    /// Brings a list up to date, which may be asked for again after so many seconds.
    pub(super) fn update(&mut self, update: Update, wait: i64) -> Result<(), Reason> {
        let name = update.name.clone();
        self.lists.update(&self.before, update)?;
        if wait > 0 {
            self.note(format!("{name} is to be asked for again in {wait} s"));
        }
        Ok(())
    }

    pub(super) fn leave_out(&mut self, why: &'static str, line: u64) {
        self.report.left_out.entry(why).or_insert(Skipped { times: 0, first: line }).times += 1;
    }

    pub(super) fn drift(&mut self, columns: usize, line: u64) {
        self.report.drift.entry(columns).or_insert(Skipped { times: 0, first: line }).times += 1;
    }

    pub(super) fn note(&mut self, note: String) {
        self.report.notes.push(note);
    }

    pub(super) fn now(&self) -> u32 {
        self.now
    }
}
