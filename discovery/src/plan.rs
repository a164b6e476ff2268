//! Which addresses a poll may send to: the ranges that were named, without what was excluded, and nothing else.
//!
//! A plan numbers its addresses from 0, so that everything else counts in numbers: a walk permutes them, a board keeps
//! two bits for each. The plan itself is as small as the list of its ranges.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::range::{Range, number, with_number};

/// Addresses, numbered; there is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In the order of their addresses; no two overlap.
    parts: Vec<Part>,
    len: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    range: Range,
    /// The number of its first address.
    begin: u32,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Two of the ranges have addresses in common; which of them was meant cannot be told.
    #[error("{first} and {second} overlap in {shared}")]
    Overlap {
        /// The range that begins earlier.
        first: Range,
        /// The other one.
        second: Range,
        /// What both have.
        shared: Range,
    },
    /// There are too many addresses to poll one by one.
    #[error("{range} and the others hold {size} addresses; a poll takes at most {SIZE_LIMIT}")]
    TooLarge {
        /// The largest range.
        range: Range,
        /// Of all ranges together.
        size: u128,
    },
    /// Everything is excluded, or nothing was named.
    #[error("no address is left to poll")]
    Empty,
}

impl Plan {
    /// Numbers the addresses of `ranges` that are in none of `excluded`.
    ///
    /// # Errors
    /// When two ranges overlap, when nothing is left, or when more than [`SIZE_LIMIT`] addresses are.
    pub fn new(ranges: &[Range], excluded: &[Range]) -> Result<Self, PlanError> {
        let mut sorted = ranges.to_vec();
        sorted.sort_by_key(|range| (range.first(), range.last()));
        for pair in sorted.windows(2) {
            if let [first, second] = *pair
                && let Some(shared) = first.overlap(&second)
            {
                return Err(PlanError::Overlap { first, second, shared });
            }
        }
        let left = excluded
            .iter()
            .fold(sorted, |left, cut| left.iter().flat_map(|range| range.without(cut)).flatten().collect());
        Self::number(left)
    }

    /// Just these addresses; `None` when there are none, or more than a plan takes.
    pub fn of(addresses: impl IntoIterator<Item = IpAddr>) -> Option<Self> {
        let addresses: BTreeSet<IpAddr> = addresses.into_iter().collect();
        let ranges = addresses.into_iter().filter_map(|address| Range::new(address, address));
        Self::number(ranges.collect()).ok()
    }

    /// Numbers ranges that are in order and apart.
    fn number(ranges: Vec<Range>) -> Result<Self, PlanError> {
        let size = ranges.iter().fold(0_u128, |sum, range| sum.saturating_add(range.size()));
        let largest = *ranges.iter().max_by_key(|range| range.size()).ok_or(PlanError::Empty)?;
        let len = u32::try_from(size).ok().filter(|len| *len <= SIZE_LIMIT);
        let len = len.ok_or(PlanError::TooLarge { range: largest, size })?;
        let parts = ranges.into_iter().scan(0, |begin, range| {
            let part = Part { range, begin: *begin };
            *begin += u32::try_from(range.size()).expect("all of them together fit");
            Some(part)
        });
        Ok(Self { parts: parts.collect(), len })
    }

    /// The part of the plan that lies in `within`.
    pub fn inside(&self, within: &Range) -> Option<Self> {
        let ranges = self.parts.iter().filter_map(|part| part.range.overlap(within)).collect();
        Self::number(ranges).ok()
    }

    /// The plan without `cut`.
    pub fn without(&self, cut: &Range) -> Option<Self> {
        let ranges = self.parts.iter().flat_map(|part| part.range.without(cut)).flatten().collect();
        Self::number(ranges).ok()
    }

    /// How many addresses there are.
    #[allow(clippy::len_without_is_empty)] // it never is
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether somebody should confirm that so many addresses are meant.
    pub const fn is_large(&self) -> bool {
        self.len > LARGE
    }

    /// The ranges, in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range> {
        self.parts.iter().map(|part| part.range)
    }

    /// The address with this number.
    ///
    /// # Panics
    /// When there is none.
    pub fn address(&self, index: u32) -> IpAddr {
        assert!(index < self.len, "number {index} of a plan of {}", self.len);
        let behind = self.parts.partition_point(|part| part.begin <= index);
        let part = self.parts[behind - 1];
        let first = part.range.first();
        with_number(first, number(first) + u128::from(index - part.begin))
    }

    /// The number of an address, if it may be polled.
    pub fn index(&self, address: IpAddr) -> Option<u32> {
        let behind = self.parts.partition_point(|part| part.range.first() <= address);
        let part = self.parts.get(behind.checked_sub(1)?)?;
        let offset = number(address).checked_sub(number(part.range.first()))?;
        part.range.contains(address).then_some(part.begin + u32::try_from(offset).ok()?)
    }
}

/// A /8 of IPv4: two bits for each are 4 MiB.
pub const SIZE_LIMIT: u32 = 1 << 24;
/// A /16: more than that is rarely meant, and takes over half a minute politely.
const LARGE: u32 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_one_address_and_back() {
        let plan = plan(&["10.2.0.10-10.2.0.13", "10.1.0.0/30", "fd00::/126"], &["10.1.0.1"]).unwrap();
        let all: Vec<_> = (0..plan.len()).map(|index| plan.address(index).to_string()).collect();
        assert_eq!(all[..4], ["10.1.0.0", "10.1.0.2", "10.1.0.3", "10.2.0.10"]);
        assert_eq!(all.last().unwrap(), "fd00::3");
        for (index, address) in (0..).zip(&all) {
            assert_eq!(plan.index(address.parse().unwrap()), Some(index));
        }
        for other in ["10.1.0.1", "10.0.255.255", "10.1.0.4", "10.2.0.9", "10.2.0.14", "fd00::4", "::1"] {
            assert_eq!(plan.index(other.parse().unwrap()), None, "{other}");
        }
    }

    #[test]
    fn ranges_that_overlap_are_refused_by_name() {
        let error = plan(&["10.1.5.0-10.1.5.9", "10.9.0.0/24", "10.1.0.0/16"], &[]).unwrap_err();
        assert_eq!(error.to_string(), "10.1.0.0/16 and 10.1.5.0-10.1.5.9 overlap in 10.1.5.0-10.1.5.9");
    }

    #[test]
    fn a_plan_has_at_least_one_address_and_at_most_those_of_a_slash_8() {
        assert_eq!(plan(&["10.1.0.0/24"], &["10.0.0.0/8"]), Err(PlanError::Empty));
        assert_eq!(plan(&["10.0.0.0/8"], &[]).unwrap().len(), SIZE_LIMIT);
        let error = plan(&["10.0.0.0/8", "11.0.0.0"], &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "10.0.0.0/8 and the others hold 16777217 addresses; a poll takes at most 16777216"
        );
        assert!(matches!(plan(&["fd00::/64"], &[]), Err(PlanError::TooLarge { .. })));
    }

    #[test]
    fn more_than_a_slash_16_is_large() {
        assert!(!plan(&["10.1.0.0/16"], &[]).unwrap().is_large());
        assert!(plan(&["10.1.0.0/16", "10.2.0.0"], &[]).unwrap().is_large());
    }

    fn plan(ranges: &[&str], excluded: &[&str]) -> Result<Plan, PlanError> {
        let parsed = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Range>>();
        Plan::new(&parsed(ranges), &parsed(excluded))
    }
}
