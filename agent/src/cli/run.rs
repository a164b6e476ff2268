//! `klnagent run`: the agent as a service.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, AgentError};
use crate::config::Config;

/// Runs until SIGTERM or SIGINT; after SIGUSR1, or when the device takes another identity, with what the state folder
/// holds then.
pub(super) async fn run(config: &Config) -> Result<()> {
    let (mut look, stop) = signals()?;
    while !stop.is_cancelled() {
        let agent = Agent::open(config)?;
        tracing::info!(device = %agent.device(), state = %config.state.display(), "agent started");
        tell(&[NotifyState::Ready]);
        let shutdown = stop.child_token();
        let mut running = pin!(agent.run(shutdown.clone()));
        let ended = tokio::select! {
            ended = &mut running => ended,
            _ = look.recv() => {
                shutdown.cancel();
                running.await
            }
            never = watchdog() => match never {},
        };
        match ended {
            Err(AgentError::WentBack | AgentError::Separated) | Ok(()) => {}
            Err(error) => return Err(error).context("the agent stops"),
        }
    }
    tracing::info!("agent stopped");
    Ok(())
}

/// What asks for a new look at the state folder, and what is cancelled when the agent is to stop.
fn signals() -> Result<(Signal, CancellationToken)> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let look = signal(SignalKind::user_defined1())?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tell(&[NotifyState::Stopping]);
        token.cancel();
    });
    Ok((look, stop))
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
