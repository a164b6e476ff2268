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

/// One case: ours, usually against one peer.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The case.
    pub what: String,
    /// The unit of the figures.
    pub unit: String,
    /// Which way is better.
    pub better: Better,
    /// Ours.
    pub ours: Side,
    /// What it is compared with; nothing where there is nothing like it.
    pub peer: Option<Peer>,
}

/// What one side did.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// Who.
    pub name: String,
    /// Its figures, one of each round.
    pub figures: Spread,
    /// CPU time of its processes over all rounds.
    pub cpu: Duration,
}

/// The other side.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    /// What it did.
    pub side: Side,
    /// Ours / peer's of the same round.
    pub ratio: Spread,
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
            row.write_to(&mut text);
        }
        for note in &self.notes {
            let _ = write!(text, "\n- {note}");
        }
        text.trim_end().to_owned()
    }
}

impl Row {
    fn write_to(&self, text: &mut String) {
        let better = if self.better == Better::Higher { "higher" } else { "lower" };
        let Self { what, unit, ours, .. } = self;
        let _ = write!(text, "| {what} | {unit}, {better} is better | {}: {} | ", ours.name, ours.figures);
        let cpu = |side: &Side| figure(side.cpu.as_secs_f64());
        let _ = match &self.peer {
            Some(Peer { side, ratio }) => writeln!(
                text,
                "{}: {} | **{ratio}** | {} : {} |",
                side.name,
                side.figures,
                cpu(ours),
                cpu(side)
            ),
            None => writeln!(text, "- | - | {} |", cpu(ours)),
        };
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
        let peer = Peer { side: side("yamux", 10.0, 30_000), ratio: spread(0.1) };
        let row = Row { peer: Some(peer), ..row() };
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

    #[test]
    fn row_without_a_peer_says_so() {
        let table = Report { rows: vec![row()], notes: vec![] }.table();
        let line = "| decode | GB/s, higher is better | wire: 1.00 / 2.00 / 3.00 | - | - | 1.50 |";
        assert_eq!(table.lines().nth(2), Some(line));
    }

    fn row() -> Row {
        let (what, unit) = ("decode".to_owned(), "GB/s".to_owned());
        Row { what, unit, better: Better::Higher, ours: side("wire", 1.0, 1500), peer: None }
    }

    fn side(name: &str, figure: f64, cpu_ms: u64) -> Side {
        Side { name: name.to_owned(), figures: spread(figure), cpu: Duration::from_millis(cpu_ms) }
    }

    fn spread(n: f64) -> Spread {
        Spread { min: n, median: n * 2.0, max: n * 3.0 }
    }
}
