//! `klserver up`: a server and a managed device on this machine, as separate processes that talk over real sockets.
//!
//! The only place in the project that knows server, agent and commands at once: this program runs as each of them,
//! by the name under which it is called (`links`).

mod device;
pub mod links;
mod once;
mod place;
mod process;
mod report;
mod reputation;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Up;
use place::Place;
use report::LiveStatus;
use stage::Stage;

/// Runs until Ctrl-C, or through the report.
pub fn run(up: &Up) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let done = runtime.block_on(async {
        match up.once {
            true => once::run(&up.device).await,
            false => stay(up).await,
        }
    });
    // Whoever still reads a pipe of a child is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

async fn stay(up: &Up) -> anyhow::Result<()> {
    let root = match &up.state {
        Some(state) => std::path::absolute(state)?,
        None => default_state().context("no home folder; say --state DIR")?,
    };
    let place = Place::kept(&root).with_context(|| format!("{}", root.display()))?;
    links::make(&place.bin())?;
    let mut stop = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut stage = tokio::select! {
        stage = Stage::set(place, &up.device) => stage?,
        _ = stop.0.recv() => return Ok(()),
        _ = stop.1.recv() => return Ok(()),
    };
    report::print(&stage);
    let live = LiveStatus::new();
    let ended = loop {
        tokio::select! {
            _ = stop.0.recv() => break Ok(()),
            _ = stop.1.recv() => break Ok(()),
            ended = stage.ended() => break Err(ended),
            () = tokio::time::sleep(STATUS_EACH) => live.show(&stage).await,
        }
    };
    live.clear();
    stage.strike().await;
    ended
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("klserver up: {error:#}");
    ExitCode::FAILURE
}

fn default_state() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    Some(state.or_else(home)?.join("klnet").join("up"))
}

const STATUS_EACH: Duration = Duration::from_secs(1);
