//! How much is lost on the way, and how many rounds that takes.
//!
//! Silence says nothing about loss: most addresses have no host. So hosts that have answered are asked again now and
//! then, and what they do not answer was lost.

/// Probes to hosts known to be there, and their answers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Loss {
    asked: u32,
    answered: u32,
}

impl Loss {
    /// A host that is there was asked.
    pub const fn ask(&mut self) {
        self.asked += 1;
    }

    /// It answered.
    pub const fn answer(&mut self) {
        self.answered += 1;
    }

    /// The share that was lost, once enough hosts were asked to tell; never quite nothing.
    pub fn share(&self) -> Option<f64> {
        let lost = f64::from(self.asked.saturating_sub(self.answered));
        (self.asked >= TELLING).then(|| (lost + 0.5) / f64::from(self.asked + 1))
    }

    /// Rounds after which a host has answered with probability `recall`, or nearly that: a tenth of a round is not asked for.
    pub fn rounds(&self, recall: f64) -> u8 {
        let Some(share) = self.share() else { return UNKNOWN };
        let wanted = (1.0 - recall).ln() / share.ln() - NEARLY;
        // Where nearly everything is lost, more rounds only add to the trouble.
        (FEWEST..=MOST).find(|rounds| f64::from(*rounds) >= wanted).unwrap_or(MOST)
    }
}

/// Below this the share says more about chance than about the network.
const TELLING: u32 = 8;
/// Rounds where loss cannot be measured.
const UNKNOWN: u8 = 3;
/// A round is not worth a tenth of one: at 5 % of loss each way chance alone would demand a fifth in one poll of three. At
/// the default recall of 99.99 % no more than 0.016 % are missed for it.
const NEARLY: f64 = 0.1;
/// Without a second round there is nothing to measure.
const FEWEST: u8 = 2;
/// Enough for 99.9 % at a loss of one half.
const MOST: u8 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_loss_takes_more_rounds() {
        for (permille, rounds) in [(0, 2), (10, 2), (20, 3), (100, 4), (200, 6), (360, 9), (900, 10)] {
            assert_eq!(measured(1000, permille).rounds(0.9999), rounds, "{permille} permille");
        }
    }

    #[test]
    fn what_is_missed_is_little_more_than_was_wanted() {
        for permille in 1..400 {
            let loss = measured(100_000, permille);
            let missed = loss.share().unwrap().powi(loss.rounds(0.9999).into());
            assert!(missed < 0.000_16 || loss.rounds(0.9999) == MOST, "{missed} at {permille} permille");
        }
    }

    #[test]
    fn a_few_answers_do_not_prove_that_nothing_is_lost() {
        assert_eq!(Loss::default().rounds(0.9999), UNKNOWN);
        assert_eq!(measured(7, 0).rounds(0.9999), UNKNOWN);
        assert_eq!(measured(8, 0).rounds(0.9999), 4, "as if one in twenty were lost");
    }

    fn measured(asked: u32, permille: u32) -> Loss {
        Loss { asked, answered: asked - asked * permille / 1000 }
    }
}
