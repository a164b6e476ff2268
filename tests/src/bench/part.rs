//! Benchmarks in several parts.

use anyhow::{Result, ensure};

use super::{Options, Report};

/// A part of a benchmark: its name for `--only`, and how it is measured with what all parts share.
pub(super) type Part<S> = (&'static str, fn(&S) -> Result<Report>);

/// Measures the parts that are wanted, one after the other; one that cannot be measured takes no other with it, but is
/// named in the notes.
pub(super) fn measure<S>(parts: &[Part<S>], options: &Options, shared: &S) -> Result<Report> {
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let names: Vec<_> = parts.iter().map(|(name, _)| *name).collect();
    ensure!(names.iter().any(|name| wanted(name)), "the parts are: {}", names.join(", "));
    let mut report = Report::default();
    for (name, measure) in parts.iter().filter(|(name, _)| wanted(name)) {
        eprintln!("{name} ...");
        match measure(shared) {
            Ok(part) => {
                report.rows.extend(part.rows);
                report.notes.extend(part.notes);
            }
            Err(error) if options.only.is_some() => return Err(error),
            Err(error) => {
                eprintln!("{name}: {error:#}");
                report.notes.push(format!("No row of {name}: {error:#}"));
            }
        }
    }
    Ok(report)
}
