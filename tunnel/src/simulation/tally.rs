//! What has happened in a world, counted.

use std::collections::BTreeSet;

use crate::label::Cookie;

#[derive(Default)]
pub(super) struct Tally {
    pub(super) joined: usize,
    pub(super) ended: usize,
    pub(super) handed_over: usize,
    pub(super) ready: usize,
    pub(super) refused: usize,
    pub(super) verified: BTreeSet<Cookie>,
    pub(super) relay_records: BTreeSet<Cookie>,
    pub(super) target_records: BTreeSet<Cookie>,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.joined += other.joined;
        self.handed_over += other.handed_over;
        self.ready += other.ready;
        self.refused += other.refused;
        self.relay_records.extend(other.relay_records);
    }
}
