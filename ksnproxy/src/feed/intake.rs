//! Where claims of a feed go, and what is told of them.

use std::collections::BTreeMap;
use std::fmt;

use super::error::{FeedError, Reason};
use crate::snapshot::{Claim, Sorter};
use crate::subject::{Key, Kind, Subject};
use crate::verdict::{Category, Reputation};

/// Takes what a feed says.
pub struct Intake {
    sorter: Sorter,
    report: Report,
    now: u32,
    /// Given by the operator in the place of the feed's or the format's.
    confidence: Option<u8>,
}

/// What was in a feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many claims were taken, by the kind of their subject.
    pub taken: BTreeMap<Kind, u64>,
    /// What was left out, and how often.
    pub left_out: BTreeMap<&'static str, Skipped>,
    /// Rows of more columns than the format is known to have: how many columns, and how often.
    pub drift: BTreeMap<usize, Skipped>,
    /// What the feed says of itself.
    pub notes: Vec<String>,
}

/// How often something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// How often.
    pub times: u64,
    /// The line where it did first.
    pub first: u64,
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
        }
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
    pub fn finish(self) -> Result<(Sorter, Report), FeedError> {
        let taken: u64 = self.report.taken.values().sum();
        let left_out: u64 = self.report.left_out.values().map(|skipped| skipped.times).sum();
        if taken == 0 && left_out == 0 {
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

/// What a feed says of a subject.
#[derive(Debug, Clone, Copy)]
pub(super) struct Says {
    pub(super) reputation: Reputation,
    pub(super) category: Category,
    pub(super) confidence: u8,
    pub(super) time: Option<u32>,
}

impl Says {
    pub(super) const fn malicious(category: Category, confidence: u8) -> Self {
        Self { reputation: Reputation::Malicious, category, confidence, time: None }
    }

    pub(super) const fn clean(category: Category, confidence: u8) -> Self {
        Self { reputation: Reputation::Clean, category, confidence, time: None }
    }

    pub(super) const fn at(self, time: Option<u32>) -> Self {
        Self { time, ..self }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> =
            self.taken.iter().map(|(kind, times)| format!("{times} {kind:?}")).collect();
        parts.extend(self.left_out.iter().map(|(why, skipped)| {
            format!("{} times left out {why} (line {})", skipped.times, skipped.first)
        }));
        parts.extend(self.drift.iter().map(|(columns, skipped)| {
            format!(
                "{} rows of {columns} columns, more than are known (line {})",
                skipped.times, skipped.first
            )
        }));
        parts.extend(self.notes.iter().cloned());
        f.write_str(&parts.join("; "))
    }
}
