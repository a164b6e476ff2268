//! The `ksnserver` command: makes snapshots of published lists, and looks into them.

mod args;
mod failure;
mod import;
mod key;
mod serve;
mod snapshot;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{CommandFactory, Parser};

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
    match dispatch(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("ksnserver: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Import(options) => import::main(&args.store, &options),
        Command::Serve(options) => serve::main(&args.store, &options),
        Command::Snapshot { command } => snapshot::main(&args.store, &command),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "ksnserver", &mut std::io::stdout());
            Ok(())
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Args::command()).render(&mut page).map_err(Failure::Output)?;
            std::io::stdout().write_all(&page).map_err(Failure::Output)
        }
    }
}

/// Seconds of Unix time.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
