//! `ksnserver serve`: answers proxies on 1443 from the snapshot of the store.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::args::ServeArgs;
use super::failure::Failure;
use super::{key, now};
use crate::cli::identity::Source;
use crate::frame::{MATCHES_LIMIT, Reason};
use crate::net::server::{Question, Reply, Server};
use crate::snapshot::{Live, Refreshed, Snapshot, SnapshotStore};

/// Answers until it is told to end.
pub(super) fn main(folder: &Path, options: &ServeArgs) -> Result<(), Failure> {
    log_to_stderr();
    let trusted = vec![key::open(folder)?.public().clone()];
    let (source, (identity, trust)) = Source::open(&options.identity)?;
    let server = Server::new(&identity, &trust, source.crls())?;
    let (live, wrong) = Live::open(SnapshotStore::open(folder)?, trusted)?;
    if let Some(error) = wrong {
        tracing::warn!(%error, "the snapshot before is answered from");
    }
    let live = Arc::new(live);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::System)?;
    runtime.block_on(async {
        let bound = TcpListener::bind(options.listen).await;
        let listener = bound.map_err(|error| Failure::Bind { address: options.listen, error })?;
        tracing::info!(address = %options.listen, "reputation server is up");
        let shutdown = CancellationToken::new();
        let answering = Arc::clone(&live);
        let answer = move |question| {
            let live = Arc::clone(&answering);
            async move { reply(&live.snapshot(), question) }
        };
        tokio::spawn(server.clone().serve(listener, answer, shutdown.clone()));
        tokio::spawn(source.follow(move |identity, trust| server.identify(identity, trust)));
        tokio::spawn(follow(live, shutdown.clone()));
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::System)?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        shutdown.cancel();
        tracing::info!("reputation server ends");
        Ok(())
    })
}

fn reply(snapshot: &Snapshot, question: Question) -> Reply {
    match question {
        Question::Keys(keys) => {
            let now = now();
            Reply::Verdicts(keys.iter().map(|key| snapshot.lookup_key(key, now)).collect())
        }
        Question::Prefix(prefix) => {
            let matches = snapshot.matches(prefix.kind, prefix.value, prefix.bits, MATCHES_LIMIT, now());
            matches.map_or(Reply::Refused(Reason::Op), Reply::Matches)
        }
        Question::Fetch(fetch) => snapshot.piece(&fetch).map_or(Reply::Refused(Reason::Gone), Reply::Piece),
    }
}

/// Answers from every snapshot that is published, until shutdown.
async fn follow(live: Arc<Live>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = shutdown.cancelled() => return,
        }
        let looking = Arc::clone(&live);
        match tokio::task::spawn_blocking(move || looking.refresh()).await {
            Ok(Refreshed::Changed) => tracing::info!("another snapshot is answered from"),
            Ok(Refreshed::Refused(error)) => tracing::warn!(%error, "the snapshot before is answered from"),
            Ok(Refreshed::Same) | Err(_) => {}
        }
    }
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("KLNET_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A program that calls this may have set up its own log.
    let _ = log.with_ansi(std::io::stderr().is_terminal()).try_init();
}

/// How soon another snapshot is answered from.
const INTERVAL: Duration = Duration::from_secs(2);
