//! Loss as it is measured, said and reckoned with.

/// A share of packets lost, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Loss(f64);

impl Loss {
    /// The share as a loss, kept to the wire's precision; `None` for what is no share.
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then(|| Self::of(units(share)))
    }

    /// The share.
    pub const fn share(self) -> f64 {
        self.0
    }

    /// How many symbols to send so that `wanted` arrive, and `deviations` standard deviations more.
    pub fn inflate(self, wanted: u16, deviations: f64) -> u32 {
        let (wanted, arrive) = (f64::from(wanted), 1.0 - self.0.min(LOSS_MOST));
        let spread = (wanted * (1.0 - arrive)).sqrt() / arrive;
        whole((wanted / arrive + deviations * spread).ceil())
    }

    /// In 1/65535, 65535 for what is not known.
    pub(crate) fn encode(loss: Option<Self>) -> u16 {
        loss.map_or(UNKNOWN, |loss| units(loss.0))
    }

    pub(crate) fn decode(units: u16) -> Option<Self> {
        (units != UNKNOWN).then(|| Self::of(units))
    }

    fn of(units: u16) -> Self {
        Self(f64::from(units) / f64::from(UNKNOWN))
    }

    /// So many 65535ths, in a constant.
    #[cfg(test)]
    pub(crate) const fn fixed(units: u16) -> Self {
        Self(units as f64 / UNKNOWN as f64)
    }
}

/// Measures loss by gaps in packet numbers, in windows of [`WINDOW`] packets, the newest weighing a quarter.
#[derive(Debug, Clone, Default)]
pub(crate) struct LossMeter {
    /// First number of the window; 0 before the first packet.
    begin: u64,
    /// Packets of the window that came.
    came: u32,
    smoothed: Option<f64>,
}

impl LossMeter {
    /// Counts `count` packets whose highest number is `number`.
    pub(crate) fn count(&mut self, number: u64, count: u32) {
        if self.begin == 0 || number.saturating_sub(self.begin) > FORGET {
            // Nothing is known of packets before the first, nor of a time when nothing was heard at all.
            let begin = (number + 1).saturating_sub(count.into()).max(1);
            *self = Self { begin, came: 0, smoothed: self.smoothed };
        }
        if number < self.begin {
            return;
        }
        self.came = self.came.saturating_add(count);
        let passed = number + 1 - self.begin;
        if passed >= WINDOW {
            let sample = (1.0 - f64::from(self.came) / whole_f64(passed)).max(0.0);
            self.smoothed = Some(self.smoothed.map_or(sample, |old| old + (sample - old) / 4.0));
            (self.begin, self.came) = (number + 1, 0);
        }
    }

    /// What is known.
    pub(crate) fn loss(&self) -> Option<Loss> {
        Loss::new(self.smoothed?)
    }
}

fn units(share: f64) -> u16 {
    u16::try_from(whole(share * f64::from(UNKNOWN))).unwrap_or(UNKNOWN).min(UNKNOWN - 1)
}

/// A number that is not negative, cut to whole; `as` saturates and takes what is no number for 0.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(crate) const fn whole(number: f64) -> u32 {
    number as u32
}

/// A count as a number to reckon with; exact below 2^53.
pub(crate) const fn whole_f64(count: u64) -> f64 {
    count as f64
}

const UNKNOWN: u16 = u16::MAX;
/// More is not made up for in one go: to be asked again is cheaper than to guess.
const LOSS_MOST: f64 = 0.3;
/// Packets of one sample: at 5 % its deviation is 0.7 points.
const WINDOW: u64 = 1024;
/// A gap as long as this was a time without a network, not loss.
const FORGET: u64 = 64 * WINDOW;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_makes_up_for_what_is_lost() {
        let five = Loss::new(0.05).unwrap();
        assert_eq!(five.inflate(2979, 0.0), 3136);
        assert_eq!(Loss::new(0.0).unwrap().inflate(2979, 2.0), 2979);
        assert!(five.inflate(2979, 2.0) > 3150);
        assert!(Loss::new(1.0).unwrap().inflate(10, 0.0) <= 15, "never without end");
    }

    #[test]
    fn a_meter_finds_the_loss() {
        let mut meter = LossMeter::default();
        for number in 1..40_000 {
            if number % 20 != 0 {
                meter.count(number, 1);
            }
        }
        let loss = meter.loss().unwrap().share();
        assert!((loss - 0.05).abs() < 0.003, "{loss}");
    }

    #[test]
    fn a_time_without_network_is_no_loss() {
        let mut meter = LossMeter::default();
        (1..5000).for_each(|number| meter.count(number, 1));
        (1_000_000..1_005_000).for_each(|number| meter.count(number, 1));
        assert_eq!(meter.loss(), Loss::new(0.0));
    }

    #[test]
    fn what_is_no_share_is_no_loss() {
        assert!([-0.1, 1.1, f64::NAN].into_iter().all(|share| Loss::new(share).is_none()));
    }
}
