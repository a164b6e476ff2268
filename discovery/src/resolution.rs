//! How a kernel looks for neighbours on behalf of whoever sends them a datagram.
//!
//! Who may open no packet socket has the kernel ask, by ARP or neighbour discovery: at once, then again and again until
//! somebody answers or it gives up. So each datagram to a neighbour is several attempts, paid for with one place in the
//! kernel's table until then, and what it sends later it sends in bunches.

use std::time::Duration;

use crate::profile::Pace;

/// What the kernel does about a neighbour that is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    /// How often it asks; at least once.
    pub times: u8,
    /// How long after one another.
    pub every: Duration,
    /// What it repeats within so long leaves together: its timers are that coarse.
    pub bunch: Duration,
    /// For how many neighbours there is room in its table.
    pub room: u32,
}

impl Resolution {
    /// The default of a kernel whose clock ticks that often (arp(7): `mcast_solicit`, `retrans_time_ms`, `gc_thresh3`).
    pub fn of_default(tick: Duration) -> Self {
        Self { times: 3, every: Duration::from_secs(1), bunch: Duration::ZERO, room: 1024 }.ticking(tick)
    }

    /// The same, where the clock ticks that often.
    ///
    /// A timer wheel has 64 slots at each level, and those of a level are eight times as long as those below; a timer is
    /// kept at the first level that reaches far enough and fires at the end of its slot.
    #[must_use]
    pub fn ticking(self, tick: Duration) -> Self {
        let slots = (0..8).map(|level| tick * 8_u32.pow(level));
        let bunch = slots.into_iter().find(|slot| *slot * SLOTS > self.every).unwrap_or(self.every);
        Self { bunch, ..self }
    }

    /// How long after one attempt the next is surely gone.
    pub fn step(&self) -> Duration {
        self.every + self.bunch
    }

    /// How long after the first attempt it surely asks no more.
    pub fn gives_up(&self) -> Duration {
        self.step() * u32::from(self.times)
    }

    /// The pace at which datagrams to neighbours, with everything the kernel sends for them, keep `own`.
    ///
    /// In a span leave the datagrams of that span, and the repetitions of each earlier span that is longer by a bunch.
    pub fn pace(&self, own: Pace) -> Pace {
        Pace { burst: (own.burst / u32::from(self.times)).max(1), per: own.per + self.bunch }
    }

    /// How many neighbours may be looked for while the kernel does not give up the first of them. A quarter of its table
    /// is left to everybody else on this machine: who finds no place there cannot be reached at all.
    pub fn bound(&self) -> Pace {
        Pace { burst: (self.room - self.room / 4).max(1), per: self.gives_up() }
    }
}

/// The kernel's `LVL_SIZE`, less the one it does not use.
const SLOTS: u32 = 63;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    #[test]
    fn the_coarser_the_clock_the_larger_the_bunches() {
        for (hertz, bunch) in [(100, 80), (250, 32), (1000, 64)] {
            let resolution = Resolution::of_default(Duration::from_secs(1) / hertz);
            assert_eq!(resolution.bunch, Duration::from_millis(bunch), "{hertz} Hz");
        }
    }

    #[test]
    fn the_questions_of_the_kernel_keep_the_pace_and_leave_room_in_its_table() {
        let resolution = Resolution::of_default(Duration::from_millis(4));
        let pace = resolution.pace(Profile::Polite.pace());
        assert_eq!(pace, Pace { burst: 6, per: Duration::from_millis(42) });
        assert!(pace.burst * u32::from(resolution.times) < Profile::Polite.pace().burst);
        assert_eq!(resolution.bound(), Pace { burst: 768, per: Duration::from_millis(3_096) });
    }
}
