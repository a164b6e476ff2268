//! A thousand receivers in virtual time, against what theory says of others.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use klnet_multicast::simulation::{Link, Outcome, Pattern, Scenario};

use super::{Bench, theory};
use crate::bench::{Better, Report, Samples, Subject, measure_each};

/// Symbols and requests of a large object, and what one bad receiver costs.
pub(super) fn thousand(bench: &Bench) -> Result<Report> {
    let (receivers, length) = (bench.effort.receivers, bench.effort.crowd);
    let whats = [
        format!(
            "{} MiB to {receivers} simulated receivers, 5 % loss: symbols for each, of the bound 1/(1-p) (aim <= 1.02; \
             in theory: plain ARQ {:.2}, blocks of 64 {:.2}, ours {:.3})",
            length >> 20,
            (1.0 - LOSS) * theory::retransmission(LOSS, receivers),
            (1.0 - LOSS) * theory::block_code(64, LOSS, receivers),
            (1.0 - LOSS) * theory::block_code(2979, LOSS, receivers)
        ),
        "the same: requests of a round of repair (aim <= 10; with the timers of RFC 5401 22.7)".to_owned(),
    ];
    let subject = |index: usize, unit| Subject { what: &whats[index], unit, better: Better::Lower };
    // The same seed gives the same history: once is enough.
    let options = crate::bench::Options { rounds: 1, ..bench.options.clone() };
    let mut rows = measure_each(
        &options,
        [subject(0, "ratio"), subject(1, "requests")],
        ("klcast", || {
            let (outcome, cpu) = run(&Scenario::new(1, length, receivers, LOSS))?;
            Ok(Samples { figures: [outcome.ratio * (1.0 - LOSS), outcome.requests_of_a_round], cpu })
        }),
    )?;
    let bad = [
        ("one of 40 loses 30 %", Link { loss: Pattern::Independent(0.3), ..Link::default() }),
        ("one of 40 has a line of 10 Mbit/s", Link { limit: Some(10_000_000), ..Link::default() }),
    ];
    for (words, link) in bad {
        let what = format!(
            "256 MiB to 40 simulated receivers, {words}: time of the others (aim <= 1.03 of without)"
        );
        let subject = Subject { what: &what, unit: "ratio", better: Better::Lower };
        rows.extend(measure_each(&options, [subject], ("klcast", || cost(&link)))?);
    }
    Ok(Report { rows, notes: Vec::new() })
}

/// How much longer the others take beside a bad one.
fn cost(link: &Link) -> Result<Samples<1>> {
    let mut scenario = Scenario::new(9, 256 << 20, 40, 0.01);
    let (without, _) = run(&scenario)?;
    scenario.links[39] = link.clone();
    scenario.end = Duration::from_secs(1200);
    let (with, cpu) = run(&scenario)?;
    let others = |outcome: &Outcome| {
        let slowest = outcome.completed.iter().take(39).flatten().max().copied();
        slowest.map(|time| time.as_secs_f64()).context("nobody has it")
    };
    Ok(Samples { figures: [others(&with)? / others(&without)?], cpu })
}

fn run(scenario: &Scenario) -> Result<(Outcome, Duration)> {
    let begun = Instant::now();
    let outcome = scenario.run();
    anyhow::ensure!(outcome.completed.iter().all(Option::is_some), "not all have it");
    Ok((outcome, begun.elapsed()))
}

const LOSS: f64 = 0.05;
