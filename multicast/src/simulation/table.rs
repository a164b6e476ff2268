//! Throughput, cost and requests by loss and number of receivers. The table is kept beside this file, so that a regression
//! shows as a diff; `KLNET_BLESS=1` writes it again.

use std::fmt::Write;
use std::fs;

use super::*;

#[test]
fn the_table_is_as_it_was() {
    let table = table();
    if std::env::var_os("KLNET_BLESS").is_some() {
        fs::write(PATH, &table).unwrap();
    }
    assert_eq!(table, fs::read_to_string(PATH).unwrap());
}

fn table() -> String {
    let mut table = String::from("receivers  loss                 Mbit/s  of the bound  requests a round\n");
    for receivers in [1, 8, 40, 1000] {
        for loss in LOSSES {
            let row = row(receivers, loss);
            writeln!(table, "{row}").unwrap();
        }
    }
    table
}

fn row(receivers: usize, loss: Pattern) -> String {
    let mut scenario = Scenario::new(1, LENGTH, receivers, 0.0);
    scenario.links.fill(Link { loss, ..Link::default() });
    let outcome = scenario.run();
    let slowest = outcome.completed.iter().flatten().max().copied().unwrap();
    let rate = crate::loss::whole_f64(LENGTH) * 8.0 / slowest.as_secs_f64() / 1e6;
    let (name, share) = match loss {
        Pattern::Independent(share) => (format!("{} %", share * 100.0), share),
        Pattern::Bursts { share, length } => (format!("{} % in runs of {length}", share * 100.0), share),
    };
    let (bound, requests) = (outcome.ratio * (1.0 - share), outcome.requests_of_a_round);
    format!("{receivers:9}  {name:18} {rate:8.0} {bound:13.3} {requests:17.1}")
}

const LOSSES: [Pattern; 6] = [
    Pattern::Independent(0.0),
    Pattern::Independent(0.001),
    Pattern::Independent(0.01),
    Pattern::Independent(0.05),
    Pattern::Independent(0.2),
    Pattern::Bursts { share: 0.05, length: 44.0 },
];
/// Six blocks and a catalogue, at 1 Gbit/s at most.
const LENGTH: u64 = 24 << 20;
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/simulation/table.txt");
