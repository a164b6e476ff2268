//! The `klsctunnel` command: opens local ports, and the standard streams, to ports of managed devices.

mod access;
mod args;
mod carry;
mod destinations;
mod failure;
mod forward;
mod keeping;
mod local;
mod operator;
mod outage;
mod owner;
mod pasted;
mod recent;
mod run;
mod socks;
mod ssh;
mod status;
mod stdio;
mod target;
mod terms;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;

use args::{Args, Command, Keep, Options, Show};
use failure::Failure;

/// Runs the command: `args` begin with the program's own name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let program = args.first().cloned().unwrap_or_else(|| "klsctunnel".into());
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            // Nobody is left to tell when standard error is gone.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::USAGE));
        }
    };
    log_to_stderr();
    match dispatch(args, &program) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("klsctunnel: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(args: Args, program: &OsString) -> Result<ExitCode, Failure> {
    let Args { command, target, socks, local, show, keep, profile } = args;
    let options = |show, keep| Options { profile, show, keep };
    if command.is_some() && (local.is_some() || socks.is_some()) {
        return Err(Failure::Usage("--local and --socks go with no command".into()));
    }
    if let Some(device) = socks {
        let options = options(show, keep);
        return on_runtime(async move { socks::main(&device, local, &options).await });
    }
    match (command, target) {
        (Some(Command::Run { target, command, show: own, keep: its }), _) => {
            let (target, options) = (target.parse()?, options(show.or(own), keep.or(its)));
            on_runtime(async move { run::main(target, &command, &options).await })
        }
        (Some(_), _) if keep != Keep::default() => {
            Err(Failure::Usage("--ready and --patience go with a local port".into()))
        }
        (Some(Command::Stdio { target, quiet }), _) => {
            let own = Show { quiet, ..Show::default() };
            let (target, options) = (target.parse()?, options(show.or(own), Keep::nothing()));
            on_runtime(async move { stdio::main(target, &options).await })
        }
        (Some(_), _) if show != Show::default() => {
            Err(Failure::Usage("--any-user, --json and --quiet go with a local port".into()))
        }
        (Some(Command::Ssh { target, args }), _) => {
            let (target, options, program) = (target.parse()?, options(show, keep), program.clone());
            on_runtime(async move { ssh::main(target, &args, &options, &program).await })
        }
        (Some(Command::Completions { shell }), _) => {
            clap_complete::generate(shell, &mut Args::command(), "klsctunnel", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        (Some(Command::Man), _) => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Args::command()).render(&mut page).map_err(Failure::Output)?;
            std::io::stdout().write_all(&page).map_err(Failure::Output)?;
            Ok(ExitCode::SUCCESS)
        }
        (None, Some(target)) => {
            let (target, options) = (target.parse()?, options(show, keep));
            on_runtime(async move { forward::main(target, local, &options).await })
        }
        (None, None) => Err(Failure::Usage("a TARGET is needed; see --help".into())),
    }
}

fn on_runtime<F>(work: F) -> Result<ExitCode, Failure>
where
    F: Future<Output = Result<ExitCode, Failure>> + Send + 'static,
{
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(WORKERS).event_interval(TURNS);
    let runtime = builder.enable_all().build().map_err(Failure::Runtime)?;
    // On one of its threads, where sockets are waited for: on this one every connection would begin with being handed over.
    let worked = runtime.block_on(async { tokio::spawn(work).await });
    let result = worked.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
    // A thread may still wait for standard input; the process need not.
    runtime.shutdown_background();
    result
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("KLNET_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A program that calls this may have set up its own log.
    let _ = log.with_ansi(std::io::stderr().is_terminal()).try_init();
}

/// One thread encrypts while another moves bytes to local programs.
const WORKERS: usize = 2;
/// Tasks polled before sockets are asked again: a new connection, or a question of the server, does not wait behind the
/// usual 61 turns of bulk.
const TURNS: u32 = 4;
