//! Metrics in the Prometheus text format.

use std::sync::atomic::AtomicU64;

use std::sync::Arc;
use std::time::Duration;

use klnet_tunnel::net::accept::Acceptor;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// What a label of a counter of refusals says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Why {
    /// Why it was refused, from a closed set.
    pub why: &'static str,
}

/// Every metric of a server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Devices with a session.
    pub sessions: Gauge,
    /// Sessions established since the start.
    pub sessions_opened: Counter,
    /// Connections to the agents' port that came to nothing.
    pub agents_refused: Family<Why, Counter>,
    /// Requests to the API by outcome.
    pub requests: Family<Why, Counter>,
    /// Grants minted.
    pub grants: Counter,
    /// Grants refused.
    pub grants_refused: Family<Why, Counter>,
    /// First flights at a tunnel port that led to nothing.
    pub hellos_refused: Family<Why, Counter>,
    /// Tunnel connections that ended.
    pub tunnels_ended: Family<Why, Counter>,
    /// Bytes relayed by connections that ended, both directions.
    pub relayed_bytes: Counter<u64, AtomicU64>,
    /// Records of tunnel connections that never reached the audit log.
    pub records_lost: Counter,
}

impl Metrics {
    /// Registers every metric.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("klserver");
        let metrics = Self {
            registry: Registry::default(),
            sessions: Gauge::default(),
            sessions_opened: Counter::default(),
            agents_refused: Family::default(),
            requests: Family::default(),
            grants: Counter::default(),
            grants_refused: Family::default(),
            hellos_refused: Family::default(),
            tunnels_ended: Family::default(),
            relayed_bytes: Counter::default(),
            records_lost: Counter::default(),
        };
        registry.register("sessions", "Devices with a session", metrics.sessions.clone());
        registry.register("sessions_opened", "Sessions established", metrics.sessions_opened.clone());
        let about = "Connections to the agents' port that came to nothing";
        registry.register("agents_refused", about, metrics.agents_refused.clone());
        registry.register("requests", "Requests to the API", metrics.requests.clone());
        registry.register("grants", "Tunnel grants minted", metrics.grants.clone());
        registry.register("grants_refused", "Tunnel grants refused", metrics.grants_refused.clone());
        let about = "First flights at a tunnel port that led to nothing";
        registry.register("hellos_refused", about, metrics.hellos_refused.clone());
        registry.register("tunnels_ended", "Tunnel connections that ended", metrics.tunnels_ended.clone());
        let about = "Bytes relayed by tunnel connections that ended";
        registry.register("relayed_bytes", about, metrics.relayed_bytes.clone());
        let about = "Records of tunnel connections that never reached the audit log";
        registry.register("records_lost", about, metrics.records_lost.clone());
        Self { registry, ..metrics }
    }

    /// The metrics as text (OpenMetrics 1.0).
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes whatever is written");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Serves the metrics in clear to whoever connects, one request a connection; bind it where only Prometheus reaches.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, shutdown: CancellationToken) {
    let mut acceptor = Acceptor::new(listener);
    loop {
        let (stream, _) = tokio::select! {
            accepted = acceptor.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        let text = metrics.text();
        // Each in its turn: a scraper that dawdles holds up other scrapers, and no one else.
        let _ = timeout(SCRAPE_TIMEOUT, answer(stream, text)).await;
    }
}

/// Answers any request: there is only one thing to be had here.
async fn answer(mut stream: TcpStream, text: String) -> std::io::Result<()> {
    let mut request = [0; 1024];
    let _ = stream.read(&mut request).await?;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

/// How long a scrape may take.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(2);
