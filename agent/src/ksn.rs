//! The agent's part in reputation: it is a KSN proxy for its network while it is told to.
//!
//! ```text
//! DUTIES ─▶ Ksn ─▶ task ── starts, stops ─▶ klnet_ksnproxy::Service   TCP 13111, UDP 15111, HTTPS 17111
//!                   └── at its start, each 15 s, in each session ─▶ KSN_STATE
//! ```
//! The proxy has threads of its own: whatever is asked of it, the agent's session goes on.

use std::sync::Arc;
use std::time::Duration;

use klnet_ksnproxy::counters::Counter;
use klnet_ksnproxy::net::SERVER_PORT;
use klnet_ksnproxy::net::service::{Config, Service};
use klnet_wire::duties::KsnProxy;
use klnet_wire::identity::crl::Crls;
use klnet_wire::message::{KsnCounts, KsnState, Message};
use klnet_wire::place::Place;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Ports;
use crate::state::Device;

/// A KSN proxy, while it is told to be one; ends when it is dropped.
#[derive(Debug)]
pub struct Ksn {
    told: watch::Sender<Told>,
    messages: mpsc::Receiver<Message>,
    task: JoinHandle<()>,
}

/// What it was told, and what it is.
#[derive(Debug, Clone)]
struct Told {
    proxy: Option<KsnProxy>,
    device: Device,
    /// Counts certificates and roots.
    identity: u64,
    /// Counts sessions: how it stands is told in each.
    session: u64,
}

struct Runner {
    ports: Ports,
    crls: Arc<Crls>,
    say: mpsc::Sender<Message>,
    running: Option<Arc<Service>>,
    /// Why it does not run.
    error: String,
    /// What the one that runs was started as, and which identity it has.
    started: (Option<KsnProxy>, u64),
}

impl Ksn {
    /// Waits to be told, on the current runtime.
    pub fn start(device: &Device, crls: &Arc<Crls>, ports: Ports) -> Self {
        let (told, tells) =
            watch::channel(Told { proxy: None, device: device.clone(), identity: 0, session: 0 });
        let (say, messages) = mpsc::channel(1);
        let (crls, error) = (Arc::clone(crls), String::new());
        let runner = Runner { ports, crls, say, running: None, error, started: (None, 0) };
        let task = tokio::spawn(runner.run(tells));
        Self { told, messages, task }
    }

    /// A session has begun.
    pub fn connected(&self) {
        self.told.send_modify(|told| told.session += 1);
    }

    /// Is this from now on, or nothing.
    pub fn told(&self, proxy: Option<KsnProxy>) {
        self.told.send_if_modified(|told| {
            let is_news = told.proxy != proxy;
            told.proxy = proxy;
            is_news
        });
    }

    /// The device has another certificate, or knows other roots, from now on.
    pub fn identify(&self, device: &Device) {
        self.told.send_modify(|told| {
            told.device = device.clone();
            told.identity += 1;
        });
    }

    /// The next message for the server. Without a session it may be dropped: how it stands is told in the next.
    pub async fn message(&mut self) -> Message {
        match self.messages.recv().await {
            Some(message) => message,
            // Its task has failed, which was logged; the agent goes on without it.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Ksn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Runner {
    async fn run(mut self, mut tells: watch::Receiver<Told>) {
        let mut ticks = interval(TELL_EACH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = tells.changed() => match changed {
                    Ok(()) => {
                        let told = tells.borrow_and_update().clone();
                        self.take(told).await;
                    }
                    Err(_) => return,
                },
                _ = ticks.tick() => {
                    // A port that was in use may be free now.
                    let told = tells.borrow().clone();
                    self.take(told).await;
                }
            }
        }
    }

    async fn take(&mut self, told: Told) {
        let is_well = self.running.is_some() || told.proxy.is_none();
        if told.proxy != self.started.0 || !is_well {
            self.stop().await;
            self.start(&told).await;
        } else if told.identity != self.started.1 {
            self.identify(&told.device);
        }
        self.started = (told.proxy.clone(), told.identity);
        if told.proxy.is_some() {
            self.tell();
        }
    }

    async fn start(&mut self, told: &Told) {
        let Some(proxy) = &told.proxy else { return };
        let config = config(proxy, &told.device, &self.crls, self.ports);
        match spawn_blocking(move || Service::start(config)).await {
            Ok(Ok(service)) => {
                let addresses = service.addresses();
                tracing::info!(tcp = %addresses.tcp, udp = %addresses.udp, "this device is a KSN proxy");
                (self.running, self.error) = (Some(Arc::new(service)), String::new());
            }
            Ok(Err(error)) => self.failed(error.to_string()),
            Err(error) => tracing::error!(%error, "the KSN proxy was not started"),
        }
    }

    /// Whoever has a ticket keeps it, and the cache stays.
    fn identify(&mut self, device: &Device) {
        let identified =
            self.running.as_ref().map(|service| service.identify(&device.identity, &device.trust));
        if let Some(Err(error)) = identified {
            tracing::error!(%error, "the KSN proxy keeps the certificate before");
        }
    }

    fn failed(&mut self, error: String) {
        if error != self.error {
            tracing::error!(%error, "this device cannot be a KSN proxy; it is tried again");
            self.error = error;
        }
    }

    /// Its threads end within a second.
    async fn stop(&mut self) {
        if let Some(service) = self.running.take() {
            let _ = spawn_blocking(move || drop(service)).await;
        }
    }

    fn tell(&self) {
        // Whoever does not take it now is told soon.
        let _ = self.say.try_send(Message::KsnState(self.state()));
    }

    fn state(&self) -> KsnState {
        let Some(service) = &self.running else {
            return KsnState { error: self.error.clone(), ..KsnState::default() };
        };
        let (addresses, (counts, records)) = (service.addresses(), service.counts());
        let counts = KsnCounts {
            records: records as u64,
            received: counts.of(Counter::Received),
            served: counts.of(Counter::Served),
            rejected_full: counts.of(Counter::RejectedFull),
            rejected_late: counts.of(Counter::RejectedLate),
            forwarded: counts.of(Counter::Forwarded),
            failed: counts.of(Counter::Failed),
            succeeded: counts.of(Counter::Succeeded),
        };
        KsnState {
            error: String::new(),
            tcp_port: addresses.tcp.port().into(),
            udp_port: addresses.udp.port().into(),
            https_port: addresses.https.map_or(0, |address| address.port().into()),
            counts: Some(counts),
        }
    }
}

/// What a proxy is run with; an upstream that cannot be read is left out, the server has refused it.
fn config(proxy: &KsnProxy, device: &Device, crls: &Arc<Crls>, ports: Ports) -> Config {
    let upstream = |text: &String| Place::parse(text, SERVER_PORT).ok();
    let default = Config::default();
    let cache = if proxy.cache_mib == 0 { default.cache } else { (proxy.cache_mib as usize) << 20 };
    Config {
        listen: ports.listen,
        udp_port: ports.ksn_udp,
        tcp_port: ports.ksn_tcp,
        https_port: proxy.https.then_some(ports.ksn_https),
        identity: Some((device.identity.clone(), device.trust.clone())),
        crls: Some(Arc::clone(crls)),
        upstreams: proxy.upstreams.iter().filter_map(upstream).collect(),
        allow_plain: proxy.allow_plain,
        cache,
        workers: WORKERS,
        ..default
    }
}

/// How often it is told how the proxy stands: it counts as not available after fifteen minutes of silence.
const TELL_EACH: Duration = Duration::from_secs(15);
/// A branch office asks less than one thread answers.
const WORKERS: usize = 1;
