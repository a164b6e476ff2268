//! Log lines, to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::args::Log;

/// Starts logging; the level is INFO unless `KLNET_LOG` says otherwise.
pub(super) fn start(log: Log) {
    let filter = EnvFilter::try_from_env("KLNET_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Somebody who embeds this may have started logging already.
    let _ = match log {
        Log::Json => lines.json().try_init(),
        Log::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
    };
}
