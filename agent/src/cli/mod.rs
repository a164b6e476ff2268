//! The commands `klnagent`, `klnagchk` and `klmover`.
//!
//! Exit codes: 0 ok, 1 failed, 2 wrong usage, 3 refused by the server, 4 server not reachable, 5 key unusable.

mod args;
mod failure;
mod log;
mod mover;
mod run;
mod show;

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};
use klnet_wire::identity::owner::become_owner;

use crate::check::{self, Outcome, Report, Step};
use crate::config::{Config, ConfigError};
use crate::enroll::{Invitation, Token, enroll};
use crate::state::Folder;
use crate::status::{Connection, Status};
use args::{Agent, Check, Command, Enroll, Mover, Place, Print};

/// Runs `klnagent`: `args` begin with the program's own name.
pub fn agent_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Agent::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    log::start(args.log);
    finish("klnagent", agent(args.command))
}

/// Runs `klnagchk`: `args` begin with the program's own name.
pub fn check_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Check::try_parse_from(args) {
        Ok(Check { command: Some(what), .. }) => finish("klnagchk", print_about(what, Check::command())),
        Ok(args) => finish("klnagchk", checked(&args)),
        Err(error) => usage(&error),
    }
}

/// Runs `klmover`: `args` begin with the program's own name.
pub fn mover_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Mover::try_parse_from(args) {
        Ok(Mover { command: Some(what), .. }) => finish("klmover", print_about(what, Mover::command())),
        Ok(args) => finish("klmover", mover::moved(args)),
        Err(error) => usage(&error),
    }
}

fn agent(command: Command) -> Result<ExitCode> {
    match command {
        Command::Enroll(args) => {
            let folder = folder(&args.place.config()?)?;
            on_runtime(enrolled(args, folder))
        }
        Command::Run(place) => {
            let config = place.config()?;
            on_runtime(async move { run::run(&config).await })?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Status { place, json } => status(&place, json),
        Command::Print(what) => print_about(what, Agent::command()),
    }
}

fn print_about(what: Print, mut command: clap::Command) -> Result<ExitCode> {
    let (mut text, name) = (Vec::new(), command.get_name().to_owned());
    match what {
        Print::Completions { shell } => clap_complete::generate(shell, &mut command, name, &mut text),
        Print::Man => clap_mangen::Man::new(command).render(&mut text)?,
    }
    print(&text)
}

/// The state folder. A token knows its users by their accounts: there a key is made and used by the agent's own.
fn folder(config: &Config) -> Result<Folder> {
    let folder = config.folder();
    if folder.keys().are_in_token() {
        become_owner(folder.path()).context("the state folder's owner")?;
    }
    Ok(folder)
}

async fn enrolled(args: Enroll, folder: Folder) -> Result<ExitCode> {
    let token = Token(token(args.token)?);
    let invitation = Invitation { server: args.server, root: args.root.0, token, name: args.name };
    let device = enroll(&folder, &invitation, args.force).await?;
    let (id, at) = (device.principal.id::<()>(), folder.path().display());
    print(format!("enrolled as device {id}; its identity is in {at}\n").as_bytes())
}

/// The token, from standard input when it is `-`: arguments can be seen by every process of the device.
fn token(argument: String) -> Result<String> {
    if argument != "-" {
        return Ok(argument);
    }
    let mut text = String::new();
    std::io::stdin().take(TOKEN_LIMIT).read_to_string(&mut text).context("the token cannot be read")?;
    Ok(text.trim().to_owned())
}

fn status(place: &Place, json: bool) -> Result<ExitCode> {
    let folder = place.config()?.folder();
    let status = Status::read(&folder)
        .with_context(|| format!("no agent has run with the state in {}", folder.path().display()))?;
    // Without the right to see the lock, the file's word is taken.
    let running = folder.is_locked().unwrap_or(true);
    let text = match json {
        true => serde_json::to_string_pretty(&status)? + "\n",
        false => show::status(&status, running),
    };
    print(text.as_bytes())?;
    Ok(match status.connection {
        Connection::Connected { .. } if running => ExitCode::SUCCESS,
        Connection::Keyless { .. } if running => ExitCode::from(failure::KEYLESS),
        _ => ExitCode::from(failure::FAILED),
    })
}

fn checked(args: &Check) -> Result<ExitCode> {
    let report = match args.place.config() {
        Ok(config) => {
            let folder = folder(&config)?;
            on_runtime(async move { Ok(check::run(&folder).await) })?
        }
        Err(error) => misconfigured(&error),
    };
    let text = match args.json {
        true => serde_json::to_string_pretty(&report)? + "\n",
        false => show::report(&report),
    };
    print(text.as_bytes())?;
    Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(failure::FAILED) })
}

fn misconfigured(error: &ConfigError) -> Report {
    let advice = "correct the file; klnagent does not start with it".to_owned();
    let outcome = Outcome::Failed { why: error.to_string(), advice };
    Report { steps: vec![Step { name: "configuration".to_owned(), outcome }] }
}

impl Place {
    fn config(&self) -> Result<Config, ConfigError> {
        let mut config = Config::load(self.config.as_deref())?;
        if let Some(state) = &self.state {
            config.state.clone_from(state);
        }
        Ok(config)
    }
}

fn on_runtime<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(WORKERS).event_interval(TURNS);
    let runtime = builder.enable_all().build().context("no runtime")?;
    // On one of its threads, where sockets are waited for: on this one each message of the server would be handed over.
    let worked = runtime.block_on(async { tokio::spawn(work).await });
    worked.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}

fn print(text: &[u8]) -> Result<ExitCode> {
    std::io::stdout().write_all(text).context("standard output")?;
    Ok(ExitCode::SUCCESS)
}

fn finish(program: &str, result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("{program}: {error:#}");
        failure::exit_code(&error)
    })
}

fn usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell when the stream is gone.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::FAILED))
}

/// Threads of an agent: one may be held up by a slow disk while another keeps the heartbeat.
const WORKERS: usize = 2;
/// Tasks polled before sockets are asked again: a new connection, or a question of the server, does not wait behind the
/// usual 61 turns of bulk.
const TURNS: u32 = 4;
/// Longest token that is read, in bytes.
const TOKEN_LIMIT: u64 = 4096;
