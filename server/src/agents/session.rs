//! One device's session: from its HELLO to its end.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Instant;

use klnet_wire::id::DeviceId;
use klnet_wire::identity::Principal;
use klnet_wire::message::{GoAway, Message, Sightings, Tunnels as TunnelsAlive};
use klnet_wire::net::link::{Command, drive};
use klnet_wire::session::{self, CloseReason, Event, Session};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::admission::{Known, Newcomer};
use super::{Agents, HANDSHAKE_TIME};
use crate::fleet::Kind;
use crate::tunnels::Tunnels;
use crate::unix::millis;

impl Agents {
    /// Runs the session of a device whose certificate was verified.
    pub(super) async fn run(
        &self,
        stream: Box<TlsStream<TcpStream>>,
        peer: SocketAddr,
        tunnels: &Tunnels,
        shutdown: CancellationToken,
    ) {
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let Some(principal) = certificate.and_then(Principal::named_in) else { return };
        let (commands, mut commanded) = mpsc::channel(COMMANDS_CAPACITY);
        let (events, mut happened) = mpsc::channel(EVENTS_CAPACITY);
        let mut session = Session::server(Instant::now(), session::Config::default());
        let (cut, mut known, mut leaving) = (CancellationToken::new(), None, false);
        let reason = {
            // Pinned where it is made: a future keeps room for every place that something is moved to.
            let mut driven = pin!(drive(stream, &mut session, &mut commanded, &events));
            loop {
                tokio::select! {
                    reason = &mut driven => break reason,
                    () = cut.cancelled() => break CloseReason::Local("too busy for its last word".into()),
                    // What seldom happens is boxed, so that a session which only waits is small.
                    Some(event) = happened.recv() => match *event {
                        Event::Hello(hello) => {
                            let (principal, hello) = (&principal, &hello);
                            let newcomer = Newcomer { principal, hello, peer, commands: &commands, cut: &cut };
                            known = Box::pin(self.hello(newcomer)).await;
                        }
                        event => if let Some(known) = &known {
                            Box::pin(self.event(known, event, tunnels)).await;
                        },
                    },
                    () = shutdown.cancelled(), if !leaving => {
                        // What the device says meanwhile is still heard.
                        leaving = true;
                        if commands.try_send(Box::new(self.restarts())).is_err() {
                            cut.cancel();
                        }
                    }
                }
            }
        };
        if let Some(known) = known {
            Box::pin(self.ended(&known, &reason)).await;
        }
    }

    async fn event(&self, known: &Known, event: Event, tunnels: &Tunnels) {
        let (tenant, device) = (known.tenant, known.device);
        self.fleet.heard(device);
        match event {
            Event::Message(Message::TunnelState(state)) => tunnels.state(tenant, device, state).await,
            Event::Message(Message::TunnelRecord(record)) => {
                tunnels.agent_record(tenant, device, record).await
            }
            Event::Message(Message::Tunnels(alive)) => self.alive(known, alive).await,
            Event::Message(Message::PointState(state)) => {
                self.distribution.point(tenant, device, state).await
            }
            Event::Message(Message::KsnState(state)) => self.distribution.ksn(tenant, device, state),
            Event::Message(Message::Sightings(told)) => self.sighted(known, told).await,
            Event::Message(Message::Delivery(told)) => self.distribution.delivery(tenant, device, told).await,
            Event::Message(Message::Goodbye(goodbye)) => {
                debug!(%device, reason = crate::fleet::told(&goodbye.reason), "device says goodbye");
            }
            Event::Pong(_) => {
                known.pongs.send_replace(());
            }
            Event::Message(_) | Event::Heartbeat | Event::Hello(_) | Event::Welcome(_) => {}
        }
    }

    async fn sighted(&self, known: &Known, told: Sightings) {
        match self.fleet.sighted(known.tenant, known.device, told).await {
            Ok(news) => {
                self.metrics.sightings.inc_by(news as u64);
            }
            // It has not heard yet that it is to poll nothing more.
            Err(error) if error.kind() == Kind::NotFound => {
                debug!(device = %known.device, %error, "hosts are not stored");
            }
            Err(error) => warn!(device = %known.device, %error, "hosts are not stored; they are told again"),
        }
    }

    async fn alive(&self, known: &Known, alive: TunnelsAlive) {
        if self.relay.alive(alive, known.device).await.is_err() {
            debug!("the relay has stopped");
        }
    }

    async fn ended(&self, known: &Known, reason: &CloseReason) {
        let device = known.device;
        // The reason may be the device's own words.
        let reason = crate::fleet::told(&reason.to_string());
        if !self.go(device, known.serial, &reason).await {
            return; // a newer session is there already
        }
        info!(%device, name = known.name, reason, "device offline");
    }

    /// Forgets a session and tells the relay, unless a newer one has taken its place.
    pub(super) async fn go(&self, device: DeviceId, serial: u64, why: &str) -> bool {
        let _turn = self.turn.lock().await;
        if !self.sessions.remove(device, serial) {
            return false;
        }
        self.fleet.went_offline(device, why);
        self.count();
        if self.relay.offline(device).await.is_err() {
            debug!("the relay has stopped");
        }
        true
    }

    pub(super) fn count(&self) {
        self.metrics.sessions.set(i64::try_from(self.fleet.online()).unwrap_or(i64::MAX));
    }

    /// What a session is ended with at shutdown.
    fn restarts(&self) -> Command {
        let reason = "the server restarts".into();
        let last = GoAway { reason, reconnect_ms: self.return_ms(), ..GoAway::default() };
        Command::Finish(Message::GoAway(last), "shutdown".into())
    }

    /// When the ports stay open agents need no longer than a server needs to shake hands with them all.
    fn return_ms(&self) -> u32 {
        let devices = u32::try_from(self.fleet.online()).unwrap_or(u32::MAX);
        match self.back_at_once.load(Ordering::Relaxed) {
            true => self.window_ms().min(millis(HANDSHAKE_TIME.saturating_mul(devices))),
            false => self.window_ms(),
        }
    }

    pub(super) fn window_ms(&self) -> u32 {
        millis(self.config.reconnect_window_for(self.fleet.enrolled()))
    }
}

/// What waits for a session's task; its outbox is bounded apart.
const COMMANDS_CAPACITY: usize = 64;
/// What waits for the server to look at; while it is full nothing more is read from the device.
const EVENTS_CAPACITY: usize = 16;
