//! `klnagent run`: the agent as a service.

use std::time::Duration;

use anyhow::{Context, Result};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::agent::Agent;
use crate::config::Config;

/// Runs until SIGTERM or SIGINT.
pub(super) async fn run(config: &Config) -> Result<()> {
    let agent = Agent::open(config)?;
    tracing::info!(device = %agent.device(), state = %config.state.display(), "agent started");
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (terminate, interrupt) = (terminate.as_mut(), interrupt.as_mut());
    let (Ok(terminate), Ok(interrupt)) = (terminate, interrupt) else {
        anyhow::bail!("signals cannot be handled");
    };
    let service = async {
        tell(&[NotifyState::Ready]);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            never = watchdog() => match never {},
        }
        tell(&[NotifyState::Stopping]);
        stop.cancel();
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = agent.run(shutdown) => ended,
        () = service => Ok(()),
    };
    tracing::info!("agent stopped");
    ended.context("the agent stops")
}

/// Shows the service manager that this runtime still turns, if it asked for that (sd_watchdog_enabled(3)).
async fn watchdog() -> std::convert::Infallible {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut ticks = interval((limit / 2).max(Duration::from_millis(100)));
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    // Without a service manager there is nobody to tell.
    let _ = sd_notify::notify(state);
}
