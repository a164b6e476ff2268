//! A benchmark's result, as a Markdown table.

use std::fmt::Write;
use std::time::Duration;

use super::spread::{Spread, figure};

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Throughput.
    Higher,
    /// Latency, memory, CPU seconds.
    Lower,
}

/// One case: ours against one peer.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The case.
    pub what: String,
    /// The unit of the figures.
    pub unit: String,
    /// Which way is better.
    pub better: Better,
    /// Ours, then the peer.
    pub names: [String; 2],
    /// Ours, then the peer's.
    pub figures: [Spread; 2],
    /// Ours / peer's of the same round.
    pub ratio: Spread,
    /// CPU time over all rounds: ours, then the peer's.
    pub cpu: [Duration; 2],
}

/// What a benchmark found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The table.
    pub rows: Vec<Row>,
    /// What a reader has to know beside it; one sentence each.
    pub notes: Vec<String>,
}

impl Report {
    /// The table and the notes.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::from(HEAD);
        for row in &self.rows {
            let better = if row.better == Better::Higher { "higher" } else { "lower" };
            let [ours, peer] = &row.figures;
            let [own_name, peer_name] = &row.names;
            let [own_cpu, peer_cpu] = row.cpu.map(|cpu| figure(cpu.as_secs_f64()));
            let _ = writeln!(
                text,
                "| {} | {}, {better} is better | {own_name}: {ours} | {peer_name}: {peer} | **{}** | {own_cpu} : {peer_cpu} |",
                row.what, row.unit, row.ratio,
            );
        }
        for note in &self.notes {
            let _ = write!(text, "\n- {note}");
        }
        text.trim_end().to_owned()
    }
}

const HEAD: &str = "\
| case | unit | ours: min / median / max | peer: min / median / max | ratio ours/peer | CPU s |
|---|---|---|---|---|---|
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_shows_spreads_ratio_and_cpu_of_both_sides() {
        let spread = |n| Spread { min: n, median: n * 2.0, max: n * 3.0 };
        let row = Row {
            what: "decode".to_owned(),
            unit: "GB/s".to_owned(),
            better: Better::Higher,
            names: ["wire".to_owned(), "yamux".to_owned()],
            figures: [spread(1.0), spread(10.0)],
            ratio: spread(0.1),
            cpu: [Duration::from_millis(1500), Duration::from_secs(30)],
        };
        let table = Report { rows: vec![row], notes: vec!["One stream.".to_owned()] }.table();
        assert_eq!(
            table.lines().skip(2).collect::<Vec<_>>(),
            [
                "| decode | GB/s, higher is better | wire: 1.00 / 2.00 / 3.00 | yamux: 10.0 / 20.0 / 30.0 \
                 | **0.100 / 0.200 / 0.300** | 1.50 : 30.0 |",
                "",
                "- One stream."
            ]
        );
    }
}
