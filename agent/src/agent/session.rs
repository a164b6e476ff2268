//! One session of the agent: from HELLO to whatever ends it.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use klnet_tunnel::net::target::Session;
use klnet_wire::duties::Duties;
use klnet_wire::id::{GrantId, ServerId};
use klnet_wire::keyset::Purpose;
use klnet_wire::message::{GoAway, Hello, Message, Welcome};
use klnet_wire::session::{CloseReason, Event, FEATURES, MINOR_MAX, MINOR_MIN};
use klnet_wire::signed::Signed;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::address::OwnAddress;
use super::{Agent, AgentError, NoSession, until};
use crate::control::{Control, Dialled};
use crate::directory::Candidate;
use crate::discovery::{self, DiscoveryError};
use crate::enroll::{Invitation, Token};
use crate::state::Sync;
use crate::status::{BUILD, Connection};
use crate::unix::unix_now;
use crate::{backoff, mover, platform};

/// Where a session leads, and what has happened in it.
struct Course {
    candidate: Candidate,
    address: SocketAddr,
    server: Option<ServerId>,
    welcomed: bool,
    /// What GOAWAY said.
    sent_away: Option<String>,
    /// For an identity of its own, when this device is a clone.
    token: Option<Token>,
}

impl Agent {
    /// Keeps a session until it ends; the outer result is fatal, the inner one says why there is no session now.
    pub(super) async fn session(
        &mut self,
        dialled: Dialled,
        shutdown: &CancellationToken,
    ) -> Result<Result<(), NoSession>, AgentError> {
        let mut course = Course::new(&dialled);
        let mut own = OwnAddress::new(dialled.own);
        let mut control = match dialled.greet(self.hello(), self.random.bits()) {
            Ok(control) => control,
            Err(error) => return Ok(Err(NoSession::Greeting(error))),
        };
        loop {
            tokio::select! {
                event = control.event() => match event {
                    Some(event) => self.event(event, &control, &mut course).await?,
                    None => break,
                },
                message = self.tunnels.message() => {
                    control.send(message?).await;
                    self.status.tunnel_connections(Instant::now(), self.tunnels.connections());
                }
                news = self.roles.news() => if let Some(message) = self.shown(news) {
                    control.send(message).await;
                },
                refreshed = self.refreshing.answer(|| discovery::client(&self.device, &self.crls)) => {
                    self.refreshed(refreshed).await;
                }
                renewed = self.renewing.answer(&self.device, &self.crls, &self.clock) => {
                    if self.renewed(renewed) {
                        // The next session is the first use of it; live connections go on meanwhile.
                        self.tunnels.disconnected().await?;
                        control.leave("a new certificate").await;
                        let _ = timeout(FAREWELL_TIMEOUT, control.end()).await;
                        return Ok(Err(NoSession::Renewed));
                    }
                }
                () = until(self.status.poll_timeout()) => self.status.handle_timeout(Instant::now()),
                address = own.lost() => {
                    self.tunnels.disconnected().await?;
                    return Ok(Err(NoSession::Moved(address.ip())));
                }
                () = shutdown.cancelled() => {
                    control.leave("the agent shuts down").await;
                    // The server may be gone; nothing depends on its seeing the farewell.
                    let _ = timeout(FAREWELL_TIMEOUT, control.end()).await;
                    return Ok(Ok(()));
                }
            }
        }
        self.tunnels.disconnected().await?;
        let (token, end) = (course.token.take(), course.end(control.end().await));
        if let Some(token) = token {
            tokio::select! {
                separated = self.separate(token) => separated?,
                () = shutdown.cancelled() => {}
            }
        }
        Ok(Err(end))
    }

    /// Takes an identity of its own; without one it stays a clone, which asks again.
    async fn separate(&self, token: Token) -> Result<(), AgentError> {
        let (server, root) = (self.device.server.clone(), self.device.trust.pin());
        // The name that the identity was enrolled with is the other device's.
        match mover::prepare(&self.folder, &Invitation { server, root, token, name: None }).await {
            Ok(own) => {
                tracing::info!(device = %own.principal.id::<()>(), "this clone takes an identity of its own");
                Err(AgentError::Separated)
            }
            Err(error) => {
                tracing::warn!(%error, "an identity of its own was offered to this clone, and not taken");
                Ok(())
            }
        }
    }

    async fn event(
        &mut self,
        event: Event,
        control: &Control,
        course: &mut Course,
    ) -> Result<(), AgentError> {
        match event {
            Event::Welcome(welcome) => self.welcomed(&welcome, course).await,
            Event::Pong(took) => {
                self.status.round_trip(took);
                Ok(())
            }
            Event::Message(Message::GoAway(message)) => {
                self.sent_away(message, control, course).await;
                Ok(())
            }
            Event::Message(message) => self.message(message).await,
            Event::Hello(_) | Event::Heartbeat => Ok(()),
        }
    }

    async fn message(&mut self, message: Message) -> Result<(), AgentError> {
        let taken = match self.tunnels.receive(message).await? {
            Some(Message::Keys(keys)) => self.take_keys(&keys).await,
            Some(Message::Servers(servers)) => self.take_servers(&servers),
            Some(Message::Lists(lists)) => {
                self.told_of_lists(lists);
                Ok(())
            }
            Some(Message::Duties(duties)) => {
                self.take_duties(&duties);
                Ok(())
            }
            _ => Ok(()),
        };
        match taken {
            Err(DiscoveryError::State(error)) => tracing::warn!(%error, "a newer list was not stored"),
            Err(error) => tracing::warn!(%error, "the server sent a list that is refused"),
            Ok(()) => {}
        }
        Ok(())
    }

    /// Takes what the server has this device do with what is distributed.
    fn take_duties(&self, signed: &Signed) {
        let Some(keys) = self.directory.keys() else { return };
        match Duties::verify(signed, self.device(), keys) {
            Ok(duties) => self.roles.told(duties, keys.of(Purpose::Distribute).collect()),
            Err(error) => tracing::warn!(%error, "the server sent duties that are refused"),
        }
    }

    async fn welcomed(&mut self, welcome: &Welcome, course: &mut Course) -> Result<(), AgentError> {
        let now = Instant::now();
        course.welcomed = true;
        self.last_epoch = welcome.epoch;
        self.synchronised(&welcome.sync);
        self.roles.connected();
        if self.trial.take().is_some() {
            tracing::info!("the new server welcomes this device, the identity before goes");
            if let Err(error) = self.folder.keep() {
                // It is tried again when the agent starts, if the server welcomes it then.
                tracing::error!(%error, "the identity before is kept");
            }
        }
        let window = Duration::from_millis(welcome.reconnect_window_ms.into());
        self.backoff.handle_input(now, backoff::Input::Connected { window });
        self.compare_clocks(now, welcome.clock);
        let server = course.candidate.to_string();
        let outage = self.outage.ends(now).map(|outage| outage.as_secs());
        tracing::info!(%server, epoch = welcome.epoch, outage, "connected");
        self.status.connection(Connection::Connected {
            server,
            address: course.address.to_string(),
            epoch: welcome.epoch,
            heartbeat_ms: u64::try_from(welcome.heartbeat().as_millis()).unwrap_or(u64::MAX),
            round_trip_ms: None,
        });
        let servers = self.directory.servers().map(|list| list.servers.as_slice()).unwrap_or_default();
        let hosts: Vec<String> = servers.iter().map(|server| server.host.clone()).collect();
        let session = Session {
            server: course.address,
            epoch: welcome.epoch,
            clock: welcome.clock,
            relay: course.server,
            forbidden: self.tunnels.forbidden(course.address, hosts).await,
        };
        Ok(self.tunnels.connected(session).await?)
    }

    /// The server has stored the id that HELLO named.
    fn synchronised(&mut self, id: &[u8]) {
        let Some(sync) = self.sync.take_if(|sync| sync.next == id) else { return };
        if let Err(error) = self.folder.save_sync(&sync.advanced()) {
            // The same two are said next time, which the server takes for a WELCOME that was lost.
            tracing::warn!(%error, "that this device has synchronised is not stored");
        }
    }

    /// A clock that is off is told, and nothing else: no decision depends on it.
    fn compare_clocks(&mut self, now: Instant, server: u64) {
        self.clock.told(now, server);
        self.roles.clock(self.clock);
        let Some(skew) = self.clock.skew(now, SystemTime::now()) else { return };
        if skew.is_wrong() {
            tracing::warn!(%skew, "the clock is wrong");
        }
        self.status.clock_skew(skew.seconds);
    }

    async fn sent_away(&mut self, message: GoAway, control: &Control, course: &mut Course) {
        let now = Instant::now();
        let within = Duration::from_millis(message.reconnect_ms.into());
        self.backoff.handle_input(now, backoff::Input::GoAway { within });
        if message.forever {
            self.backoff.handle_input(now, backoff::Input::Banned { reason: message.reason.clone() });
        }
        course.token = Some(message.token).filter(|token| !token.is_empty()).map(Token);
        course.sent_away = Some(message.reason);
        control.leave("asked to leave").await;
    }

    fn hello(&self) -> Hello {
        let Sync { last, next } = self.sync.clone().unwrap_or_default();
        Hello {
            minor_min: MINOR_MIN,
            minor_max: MINOR_MAX,
            features: FEATURES,
            build: BUILD.to_owned(),
            boot_id: self.boot_id.clone(),
            host_name: self.device.name.clone().unwrap_or_else(platform::host_name),
            os: platform::os(),
            key_set: self.directory.key_version(),
            clock: unix_now(),
            epoch: fresh_epoch(),
            last_epoch: self.last_epoch,
            sync: next,
            last_sync: last,
            macs: self.cards.iter().map(|mac| Bytes::copy_from_slice(&mac.0)).collect(),
        }
    }
}

impl Course {
    fn new(dialled: &Dialled) -> Self {
        let (candidate, address, server) = (dialled.candidate.clone(), dialled.address, dialled.server);
        Self { candidate, address, server, welcomed: false, sent_away: None, token: None }
    }

    fn end(self, reason: CloseReason) -> NoSession {
        match (self.sent_away, reason) {
            (Some(reason), _) => NoSession::SentAway(reason),
            (None, CloseReason::Eof) if !self.welcomed => NoSession::NotWelcomed,
            (None, reason) => NoSession::Ended(reason),
        }
    }
}

/// Names a session; drawn by the agent, so that nobody can bring an earlier one's grants back to life.
fn fresh_epoch() -> u64 {
    u64::from_be_bytes(*GrantId::random().as_bytes().first_chunk().expect("an identifier has 16 bytes"))
}

/// How long the farewell may take.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);
