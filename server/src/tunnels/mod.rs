//! Tunnels: grants are minted here, the relay's wishes carried to devices, and the ends of connections recorded.
//!
//! ```text
//! grant: roles ─▶ device online? ─▶ commit (audit intent) ─▶ GRANT to the device ─▶ relay admits ─▶ device accepts
//!        ─▶ nobody revoked meanwhile? ─▶ blob
//! ```

mod answers;
mod books;
mod budget;
mod gathered;
mod mint;
mod records;
mod sight;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use klnet_tunnel::grant::{Grant, Host};
use klnet_tunnel::net::relay::{LiveTunnel, RelayEvent, RelayHandle};
use klnet_tunnel::relay::{RefusedHello, RelayRecord, Scope};
use klnet_wire::id::{DeviceId, GrantId, OperatorId, TenantId};
use klnet_wire::message::tunnel::{REVOKE_LIMIT, State};
use klnet_wire::message::{Message, Recorded, Revoke, TunnelState};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::config::Config;
use crate::directory::Directory;
use crate::fabric::Fabric;
use crate::fleet::{Caller, Change, Fleet, FleetError, Kind, told};
use crate::metrics::{Metrics, Why};
use crate::sessions::Sessions;
use answers::Answers;
use books::Books;
use budget::Budget;
use records::{Ended, Outage, UNCONFIRMED_LIMIT, canonical};
pub use sight::Rate;
use sight::Rates;

/// Everything about tunnels.
#[derive(Debug)]
pub struct Tunnels {
    fleet: Arc<Fleet>,
    fabric: Arc<Fabric>,
    directory: Arc<Directory>,
    relay: RelayHandle,
    metrics: Arc<Metrics>,
    config: Arc<Config>,
    sessions: Arc<Sessions>,
    /// Grants whose device has not answered yet.
    answers: Answers,
    /// Rejections that devices tell of.
    rejections: Budget,
    /// Records of connections that the relay has none of yet.
    unconfirmed: Budget,
    /// What agents recorded, on its way to the store.
    agent_ends: mpsc::Sender<Ended>,
    outage: Outage,
    rates: Rates,
    books: Books,
    /// What carries what the relay says and stores how connections end, until the relay has stopped.
    workers: Mutex<Option<Workers>>,
    /// Cancelled when another server carries what the relay says from now on.
    closing: CancellationToken,
    /// Cancelled when what is not stored yet is to be given back.
    surrender: CancellationToken,
}

/// The tasks behind it.
#[derive(Debug)]
struct Workers {
    follower: JoinHandle<mpsc::Receiver<RelayEvent>>,
    /// Gives what it could not store.
    recorder: JoinHandle<Vec<RelayRecord>>,
}

/// What [`Tunnels`] works with.
#[derive(Debug)]
#[allow(missing_docs)] // each is documented at its type
pub struct Parts {
    pub fleet: Arc<Fleet>,
    pub fabric: Arc<Fabric>,
    pub directory: Arc<Directory>,
    pub sessions: Arc<Sessions>,
    pub relay: RelayHandle,
    pub metrics: Arc<Metrics>,
    pub config: Arc<Config>,
}

/// A grant that is open or in use, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// The grant.
    pub grant: GrantId,
    /// The device.
    pub device: DeviceId,
    /// Its name.
    pub device_name: String,
    /// Who redeems it.
    pub operator: String,
    /// `PORT` of the device, or `HOST:PORT` beside it.
    pub target: String,
    /// Whether a connection was verified.
    pub begun: bool,
    /// When it ends by itself.
    pub until: SystemTime,
    /// Its connections.
    pub connections: Vec<Connection>,
}

/// A connection of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Where the operator connects from.
    pub peer: SocketAddr,
    /// Since when.
    pub since: SystemTime,
    /// Bytes from the operator to the target, encrypted as they pass.
    pub to_target: u64,
    /// Bytes from the target to the operator, encrypted as they pass.
    pub to_operator: u64,
    /// How fast both pass now.
    pub rate: Rate,
    /// Round trip from the relay to the operator, when the system tells.
    pub rtt_operator: Option<Duration>,
    /// Round trip from the relay to the device.
    pub rtt_device: Option<Duration>,
}

impl Tunnels {
    /// Starts carrying what the relay says, and stores what was not stored before.
    pub fn start(
        parts: Parts,
        events: mpsc::Receiver<RelayEvent>,
        unrecorded: Vec<RelayRecord>,
    ) -> Arc<Self> {
        let Parts { fleet, fabric, directory, sessions, relay, metrics, config } = parts;
        let (relay_ends, relay_queue) = mpsc::channel(ENDS_CAPACITY);
        let (agent_ends, agent_queue) = mpsc::channel(ENDS_CAPACITY);
        let tunnels = Arc::new(Self {
            fleet,
            fabric,
            directory,
            relay,
            metrics,
            config,
            sessions,
            answers: Answers::default(),
            rejections: Budget::new(REJECTIONS_LIMIT),
            unconfirmed: Budget::new(UNCONFIRMED_LIMIT),
            agent_ends,
            outage: Outage::default(),
            rates: Rates::default(),
            books: Books::default(),
            workers: Mutex::default(),
            closing: CancellationToken::new(),
            surrender: CancellationToken::new(),
        });
        unrecorded.into_iter().for_each(|record| tunnels.queue(record, &relay_ends));
        let follower = tokio::spawn(Arc::clone(&tunnels).follow(events, relay_ends));
        tokio::spawn(tunnels.closing.clone().run_until_cancelled_owned(Arc::clone(&tunnels).look()));
        let recorder = tokio::spawn(Arc::clone(&tunnels).record(relay_queue, agent_queue));
        *tunnels.workers.lock().expect("no holder panics") = Some(Workers { follower, recorder });
        tunnels
    }

    /// Ends every tunnel and stores how each ended, but takes no longer than `limit`.
    pub async fn stop(&self, limit: Duration) {
        let workers = self.workers.lock().expect("no holder panics").take();
        let stored = async {
            let _ = self.relay.stop().await;
            if let Some(workers) = workers {
                let _ = workers.recorder.await;
            }
            self.close_ended(self.books.open(), &[]).await;
        };
        if timeout(limit, stored).await.is_err() {
            warn!("the ends of some tunnel connections were not recorded in time");
        }
    }

    /// Carries nothing more, and gives what the relay says from now on, and what could not be stored within `limit`.
    ///
    /// # Panics
    /// When it was done before.
    pub async fn hand_over(&self, limit: Duration) -> (mpsc::Receiver<RelayEvent>, Vec<RelayRecord>) {
        let workers = self.workers.lock().expect("no holder panics").take();
        let Workers { follower, mut recorder } = workers.expect("it is done once");
        self.closing.cancel();
        let events = follower.await.expect("it does not panic");
        let stored = timeout(limit, &mut recorder).await;
        self.surrender.cancel();
        let unrecorded = match stored {
            Ok(stored) => stored,
            Err(_) => recorder.await,
        };
        // Whoever opens the store next takes what is open and not at the relay for open when the server was killed.
        if let Ok(live) = self.relay.tunnels().await {
            self.close_ended(self.books.open(), &live).await;
        }
        (events, unrecorded.expect("it does not panic"))
    }

    /// Every grant of a tenant that is open or in use.
    ///
    /// # Errors
    /// `Unavailable` when the relay has stopped.
    pub async fn list(&self, tenant: TenantId) -> Result<Vec<Tunnel>, FleetError> {
        let live = self.relay.tunnels().await.map_err(mint::stopped)?;
        let ours = live.into_iter().filter(|live| live.view.grant.tenant == tenant);
        Ok(ours.map(|live| self.shown(tenant, &live)).collect())
    }

    /// Revokes a grant and cuts its connections, at the relay and at the device. It is cut before it is recorded,
    /// so that a store which cannot take more keeps no tunnel open.
    ///
    /// # Errors
    /// `NotFound` when it is neither open nor in use, `Unavailable` when the relay has stopped or when it was cut and
    /// that could not be recorded.
    pub async fn revoke(&self, by: &Caller, grant: GrantId, reason: &str) -> Result<(), FleetError> {
        let tunnel = self.list(by.tenant).await?.into_iter().find(|tunnel| tunnel.grant == grant);
        let tunnel = tunnel.ok_or_else(|| FleetError::not_found(format!("no tunnel {grant} is open")))?;
        self.relay.revoke(Scope::Grant(grant)).await.map_err(mint::stopped)?;
        let change = Change::new(by.tenant, &by.name, "tunnel.revoke", &tunnel.device_name)
            .detail("grant", grant)
            .detail("reason", told(reason));
        self.fleet.note(change).await.map_err(|error| {
            FleetError::new(
                Kind::Unavailable,
                format!("the tunnel was cut, but that is not recorded: {error}"),
            )
        })
    }

    /// A device reports on a grant or connection.
    pub async fn state(&self, tenant: TenantId, device: DeviceId, state: TunnelState) {
        let Ok(grant) = GrantId::try_from(&state.grant[..]) else { return };
        let answer = match state.state() {
            State::GrantAccepted => Some(Ok(())),
            State::GrantRefused => Some(Err(told(&state.reason))),
            State::Unknown | State::Verified | State::Rejected => None,
        };
        if let Some(answer) = answer {
            self.answers.answer(grant, device, answer);
        }
        // A device says what it likes: only so much of it becomes entries that are kept.
        if state.state() == State::Rejected && self.rejections.spend(Instant::now(), device) {
            self.rejected(tenant, device, grant, &state.reason).await;
        }
        if self.relay.state(state, device).await.is_err() {
            debug!("the relay has stopped");
        }
    }

    async fn rejected(&self, tenant: TenantId, device: DeviceId, grant: GrantId, reason: &str) {
        let subject = self.device_name(tenant, device);
        let change = Change::new(tenant, &format!("device {device}"), "tunnel.rejected", subject)
            .detail("grant", grant)
            .detail("reason", told(reason));
        if let Err(error) = self.fleet.note(change).await {
            warn!(%error, "a rejected tunnel connection could not be audited");
        }
    }

    /// Carries what the relay says until it stops or another server does. Waits for nothing: the relay would wait too.
    async fn follow(
        self: Arc<Self>,
        mut events: mpsc::Receiver<RelayEvent>,
        ends: mpsc::Sender<Ended>,
    ) -> mpsc::Receiver<RelayEvent> {
        loop {
            let event = tokio::select! {
                biased;
                event = events.recv() => event,
                () = self.closing.cancelled() => None,
            };
            match event {
                Some(RelayEvent::Open { device, open }) => self.tell(device, Message::Open(open)),
                Some(RelayEvent::RevokeAt { device, grants, reason }) => {
                    self.revoke_at(device, &grants, reason);
                }
                Some(RelayEvent::Refused { why, grant, peer }) => self.hello_refused(why, grant, peer),
                Some(RelayEvent::Record(record)) => self.relay_record(record, &ends),
                None => return events,
            }
        }
    }

    fn revoke_at(&self, device: DeviceId, grants: &[GrantId], reason: &str) {
        for grants in grants.chunks(REVOKE_LIMIT) {
            let grants = grants.iter().map(|grant| Bytes::copy_from_slice(grant.as_bytes())).collect();
            self.tell(device, Message::Revoke(Revoke { grants, reason: reason.to_owned() }));
        }
    }

    /// Best effort: an agent that does not hear of an OPEN lets the initiator's wait run out, and one that does not
    /// hear of a REVOKE is told again when it comes back.
    fn tell(&self, device: DeviceId, message: Message) {
        if let Err(error) = self.sessions.send(device, None, message) {
            debug!(%device, %error, "a tunnel message did not reach the device");
        }
    }

    fn hello_refused(&self, why: RefusedHello, grant: Option<GrantId>, peer: Option<SocketAddr>) {
        let label = match why {
            RefusedHello::Unknown => "unknown",
            RefusedHello::Used => "used",
            RefusedHello::Pairing => "pairing",
            RefusedHello::TooMany => "too many",
            RefusedHello::Crowded(whose) => {
                self.metrics.limited("connections", whose);
                "limit"
            }
            RefusedHello::Full => "full",
            RefusedHello::NoTarget => "no target",
            RefusedHello::Rejected => "rejected",
            RefusedHello::Over => "over",
        };
        self.metrics.hellos_refused.get_or_create(&Why { why: label }).inc();
        debug!(why = label, ?grant, ?peer, "first flight refused");
    }

    fn recorded(&self, device: DeviceId, cookie: &[u8]) {
        self.tell(device, Message::Recorded(Recorded { cookie: Bytes::copy_from_slice(cookie) }));
    }

    fn device_name(&self, tenant: TenantId, device: DeviceId) -> String {
        let id = device.to_string();
        self.fleet.device(tenant, &id).map_or(id, |device| device.name)
    }

    fn operator_name(&self, tenant: TenantId, operator: OperatorId) -> String {
        let id = operator.to_string();
        self.fleet.operator(tenant, &id).map_or(id, |operator| operator.name)
    }

    fn shown(&self, tenant: TenantId, live: &LiveTunnel) -> Tunnel {
        let LiveTunnel { view, moved } = live;
        let grant = &view.grant;
        let device_name = self.device_name(tenant, grant.device);
        let operator = self.operator_name(tenant, grant.operator);
        let now = Instant::now();
        let connections = view.pairs.iter().zip(moved).filter(|(pair, _)| pair.verified);
        let connections = connections.map(|(pair, moved)| Connection {
            peer: canonical(pair.initiator),
            since: SystemTime::now() - pair.opened.elapsed(),
            to_target: moved.to_target,
            to_operator: moved.to_initiator,
            rate: self.rates.of(now, pair, moved),
            rtt_operator: moved.rtt_initiator,
            rtt_device: moved.rtt_target,
        });
        Tunnel {
            grant: grant.id,
            device: grant.device,
            device_name,
            operator,
            target: target_of(grant),
            begun: view.begun,
            until: SystemTime::now() + view.deadline.saturating_duration_since(now),
            connections: connections.collect(),
        }
    }
}

/// `PORT`, or `HOST:PORT`, as the audit log and tables show it.
fn target_of(grant: &Grant) -> String {
    match &grant.host {
        Host::Device => grant.port.to_string(),
        host => format!("{host}:{}", grant.port),
    }
}

/// Ends of connections that wait for the store, of the relay and of agents each.
const ENDS_CAPACITY: usize = 4096;
/// Rejections of a device in a minute that are audited: more than guessed keys could bring about by the labels of
/// its grants, and a bounded number of entries for a device that makes them up.
const REJECTIONS_LIMIT: u32 = 100;

#[cfg(test)]
mod tests;
