//! `klserver run`.

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Configured, logs};
use crate::service::Service;

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    configured: Configured,
    /// How logs are written
    #[arg(long, value_enum, default_value_t = logs::Format::Text)]
    log: logs::Format,
}

impl Run {
    pub(super) fn run(self) -> anyhow::Result<()> {
        logs::start(self.log);
        let config = self.configured.read()?;
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
            let shutdown = CancellationToken::new();
            let service = Service::start(config).await?;
            let announced = service.announced();
            info!(
                https = announced.https_port,
                agents = ?announced.agent_ports,
                tunnels = ?announced.tunnel_ports,
                hosts = ?announced.hosts,
                "serving"
            );
            // Without a supervisor there is nobody to tell.
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
            tokio::spawn(stop_on_signal(shutdown.clone()));
            service.run(shutdown).await?;
            Ok(())
        })
    }
}

/// Cancels at the first SIGTERM or SIGINT.
async fn stop_on_signal(shutdown: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    shutdown.cancel();
}
