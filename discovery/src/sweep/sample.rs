//! The hosts that are asked again to measure loss.

use std::collections::HashMap;

/// Some of the hosts that have answered, and how many answers each owes.
#[derive(Debug, Default)]
pub(super) struct Sample {
    hosts: Vec<u32>,
    owing: HashMap<u32, u8>,
    /// How many probes went in this round.
    sent: u32,
    /// Numbers the probes of the whole sweep.
    serial: u16,
}

impl Sample {
    /// A host has answered. The walk's order is random, so the first ones are as good as any.
    pub(super) fn add(&mut self, index: u32) {
        if self.hosts.len() < LIMIT && !self.hosts.contains(&index) {
            self.hosts.push(index);
        }
    }

    /// A new round begins.
    pub(super) fn restart(&mut self) {
        self.sent = 0;
    }

    /// The probe that is due at a position of the walk, so that they come evenly over the round.
    pub(super) fn due(&mut self, position: u32, of: u32) -> Option<(u32, u16)> {
        let due = u64::from(position) * u64::from(self.wanted(of)) / u64::from(of);
        if u64::from(self.sent) >= due {
            return None;
        }
        let index = self.hosts[usize::try_from(self.sent).expect("within its limit") % self.hosts.len()];
        self.sent += 1;
        self.serial = self.serial.wrapping_add(1) & !FIRST;
        *self.owing.entry(index).or_default() += 1;
        Some((index, FIRST | self.serial))
    }

    /// Whether some are still to be asked when a walk of that many addresses is over.
    pub(super) fn owes(&self, of: u32) -> bool {
        self.sent < self.wanted(of)
    }

    /// How many probes a round is to send.
    fn wanted(&self, of: u32) -> u32 {
        let hosts = u32::try_from(self.hosts.len()).expect("within its limit");
        hosts.min(FEW.max(of / SHARE)).max(FEW.min(hosts * AGAIN))
    }

    /// Whether an answer was owed.
    pub(super) fn answered(&mut self, index: u32) -> bool {
        let Some(owed) = self.owing.get_mut(&index).filter(|owed| **owed > 0) else { return false };
        *owed -= 1;
        true
    }
}

/// Enough to tell 1 % of loss from 2 %.
const LIMIT: usize = 1000;
/// One probe to a host that is there for so many addresses of the plan: what measuring costs is 2 % at most.
const SHARE: u32 = 64;
/// Where fewer hosts have answered, each is asked several times for as many probes.
const FEW: u32 = 64;
const AGAIN: u32 = 4;
/// What tells these attempts from those of rounds.
const FIRST: u16 = 0x8000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_hosts_are_asked_several_times_and_evenly() {
        let mut sample = Sample::default();
        assert_eq!(sample.due(99, 100), None);
        sample.add(5);
        sample.add(6);
        let asked = |sample: &mut Sample| -> Vec<u32> {
            (0..=100).filter_map(|position| sample.due(position, 100).map(|(index, _)| index)).collect()
        };
        assert_eq!(asked(&mut sample), [5, 6, 5, 6, 5, 6, 5, 6]);
        assert_eq!(asked(&mut sample), [0_u32; 0]);
        assert!((0..4).all(|_| sample.answered(5)));
        assert!(!sample.answered(5), "an answer that came twice counts once");
    }

    #[test]
    fn the_sample_is_bounded() {
        let mut sample = Sample::default();
        (0..5000).for_each(|index| sample.add(index));
        assert_eq!(sample.hosts.len(), LIMIT);
    }
}
