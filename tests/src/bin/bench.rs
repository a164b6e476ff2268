//! `bench NAME`: runs one comparison and writes its section of BENCHMARKS.md. Started by `tests/bench`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use klnet_tests::bench::{ALL, Benchmark, Options, machine, replace_section};

/// Compares this project with its peers, side by side in one run.
#[derive(Parser)]
#[command(name = "bench", after_help = names())]
struct Arguments {
    /// Which benchmark.
    name: String,
    /// The whole matrix, not only the headline rows.
    #[arg(long)]
    full: bool,
    /// Smaller sizes where a benchmark has them.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// How often each row is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Print only; leave BENCHMARKS.md as it is.
    #[arg(long)]
    print: bool,
    /// Only one part of the benchmark; printed only.
    #[arg(long, value_name = "PART")]
    only: Option<String>,
    /// Tiny sizes: only whether the benchmark works; printed only.
    #[arg(long)]
    smoke: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let Some(benchmark) = ALL.iter().find(|benchmark| benchmark.name == arguments.name) else {
        eprintln!("there is no benchmark {:?}\n\n{}", arguments.name, names());
        return Ok(ExitCode::from(2));
    };
    let text = measure(benchmark, &arguments)?;
    println!("{text}");
    if !(arguments.print || arguments.smoke || arguments.only.is_some()) {
        write(benchmark, &text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(benchmark: &Benchmark, arguments: &Arguments) -> Result<String> {
    let Arguments { full, quick, rounds, smoke, ref only, .. } = *arguments;
    let options = Options { full, quick, rounds: rounds.into(), smoke, only: only.clone() };
    let report = (benchmark.run)(&options)?;
    let size = match (full, quick) {
        (true, _) => " --full",
        (_, true) => " --quick",
        _ => "",
    };
    let command = format!("tests/bench {}{size} --rounds {}", benchmark.name, arguments.rounds);
    Ok(format!(
        "{}: {}.\n\n{}\n\nMeasured with `{command}` on {}.",
        benchmark.name,
        benchmark.about,
        report.table(),
        machine()
    ))
}

fn write(benchmark: &Benchmark, text: &str) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../BENCHMARKS.md");
    let document = if path.exists() { std::fs::read_to_string(&path)? } else { HEAD.to_owned() };
    std::fs::write(&path, replace_section(&document, benchmark.name, text))
        .context("cannot write BENCHMARKS.md")
}

fn names() -> String {
    let lines = ALL.iter().map(|benchmark| format!("  {:12} {}\n", benchmark.name, benchmark.about));
    format!("Benchmarks:\n{}", lines.collect::<String>())
}

const HEAD: &str = "# Benchmarks

Written by `tests/bench NAME`, never by hand. Both sides run in turn on the same machine; the ratio of each round counts,
absolute figures only describe the machine.
";
