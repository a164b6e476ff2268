//! What was in a feed.

use std::collections::BTreeMap;
use std::fmt;

use crate::subject::Kind;

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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> =
            self.taken.iter().map(|(kind, times)| format!("{times} × {kind}")).collect();
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
