//! The `ksnproxy` command: runs a proxy, asks one, shows what one counted.

mod args;
mod config;
mod failure;
mod page;
mod query;
mod serve;
mod stats;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;

use args::{Args, Command};
use failure::Failure;

/// Runs the command: `args` begin with the program's own name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            // Nobody is left to tell when standard error is gone.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::USAGE));
        }
    };
    log_to_stderr();
    match dispatch(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("ksnproxy: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(options) => serve::main(&options),
        Command::Query(options) => query::main(&options),
        Command::Stats(options) => stats::main(&options),
        Command::CheckConfig { config } => serve::check(&config),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "ksnproxy", &mut std::io::stdout());
            Ok(())
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Args::command()).render(&mut page).map_err(Failure::Output)?;
            std::io::stdout().write_all(&page).map_err(Failure::Output)
        }
    }
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("KLNET_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A program that calls this may have set up its own log.
    let _ = log.with_ansi(std::io::stderr().is_terminal()).try_init();
}
