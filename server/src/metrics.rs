//! Metrics in the Prometheus text format.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use klnet_tunnel::net::mover::Means;
use klnet_tunnel::relay::Whose;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::plain::{self, Page};

/// What a label of a counter of refusals says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Why {
    /// Why it was refused, from a closed set.
    pub why: &'static str,
}

/// What a label of a limit says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Limited {
    /// Of what there were too many.
    pub what: &'static str,
    /// Whose limit it is.
    pub whose: &'static str,
}

/// How bytes were moved.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Moved {
    /// `copy` through this process or `splice` inside the kernel.
    pub by: &'static str,
}

/// How an object came to a device.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Brought {
    /// `multicast` or `https`.
    pub by: &'static str,
}

/// Every metric of a server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Devices with a session.
    pub sessions: Gauge,
    /// Sessions established since the start.
    pub sessions_opened: Counter,
    /// Sessions of devices whose clock is not ours.
    pub clocks_wrong: Counter,
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
    /// Bytes relayed, both directions; see [`Metrics::relayed`].
    relayed_bytes: Family<Moved, Counter<u64, AtomicU64>>,
    /// Live grants.
    pub tunnels: Gauge,
    /// Live connections that were verified.
    pub tunnel_connections: Gauge,
    /// Initiators that wait for a dial-back.
    pub initiators_waiting: Gauge,
    /// Dial-backs that wait for an initiator.
    pub dial_backs_waiting: Gauge,
    /// Handshakes of agents under way.
    pub handshakes: Gauge,
    /// Commits that wait for the store's writer.
    pub commits_waiting: Gauge,
    /// Grants and connections refused because a limit was reached.
    limits_refused: Family<Limited, Counter>,
    /// Records of tunnel connections that never reached the audit log.
    pub records_lost: Counter,
    /// Bytes of objects that devices have got; see [`Metrics::delivered`].
    delivered_bytes: Family<Brought, Counter>,
    /// Objects that devices have got.
    deliveries: Counter,
    /// Objects that devices could not take.
    pub deliveries_failed: Counter,
    /// Hosts that devices have found, as far as that was news.
    pub sightings: Counter,
    /// Times that somebody else sent to a distribution point's multicast groups.
    pub group_conflicts: Counter,
}

impl Metrics {
    /// Registers every metric.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("klserver");
        let metrics = Self::unregistered();
        metrics.register_requests(&mut registry);
        metrics.register_tunnels(&mut registry);
        metrics.register_distribution(&mut registry);
        Self { registry, ..metrics }
    }

    /// Counts a refusal because of a limit.
    pub fn limited(&self, what: &'static str, whose: Whose) {
        let whose = match whose {
            Whose::Device => "device",
            Whose::Operator => "operator",
            Whose::Tenant => "tenant",
            Whose::Relay => "relay",
        };
        self.limits_refused.get_or_create(&Limited { what, whose }).inc();
    }

    /// Says how many bytes the relay has moved since it started, each way of moving them for itself.
    pub fn relayed(&self, means: &Means) {
        for (by, total) in [("splice", means.spliced()), ("copy", means.copied())] {
            self.relayed_bytes.get_or_create(&Moved { by }).inner().fetch_max(total, Ordering::Relaxed);
        }
    }

    /// Counts an object that a device has got.
    pub fn delivered(&self, multicast: u64, https: u64) {
        self.deliveries.inc();
        for (by, bytes) in [("multicast", multicast), ("https", https)] {
            self.delivered_bytes.get_or_create(&Brought { by }).inc_by(bytes);
        }
    }

    fn register_distribution(&self, registry: &mut Registry) {
        registry.register("deliveries", "Objects that devices have got", self.deliveries.clone());
        let about = "Objects that devices could not take";
        registry.register("deliveries_failed", about, self.deliveries_failed.clone());
        let about = "Times that somebody else sent to a distribution point's multicast group";
        registry.register("group_conflicts", about, self.group_conflicts.clone());
        let about = "Hosts that devices have found, as far as that was news";
        registry.register("sightings", about, self.sightings.clone());
        let about = "Bytes of objects that devices have got, as they say";
        registry.register("delivered_bytes", about, self.delivered_bytes.clone());
    }

    fn register_requests(&self, registry: &mut Registry) {
        registry.register("sessions", "Devices with a session", self.sessions.clone());
        registry.register("sessions_opened", "Sessions established", self.sessions_opened.clone());
        let about = "Sessions of devices whose clock was over five minutes off";
        registry.register("clocks_wrong", about, self.clocks_wrong.clone());
        let about = "Connections to the agents' port that came to nothing";
        registry.register("agents_refused", about, self.agents_refused.clone());
        let about = "TLS handshakes of agents under way";
        registry.register("agent_handshakes", about, self.handshakes.clone());
        registry.register("requests", "Requests to the API", self.requests.clone());
        let about = "Commits that wait for the store's writer";
        registry.register("store_commits_waiting", about, self.commits_waiting.clone());
    }

    fn register_tunnels(&self, registry: &mut Registry) {
        registry.register("grants", "Tunnel grants minted", self.grants.clone());
        registry.register("grants_refused", "Tunnel grants refused", self.grants_refused.clone());
        let about = "Grants and connections refused because a limit was reached";
        registry.register("limits_refused", about, self.limits_refused.clone());
        let about = "First flights at a tunnel port that led to nothing";
        registry.register("hellos_refused", about, self.hellos_refused.clone());
        registry.register("tunnels", "Grants that are open or in use", self.tunnels.clone());
        let about = "Tunnel connections that were verified and are open";
        registry.register("tunnel_connections", about, self.tunnel_connections.clone());
        let about = "Initiators that wait for a dial-back";
        registry.register("tunnel_initiators_waiting", about, self.initiators_waiting.clone());
        let about = "Dial-backs that wait for an initiator";
        registry.register("tunnel_dial_backs_waiting", about, self.dial_backs_waiting.clone());
        registry.register("tunnels_ended", "Tunnel connections that ended", self.tunnels_ended.clone());
        let about = "Bytes relayed by tunnel connections in both directions, live ones up to two seconds ago";
        registry.register("relayed_bytes", about, self.relayed_bytes.clone());
        let about = "Records of tunnel connections that never reached the audit log";
        registry.register("records_lost", about, self.records_lost.clone());
    }

    fn unregistered() -> Self {
        Self {
            registry: Registry::default(),
            sessions: Gauge::default(),
            sessions_opened: Counter::default(),
            clocks_wrong: Counter::default(),
            agents_refused: Family::default(),
            requests: Family::default(),
            grants: Counter::default(),
            grants_refused: Family::default(),
            hellos_refused: Family::default(),
            tunnels_ended: Family::default(),
            relayed_bytes: Family::default(),
            tunnels: Gauge::default(),
            tunnel_connections: Gauge::default(),
            initiators_waiting: Gauge::default(),
            dial_backs_waiting: Gauge::default(),
            handshakes: Gauge::default(),
            commits_waiting: Gauge::default(),
            limits_refused: Family::default(),
            records_lost: Counter::default(),
            delivered_bytes: Family::default(),
            deliveries: Counter::default(),
            deliveries_failed: Counter::default(),
            group_conflicts: Counter::default(),
            sightings: Counter::default(),
        }
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

/// Serves the metrics in clear to whoever connects; bind it where only Prometheus reaches.
pub(crate) async fn serve(listener: TcpListener, metrics: Arc<Metrics>, shutdown: CancellationToken) {
    let page = move |_: &str| Page { media_type: MEDIA_TYPE, body: metrics.text().into_bytes() };
    plain::serve(listener, page, shutdown).await;
}

const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
