//! Two sides, alternated.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Options;
use super::report::{Better, Row};
use super::spread::Spread;
use crate::system;

/// What a row measures.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The case, as it stands in the table.
    pub what: &'a str,
    /// The unit of the figure.
    pub unit: &'a str,
    /// Which way is better.
    pub better: Better,
}

/// One measurement of one side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// In the unit of the row.
    pub figure: f64,
    /// CPU time of all that side's processes.
    pub cpu: Duration,
}

impl Sample {
    /// Measures work done in this process; `work` gets a clock of the time since its start and returns the figure.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn of_this_process(work: impl FnOnce(&dyn Fn() -> Duration) -> Result<f64>) -> Result<Self> {
        let (cpu, begun) = (system::own_cpu_time()?, Instant::now());
        let figure = work(&|| begun.elapsed())?;
        Ok(Self { figure, cpu: system::own_cpu_time()?.saturating_sub(cpu) })
    }
}

/// Runs both sides once a round, each going first in every other round, and makes the table row.
///
/// # Errors
/// The first error of either side, with its name and round.
pub fn compare(
    options: &Options,
    subject: Subject<'_>,
    (ours, mut run_ours): (&str, impl FnMut() -> Result<Sample>),
    (peer, mut run_peer): (&str, impl FnMut() -> Result<Sample>),
) -> Result<Row> {
    ensure!(options.rounds > 0, "a comparison needs at least one round");
    let (mut own_samples, mut peer_samples) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        // Whoever goes second finds warmer caches and a hotter core; so that is shared out.
        let own_turn = |samples: &mut Vec<Sample>, run: &mut dyn FnMut() -> Result<Sample>, name: &str| {
            samples.push(run().with_context(|| format!("{name}, {}, round {round}", subject.what))?);
            anyhow::Ok(())
        };
        if round % 2 == 0 {
            own_turn(&mut own_samples, &mut run_ours, ours)?;
            own_turn(&mut peer_samples, &mut run_peer, peer)?;
        } else {
            own_turn(&mut peer_samples, &mut run_peer, peer)?;
            own_turn(&mut own_samples, &mut run_ours, ours)?;
        }
    }
    row(subject, (ours, &own_samples), (peer, &peer_samples))
}

fn row(subject: Subject<'_>, ours: (&str, &[Sample]), peer: (&str, &[Sample])) -> Result<Row> {
    let figures = |samples: &[Sample]| samples.iter().map(|sample| sample.figure).collect::<Vec<_>>();
    let ratios: Vec<_> = figures(ours.1).iter().zip(figures(peer.1)).map(|(a, b)| a / b).collect();
    let spread =
        |values: &[f64]| Spread::of(values).with_context(|| format!("{}: not a number", subject.what));
    Ok(Row {
        what: subject.what.to_owned(),
        unit: subject.unit.to_owned(),
        better: subject.better,
        names: [ours.0.to_owned(), peer.0.to_owned()],
        figures: [spread(&figures(ours.1))?, spread(&figures(peer.1))?],
        ratio: spread(&ratios)?,
        cpu: [ours.1, peer.1].map(|samples| samples.iter().map(|sample| sample.cpu).sum()),
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn sides_take_turns_at_going_first() -> Result<()> {
        let order = RefCell::new(String::new());
        let side = |name| {
            let order = &order;
            move || {
                order.borrow_mut().push(name);
                Ok(Sample { figure: 1.0, cpu: Duration::ZERO })
            }
        };
        compare(&options(3), SUBJECT, ("a", side('A')), ("b", side('B')))?;
        assert_eq!(order.into_inner(), "ABBAAB");
        Ok(())
    }

    #[test]
    fn ratio_is_taken_round_by_round() -> Result<()> {
        // A noisy machine: both sides are ten times slower in the second round, the ratio does not move.
        let row = compare(&options(2), SUBJECT, ("a", series([20.0, 2.0])), ("b", series([10.0, 1.0])))?;
        assert_eq!(row.ratio, Spread { min: 2.0, median: 2.0, max: 2.0 });
        assert_eq!(row.figures[0], Spread { min: 2.0, median: 11.0, max: 20.0 });
        assert_eq!(row.cpu, [Duration::from_secs(2); 2]);
        Ok(())
    }

    #[test]
    fn error_names_side_and_round() {
        let failing = || anyhow::bail!("no peer");
        let error =
            compare(&options(1), SUBJECT, ("a", series([1.0, 1.0])), ("b", failing)).expect_err("b fails");
        assert_eq!(format!("{error:#}"), "b, case, round 0: no peer");
    }

    fn options(rounds: usize) -> Options {
        Options { full: false, rounds }
    }

    fn series(figures: [f64; 2]) -> impl FnMut() -> Result<Sample> {
        let mut figures = figures.into_iter().cycle();
        move || Ok(Sample { figure: figures.next().unwrap_or_default(), cpu: Duration::from_secs(1) })
    }

    const SUBJECT: Subject<'_> = Subject { what: "case", unit: "x", better: Better::Higher };
}
