//! `ksnproxy serve`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use super::args::ServeArgs;
use super::config::Config;
use super::failure::Failure;
use super::page::Report;
use crate::net::service::{Service, StartError};

/// Runs a proxy until it is told to end.
pub(super) fn main(options: &ServeArgs) -> Result<(), Failure> {
    let Config { service, source, metrics } = Config::load(&options.config)?;
    raise_descriptors();
    let has_identity = service.identity.is_some();
    let knows = !service.upstreams.is_empty() || service.snapshot.is_some();
    let service = Arc::new(Service::start(service)?);
    let addresses = service.addresses();
    tracing::info!(udp = %addresses.udp, tcp = %addresses.tcp, https = ?addresses.https, "proxy is up");
    if !has_identity {
        tracing::warn!("no identity: there is no TLS, so neither tickets nor HTTPS");
    }
    if !knows {
        tracing::warn!("neither upstreams nor a snapshot: nothing is known");
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::System)?;
    runtime.block_on(async {
        if let Some(source) = source {
            let service = Arc::clone(&service);
            tokio::spawn(source.follow(move |identity, trust| service.identify(identity, trust)));
        }
        until_told(metrics, &service).await
    })
}

/// As many descriptors as the system grants: there may be more connections than a process mostly has.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    // With fewer, those above them wait.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Reads the configuration, and says what is wrong with it.
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    Config::load(path)?;
    println!("{}: nothing is wrong", path.display());
    Ok(())
}

async fn until_told(metrics: Option<SocketAddr>, service: &Arc<Service>) -> Result<(), Failure> {
    if let Some(address) = metrics {
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|error| StartError::Bind { what: "metrics", address, error })?;
        tokio::spawn(serve_metrics(listener, Arc::clone(service)));
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::System)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    tracing::info!("proxy ends");
    Ok(())
}

/// One answer for each connection, one connection after the other.
async fn serve_metrics(listener: TcpListener, service: Arc<Service>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Who asks slowly or goes away gets none.
                let _ = timeout(ANSWER, answer(stream, &service)).await;
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection for metrics");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn answer(mut stream: TcpStream, service: &Service) -> std::io::Result<()> {
    let mut request = [0; 1024];
    let length = stream.read(&mut request).await?;
    let line = String::from_utf8_lossy(&request[..length]);
    let (counts, records) = service.counts();
    let (snapshot, devices) = (service.snapshot(), service.devices());
    let report = Report { counts, records, snapshot, devices, now: now() };
    let (kind, body) = match line.split(' ').nth(1) {
        Some("/stats") => ("application/json", report.json().to_string()),
        _ => ("text/plain; version=0.0.4", report.prometheus()),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// Seconds of Unix time.
fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);

/// How long a lack of descriptors is left alone.
const PAUSE: Duration = Duration::from_millis(200);
