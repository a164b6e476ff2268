//! `klserver run`.

use std::io::IsTerminal;
use std::pin::pin;

use anyhow::bail;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Configured, logs, supervisor};
use crate::directory::Announced;
use crate::handover::{Outcome, Predecessor, Program, carry_all, hand_over, take_over};
use crate::service::{Running, Service};

#[derive(Debug, Args)]
#[command(after_help = SIGNALS)]
pub(super) struct Run {
    #[command(flatten)]
    configured: Configured,
    /// How logs are written
    #[arg(long, value_enum, default_value_t = logs::Format::Text)]
    log: logs::Format,
}

impl Run {
    pub(super) fn run(self) -> anyhow::Result<()> {
        // Before a package that is installed can replace the file.
        let program = Program::of_this_process()?;
        logs::start(self.log);
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
            // Asked for from the first moment on: their default is to end the process.
            let (reloads, stop) = signals()?;
            let (service, predecessor) = match Predecessor::inherited()? {
                None => (Service::start(self.configured.read()?).await?, None),
                Some(predecessor) => {
                    let (service, predecessor) = take_over(predecessor, self.configured.read()).await?;
                    (service, Some(predecessor))
                }
            };
            tell(service.announced());
            let running = service.serve().await;
            let relay = running.relay().clone();
            let ready = async {
                if let Some(predecessor) = predecessor {
                    carry_all(predecessor, relay).await;
                }
            };
            serve(running, ready, &program, reloads, &stop).await
        })
    }
}

/// Serves until it is stopped, or another process serves instead.
async fn serve(
    mut running: Running,
    ready: impl Future<Output = ()>,
    program: &Program,
    mut reloads: Reloads,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let (mut ready, mut is_ready) = (pin!(ready), false);
    loop {
        tokio::select! {
            // Until then the process before this one is the supervisor's.
            () = &mut ready, if !is_ready => {
                is_ready = true;
                supervisor::ready("serving");
            }
            () = reloads.asked(), if is_ready => {
                supervisor::reloading();
                running = match hand_over(running, program, stop).await {
                    Outcome::Kept(running, failure) => {
                        supervisor::ready(&format!("still the old program: {failure}"));
                        running
                    }
                    Outcome::Over(successor) => {
                        supervisor::succeeded_by(successor.process());
                        return Ok(());
                    }
                    Outcome::Lost => bail!("the store could not be opened again"),
                };
            }
            () = stop.cancelled() => {
                supervisor::stopping();
                running.stop().await;
                return Ok(());
            }
        }
    }
}

fn tell(announced: &Announced) {
    info!(
        https = announced.https_port,
        agents = ?announced.agent_ports,
        tunnels = ?announced.tunnel_ports,
        hosts = ?announced.hosts,
        process = std::process::id(),
        "serving"
    );
}

/// Asks for another process to take this one's place.
struct Reloads(Option<Signal>);

impl Reloads {
    async fn asked(&mut self) {
        if let Some(hangup) = &mut self.0
            && hangup.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

/// What asks for another process, and what is cancelled when this one is to stop. A terminal hangs up when it is
/// closed: that ends a server which was started there, as ever.
fn signals() -> std::io::Result<(Reloads, CancellationToken)> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let hangup = signal(SignalKind::hangup())?;
    let (mut closed, reloads) = match std::io::stdin().is_terminal() {
        true => (Reloads(Some(hangup)), Reloads(None)),
        false => (Reloads(None), Reloads(Some(hangup))),
    };
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = closed.asked() => {}
        }
        token.cancel();
    });
    Ok((reloads, stop))
}

const SIGNALS: &str = "\
Signals:
  SIGTERM, SIGINT  end sessions and tunnels, and stop
  SIGHUP           start this program anew, as a package may have replaced it, and give it ports and live tunnels;
                   it reads its configuration anew. When it cannot take over, this one goes on.";
