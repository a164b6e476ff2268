//! Two sides, alternated.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Options;
use super::report::{Better, Peer, Row, Side};
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
pub type Sample = Samples<1>;

/// One measurement of one side that gives several figures, one for each of as many rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Samples<const N: usize> {
    /// Each in the unit of its row.
    pub figures: [f64; N],
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
        Ok(Self { figures: [figure], cpu: system::own_cpu_time()?.saturating_sub(cpu) })
    }
}

/// Runs both sides once a round, each going first in every other round, and makes the table row.
///
/// # Errors
/// The first error of either side, with its name and round.
pub fn compare(
    options: &Options,
    subject: Subject<'_>,
    ours: (&str, impl FnMut() -> Result<Sample>),
    peer: (&str, impl FnMut() -> Result<Sample>),
) -> Result<Row> {
    compare_each(options, [subject], ours, peer)?.pop().context("one subject is one row")
}

/// As [`compare`], with a row for each figure of a sample.
///
/// # Errors
/// The first error of either side, with its name and round.
pub fn compare_each<const N: usize>(
    options: &Options,
    subjects: [Subject<'_>; N],
    (ours, mut run_ours): (&str, impl FnMut() -> Result<Samples<N>>),
    (peer, mut run_peer): (&str, impl FnMut() -> Result<Samples<N>>),
) -> Result<Vec<Row>> {
    ensure!(options.rounds > 0, "a comparison needs at least one round");
    let [mut own_samples, mut peer_samples] = [Vec::new(), Vec::new()];
    for round in 0..options.rounds {
        // Whoever goes second finds warmer caches and a hotter core; so that is shared out.
        if round % 2 == 0 {
            own_samples.push(turn(&mut run_ours, ours, subjects[0], round)?);
            peer_samples.push(turn(&mut run_peer, peer, subjects[0], round)?);
        } else {
            peer_samples.push(turn(&mut run_peer, peer, subjects[0], round)?);
            own_samples.push(turn(&mut run_ours, ours, subjects[0], round)?);
        }
    }
    let rows = subjects.iter().enumerate().map(|(index, subject)| {
        let [own_figures, peer_figures] = [&own_samples, &peer_samples].map(|all| column(all, index));
        let ratios: Vec<_> = own_figures.iter().zip(&peer_figures).map(|(ours, peer)| ours / peer).collect();
        let side = side(*subject, peer, &peer_figures, &peer_samples)?;
        let peer = Some(Peer { side, ratio: spread(*subject, &ratios)? });
        row(*subject, self::side(*subject, ours, &own_figures, &own_samples)?, peer)
    });
    rows.collect()
}

/// Runs what has no peer once a round, and makes a row for each figure of a sample.
///
/// # Errors
/// The first error, with the round.
pub fn measure_each<const N: usize>(
    options: &Options,
    subjects: [Subject<'_>; N],
    (name, mut run): (&str, impl FnMut() -> Result<Samples<N>>),
) -> Result<Vec<Row>> {
    let samples = (0..options.rounds).map(|round| turn(&mut run, name, subjects[0], round));
    let samples = samples.collect::<Result<Vec<_>>>()?;
    let rows = subjects.iter().enumerate().map(|(index, subject)| {
        row(*subject, side(*subject, name, &column(&samples, index), &samples)?, None)
    });
    rows.collect()
}

fn turn<const N: usize>(
    run: &mut impl FnMut() -> Result<Samples<N>>,
    name: &str,
    subject: Subject<'_>,
    round: usize,
) -> Result<Samples<N>> {
    run().with_context(|| format!("{name}, {}, round {round}", subject.what))
}

fn column<const N: usize>(samples: &[Samples<N>], index: usize) -> Vec<f64> {
    samples.iter().map(|sample| sample.figures[index]).collect()
}

fn side<const N: usize>(
    subject: Subject<'_>,
    name: &str,
    figures: &[f64],
    samples: &[Samples<N>],
) -> Result<Side> {
    let cpu = samples.iter().map(|sample| sample.cpu).sum();
    Ok(Side { name: name.to_owned(), figures: spread(subject, figures)?, cpu })
}

fn spread(subject: Subject<'_>, values: &[f64]) -> Result<Spread> {
    Spread::of(values).with_context(|| format!("{}: not a number", subject.what))
}

fn row(subject: Subject<'_>, ours: Side, peer: Option<Peer>) -> Result<Row> {
    let Subject { what, unit, better } = subject;
    Ok(Row { what: what.to_owned(), unit: unit.to_owned(), better, ours, peer })
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
                Ok(Sample { figures: [1.0], cpu: Duration::ZERO })
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
        let peer = row.peer.expect("there is a peer");
        assert_eq!(peer.ratio, Spread { min: 2.0, median: 2.0, max: 2.0 });
        assert_eq!(row.ours.figures, Spread { min: 2.0, median: 11.0, max: 20.0 });
        assert_eq!([row.ours.cpu, peer.side.cpu], [Duration::from_secs(2); 2]);
        Ok(())
    }

    #[test]
    fn figures_of_one_run_are_rows_of_their_own() -> Result<()> {
        let run = |figures| move || Ok(Samples { figures, cpu: Duration::ZERO });
        let rows = compare_each(&options(1), [SUBJECT; 2], ("a", run([4.0, 9.0])), ("b", run([2.0, 3.0])))?;
        let medians: Vec<_> = rows.iter().map(|row| row.ours.figures.median).collect();
        let ratios: Vec<_> = rows.iter().flat_map(|row| &row.peer).map(|peer| peer.ratio.median).collect();
        assert_eq!((medians, ratios), (vec![4.0, 9.0], vec![2.0, 3.0]));
        Ok(())
    }

    #[test]
    fn error_names_side_and_round() {
        let failing = || anyhow::bail!("no peer");
        let error =
            compare(&options(1), SUBJECT, ("a", series([1.0, 1.0])), ("b", failing)).expect_err("b fails");
        assert_eq!(format!("{error:#}"), "b, case, round 0: no peer");
        let error = measure_each(&options(1), [SUBJECT], ("a", || -> Result<Sample> { anyhow::bail!("x") }));
        assert_eq!(format!("{:#}", error.expect_err("a fails")), "a, case, round 0: x");
    }

    fn options(rounds: usize) -> Options {
        Options { rounds, ..Options::default() }
    }

    fn series(figures: [f64; 2]) -> impl FnMut() -> Result<Sample> {
        let mut figures = figures.into_iter().cycle();
        move || Ok(Sample { figures: [figures.next().unwrap_or_default()], cpu: Duration::from_secs(1) })
    }

    const SUBJECT: Subject<'_> = Subject { what: "case", unit: "x", better: Better::Higher };
}
