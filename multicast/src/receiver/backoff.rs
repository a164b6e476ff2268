//! How long to wait before asking: who misses most speaks first, and one voice speaks for all.

use std::time::Duration;

use crate::dice::Dice;
use crate::loss::Loss;

/// What a receiver knows of the group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    /// Its round trip.
    pub(super) grtt: Duration,
    /// How many there are.
    pub(super) size: u32,
    /// Whether all have had the time to be counted.
    pub(super) is_counted: bool,
    /// Loss of the middle one.
    pub(super) loss: Option<Loss>,
}

/// What a receiver has of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// Symbols that went out; `None` when it is not known, or each went out more than once.
    pub(super) sent: Option<u32>,
    /// Symbols that came.
    pub(super) came: u16,
}

impl Group {
    /// The time to wait before asking for a block.
    pub(super) fn wait(&self, share: Share, dice: &mut Dice) -> Duration {
        let size = f64::from(self.size.max(1));
        // A few may all speak: that is sooner over, and no more than the voices of a thousand.
        let spread = if self.is_counted { (size / FEW).min(1.0) } else { 1.0 };
        let whole = self.grtt.mul_f64(BACKOFF * spread);
        match self.rank(share, dice) {
            Some(rank) => whole.mul_f64((1.0 + rank).ln() / (1.0 + size).ln()),
            None => whole.mul_f64(unbiased(size, dice)),
        }
    }

    /// How many receivers are expected to miss more: N Q(z), where z says by how many deviations fewer came than on
    /// average. `None` when nothing is known, or so few came that this receiver is not one of N alike.
    fn rank(&self, share: Share, dice: &mut Dice) -> Option<f64> {
        let (loss, sent) = (self.loss?.share(), f64::from(share.sent?));
        let deviation = (sent * loss * (1.0 - loss)).sqrt();
        if deviation < DEVIATION_LEAST {
            return None;
        }
        // Counts are whole, so many have the same: the dice order those.
        let came = f64::from(share.came) + dice.share() - 0.5;
        let rank = f64::from(self.size.max(1)) * upper_tail((sent * (1.0 - loss) - came) / deviation);
        (rank > OUTLIER).then_some(rank)
    }
}

/// The share of the whole wait by RFC 5401, 3.2.2: exponentially few draw a short one.
fn unbiased(size: f64, dice: &mut Dice) -> f64 {
    let lambda = size.ln() + 1.0;
    (1.0 + dice.share() * (lambda.exp() - 1.0)).ln() / lambda
}

/// Q(z), the share of a normal distribution above z; within 1 % (Börjesson and Sundberg, 1979).
fn upper_tail(z: f64) -> f64 {
    let positive = z.abs();
    let density = (-positive * positive / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let tail = density / (0.661 * positive + 0.339 * (positive * positive + 5.51).sqrt());
    if z < 0.0 { 1.0 - tail } else { tail }
}

/// The longest wait in round trips: K of RFC 5401.
pub const BACKOFF: f64 = 6.0;
/// Receivers from which on requests have to be spread over all of that.
const FEW: f64 = 32.0;
/// Below this the counts of N receivers say nothing about who misses most.
const DEVIATION_LEAST: f64 = 0.5;
/// Fewer than this many of N receivers would miss as much by chance.
const OUTLIER: f64 = 0.02;

/// A random seed's worth of time, for reports that nobody waits for.
pub(super) fn spread(size: u32) -> Duration {
    Duration::from_millis(u64::from(size) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_tail_is_that_of_a_normal_distribution() {
        for (z, tail) in [(0.0, 0.5), (1.0, 0.1587), (2.0, 0.02275), (3.0, 0.00135), (-1.0, 0.8413)] {
            assert!((upper_tail(z) - tail).abs() < 0.01 * tail, "{z}");
        }
    }

    #[test]
    fn who_misses_most_waits_least() {
        let mut dice = Dice::new(1);
        let wait = |came, dice: &mut Dice| GROUP.wait(Share { sent: Some(3000), came }, dice);
        let [few, average, many] = [2815, 2850, 2885].map(|came| wait(came, &mut dice));
        assert!(few < GROUP.grtt && average > 4 * GROUP.grtt && many > average && many < 6 * GROUP.grtt);
    }

    #[test]
    fn few_of_a_thousand_speak_in_the_first_round_trip() {
        // Whether deficits are known to be alike, are all of one kind, or nothing is known.
        let alike = voices(|dice| Share { sent: Some(3000), came: binomial(3000, 0.05, dice) });
        let unknown = voices(|_| Share { sent: None, came: 0 });
        let partitioned = voices(|_| Share { sent: Some(3000), came: 10 });
        assert!(alike <= 8 && unknown <= 40 && partitioned <= 40, "{alike} {unknown} {partitioned}");
    }

    #[test]
    fn a_few_wait_for_no_more_than_a_round_trip() {
        let mut dice = Dice::new(3);
        for size in 1..=5 {
            let few = Group { size, ..GROUP };
            assert!((0..100).all(|_| few.wait(Share { sent: None, came: 0 }, &mut dice) <= few.grtt));
        }
        let unknown = Group { size: 5, is_counted: false, ..GROUP };
        let waits = (0..100).map(|_| unknown.wait(Share { sent: None, came: 0 }, &mut dice));
        assert!(waits.max().unwrap() > 4 * GROUP.grtt, "there may be a thousand");
    }

    /// How many of 1,000 speak until one round trip after the first.
    fn voices(share: impl Fn(&mut Dice) -> Share) -> usize {
        let mut dice = Dice::new(7);
        let rounds = 50;
        let count = |_| {
            let mut waits: Vec<_> = (0..1000)
                .map(|_| {
                    let share = share(&mut dice);
                    GROUP.wait(share, &mut dice)
                })
                .collect();
            waits.sort_unstable();
            waits.iter().filter(|wait| **wait <= waits[0] + GROUP.grtt).count()
        };
        (0..rounds).map(count).sum::<usize>() / rounds
    }

    fn binomial(trials: u16, loss: f64, dice: &mut Dice) -> u16 {
        let came = (0..trials).filter(|_| dice.share() >= loss).count();
        u16::try_from(came).unwrap()
    }

    const GROUP: Group =
        Group { grtt: Duration::from_millis(10), size: 1000, is_counted: true, loss: Some(FIVE) };
    const FIVE: Loss = Loss::fixed(3277);
}
