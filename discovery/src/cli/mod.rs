//! The `klpoll` command: polls ranges and the link, and shows the hosts.

mod args;
mod bar;
mod directory;
mod everything;
mod failure;
mod gather;
mod interval;
mod output;
mod print;
mod range;
mod show;
mod watch;
mod windows;
mod zeroconf;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;

use args::{Args, Command};
use failure::Failure;
use print::print;

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
    match run(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has enough of it, as in `klpoll range … | head`.
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("klpoll: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    let runtime = gather::runtime()?;
    match command {
        Command::Range(args) => runtime.block_on(range::main(args)),
        Command::Zeroconf(args) => runtime.block_on(zeroconf::main(args)),
        Command::All(args) => runtime.block_on(everything::main(args)),
        Command::Watch(args) => runtime.block_on(watch::main(args)),
        Command::Directory(args) => runtime.block_on(directory::main(args)),
        Command::Windows(args) => runtime.block_on(windows::main(args)),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "klpoll", &mut script);
            print(&script)
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Args::command()).render(&mut page).map_err(Failure::Output)?;
            print(&page)
        }
    }
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("KLNET_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A program that calls this may have set up its own log.
    let _ = log.with_ansi(std::io::stderr().is_terminal()).try_init();
}
