//! One fault, under connections that talk.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use klnet_tests::fleet::PATIENCE;
use klnet_tests::fleet::service::{Call, Ending, Talk};
use klnet_tests::lab::wait_until;
use klnet_tests::sim::Rng;

use super::{Fault, Site};

/// What became of the connections.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) whole: usize,
    pub(crate) broken: usize,
    /// How long the last of them took to its end, counted from when the fault was over.
    pub(crate) slowest: Duration,
}

impl Site {
    /// Has `count` connections talk, lets `fault` strike in the middle, and insists on an honest end of each.
    pub(crate) fn endure(
        &mut self,
        fault: Option<Fault>,
        count: usize,
        first: u64,
        rng: &mut Rng,
    ) -> Result<Outcome> {
        let mut calls = Vec::new();
        for id in (first..).take(count) {
            let way = rng.within(0..self.tunnels.len());
            let talk = Talk::ALL[rng.within(0..Talk::ALL.len())];
            let stream = self.tunnels[way].tunnel.connect()?;
            calls.push((way, talk, Call::begin(stream, id, talk)?));
        }
        self.wait_until_under_way(&calls)?;
        if let Some(fault) = fault {
            let over = || calls.iter().all(|(_, _, call)| call.has_ended());
            fault.strike(self, rng, over)?;
        }
        let struck = Instant::now();
        for (_, _, call) in &calls {
            call.close();
        }
        let mut outcome = Outcome::default();
        for (way, talk, call) in calls {
            let id = call.id();
            let here = call.ending();
            outcome
                .count(here)
                .with_context(|| format!("{talk:?} {id} through tunnel {way}, at its user"))?;
            self.check_service(way, id, here).with_context(|| format!("{talk:?} {id}, at the service"))?;
            ensure!(
                here == Ending::Whole || fault.is_some_and(|fault| !fault.is_survivable()),
                "{talk:?} {id} through tunnel {way} is {here:?} after {fault:?}, which it has to survive"
            );
        }
        outcome.slowest = struck.elapsed();
        Ok(outcome)
    }

    /// A fault finds every connection at the service, and in the middle of something if it says anything.
    fn wait_until_under_way(&self, calls: &[(usize, Talk, Call)]) -> Result<()> {
        for (way, talk, call) in calls {
            let says = matches!(talk, Talk::Bulk | Talk::Down | Talk::Chat);
            let parley = self.parley_of(*way)?;
            let under_way = || Ok((parley.knows(call.id()) && (!says || call.heard() > 1)).then_some(()));
            let under_way = wait_until(PATIENCE * 2, under_way)?;
            under_way.with_context(|| format!("{talk:?} through tunnel {way} does not begin"))?;
        }
        Ok(())
    }

    /// What ended whole at its user did so at the service, and what never came there cannot have.
    fn check_service(&self, way: usize, id: u64, here: Ending) -> Result<()> {
        let parley = self.parley_of(way)?;
        let there = match here {
            Ending::Whole => wait_until(PATIENCE, || Ok(parley.ending(id)))?,
            // It may have been cut before it came there.
            _ => wait_until(SETTLED, || Ok(parley.ending(id)))?,
        };
        match there {
            None if here != Ending::Whole => Ok(()),
            Some(there) => Outcome::default().count(there),
            None => anyhow::bail!("whole here, and unknown there"),
        }
    }
}

impl Outcome {
    fn count(&mut self, ending: Ending) -> Result<()> {
        match ending {
            Ending::Whole => self.whole += 1,
            Ending::Broken(_) => self.broken += 1,
            Ending::Truncated | Ending::Corrupt | Ending::Stuck => anyhow::bail!("it is {ending:?}"),
        }
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} whole, {} broken, {:.1?} to the last end", self.whole, self.broken, self.slowest)
    }
}

/// Within this the service sees an end that its caller has seen, unless it is cut off from it.
const SETTLED: Duration = Duration::from_secs(1);
