//! Logs: text on a terminal, JSON for machines, the level from `KLNET_LOG`, as with every command.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For machines, an object a line.
    Json,
}

/// Starts logging to standard error.
pub(super) fn start(format: Format) {
    let filter = EnvFilter::try_from_env("KLNET_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        // Colours are for a terminal; in a file they hide the level from whoever searches for it.
        Format::Text => builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).init(),
        Format::Json => builder.json().init(),
    }
}
