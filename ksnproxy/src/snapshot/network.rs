//! Networks that contain an address: a table of intervals, so that one search finds the smallest of them.
//!
//! Networks are nested or apart, never across each other. In the order of their first address, and the larger ones
//! first, each stands after whatever contains it; a sweep over them gives the intervals, and to each network the one it
//! is in.

use super::record::Record;
use crate::subject::Key;

#[derive(Default)]
pub(super) struct Networks {
    nodes: Vec<Node>,
    /// Where the smallest network changes, and which it is from there on.
    intervals: Vec<(u128, Option<u32>)>,
}

struct Node {
    record: Record,
    parent: Option<u32>,
}

impl Networks {
    /// Takes records in order, each a network: records with another extent are left out.
    pub(super) fn new(records: impl Iterator<Item = Record>) -> Self {
        let mut networks = Self::default();
        let mut open: Vec<u32> = Vec::new();
        for record in records.filter(|record| record.extent() <= 128) {
            let index = u32::try_from(networks.nodes.len()).unwrap_or(u32::MAX);
            networks.close(&mut open, record.bytes);
            networks.mark(record.bytes, Some(index));
            networks.nodes.push(Node { record, parent: open.last().copied() });
            open.push(index);
        }
        while !open.is_empty() {
            networks.close_last(&mut open);
        }
        networks
    }

    /// The smallest network that contains the one asked about, or is it.
    pub(super) fn find(&self, key: &Key) -> Option<Record> {
        let address = u128::from_be_bytes(key.bytes);
        let at = self.intervals.partition_point(|(first, _)| *first <= address).checked_sub(1)?;
        let mut here = self.intervals[at].1;
        while let Some(node) = here.and_then(|index| self.nodes.get(index as usize)) {
            if node.record.extent() <= key.extent {
                return Some(node.record);
            }
            here = node.parent;
        }
        None
    }

    /// Leaves every network that ends before `address`.
    fn close(&mut self, open: &mut Vec<u32>, address: u128) {
        while open.last().is_some_and(|index| last(&self.nodes[*index as usize].record) < address) {
            self.close_last(open);
        }
    }

    fn close_last(&mut self, open: &mut Vec<u32>) {
        let Some(closed) = open.pop() else { return };
        if let Some(next) = last(&self.nodes[closed as usize].record).checked_add(1) {
            self.mark(next, open.last().copied());
        }
    }

    fn mark(&mut self, first: u128, network: Option<u32>) {
        match self.intervals.last_mut() {
            Some(interval) if interval.0 == first => interval.1 = network,
            _ => self.intervals.push((first, network)),
        }
    }
}

fn last(network: &Record) -> u128 {
    let bits = u32::try_from(network.extent()).unwrap_or(128);
    network.bytes | u128::MAX.checked_shr(bits).unwrap_or(0)
}
