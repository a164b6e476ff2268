//! Whether loss beyond repair is the rate's or the medium's: only a slower rate tells.
//!
//! ```text
//! Usual ─beyond repair─▶ Tried (at half the rate) ─it fell as it should─▶ Rate ─repairable again─▶ Usual
//!   ▲                      └─it stayed─▶ Anyway ─much more than that─┐
//!   └────────────────────────────────────────────────────────────────┘
//! ```
//! A rate that was cut again and again for the loss of a medium ends at the least there is, and the loss stays.

/// What is known of loss beyond repair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Medium {
    /// There was none.
    Usual,
    /// The rate was halved for it.
    Tried {
        /// The rate before that.
        rate: f64,
        /// The loss at it.
        loss: f64,
        /// The loss that was heard last.
        last: f64,
        /// How often another was heard.
        heard: u8,
    },
    /// A slower rate loses less.
    Rate,
    /// So much is lost at any rate.
    Anyway(f64),
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    /// Nothing.
    Fine,
    /// Half the rate, to see what that changes.
    Try,
    /// The rate as it is, until that is seen.
    Wait,
    /// A slower rate.
    Slower,
    /// The rate before: slower was in vain.
    Back(f64),
}

impl Medium {
    /// Takes in the loss at a rate.
    pub(super) fn judge(&mut self, bits: f64, now: f64) -> Verdict {
        match *self {
            Self::Usual if now > LOSS_MOST => {
                *self = Self::Tried { rate: bits, loss: now, last: now, heard: 0 };
                Verdict::Try
            }
            Self::Tried { rate, loss, last, heard } if heard < ENOUGH => {
                let heard = heard + u8::from((now - last).abs() > 0.0);
                *self = Self::Tried { rate, loss, last: now, heard };
                Verdict::Wait
            }
            Self::Tried { rate, loss, .. } => {
                // A line that takes no more than came through before.
                let falls_to = (1.0 - (1.0 - loss) * rate / bits).max(0.0);
                if now > LOSS_NEVER || now < f64::midpoint(loss, falls_to) {
                    *self = Self::Rate;
                    return Verdict::Wait;
                }
                *self = Self::Anyway(now);
                Verdict::Back(rate)
            }
            Self::Rate if now > LOSS_MOST => Verdict::Slower,
            Self::Anyway(usual) if now <= usual + MORE => Verdict::Fine,
            Self::Usual | Self::Rate | Self::Anyway(_) => {
                *self = Self::Usual;
                Verdict::Fine
            }
        }
    }
}

/// A quarter of a block's symbols is parity.
const LOSS_MOST: f64 = 0.3;
/// No medium that anybody uses loses as much.
const LOSS_NEVER: f64 = 0.6;
/// What is heard is an average in which each new sample weighs a quarter: five are three quarters of it.
const ENOUGH: u8 = 5;
/// Many deviations of that average.
const MORE: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_that_stays_at_half_the_rate_is_the_mediums() {
        for share in [0.31, 0.35, 0.45, 0.55] {
            assert_eq!(tried(share, |_| share), Verdict::Back(100.0), "{share}");
        }
    }

    #[test]
    fn loss_that_a_slower_rate_lessens_is_the_rates() {
        for share in [0.31, 0.45, 0.6, 0.98] {
            let line = (1.0 - share) * 100.0;
            assert_eq!(tried(share, |bits| (1.0 - line / bits).max(0.0)), Verdict::Wait, "{share}");
        }
    }

    #[test]
    fn much_more_than_the_mediums_is_tried_anew() {
        let mut medium = Medium::Anyway(0.35);
        assert_eq!(medium.judge(100.0, 0.4), Verdict::Fine);
        assert_eq!((medium.judge(100.0, 0.5), medium.judge(100.0, 0.5)), (Verdict::Fine, Verdict::Try));
    }

    /// What is said in the end of loss that is averaged as a receiver does, and never quite the same.
    fn tried(share: f64, loss: impl Fn(f64) -> f64) -> Verdict {
        let (mut medium, mut heard) = (Medium::Usual, share);
        assert_eq!(medium.judge(100.0, heard), Verdict::Try);
        for step in 0..ENOUGH {
            let noise = if step % 2 == 0 { 0.004 } else { -0.004 };
            heard += (loss(50.0) + noise - heard) / 4.0;
            assert_eq!(medium.judge(50.0, heard), Verdict::Wait);
        }
        medium.judge(50.0, heard)
    }
}
