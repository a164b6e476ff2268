//! One device's session: from its HELLO to its end.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use klnet_wire::id::DeviceId;
use klnet_wire::identity::Principal;
use klnet_wire::message::{GoAway, Hello, Message, Tunnels as TunnelsAlive, Welcome};
use klnet_wire::net::link::{Command, Commands, drive};
use klnet_wire::session::{self, CloseReason, Event, Session};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Agents;
use crate::fleet::sync::{self, Synced};
use crate::fleet::{Device, FleetError, Kind};
use crate::sessions::Live;
use crate::tunnels::Tunnels;
use crate::unix::seconds;

/// What a session knows of its device once it has said HELLO.
struct Known {
    device: Device,
    serial: u64,
    pongs: watch::Sender<()>,
}

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
            let driven = drive(stream, &mut session, &mut commanded, &events);
            tokio::pin!(driven);
            loop {
                tokio::select! {
                    reason = &mut driven => break reason,
                    () = cut.cancelled() => break CloseReason::Local("too busy for its last word".into()),
                    // What seldom happens is boxed, so that a session which only waits is small.
                    Some(event) = happened.recv() => match *event {
                        Event::Hello(hello) => {
                            known = Box::pin(self.hello(&principal, &hello, peer, &commands, &cut)).await;
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

    /// Decides about a device that introduced itself.
    async fn hello(
        &self,
        principal: &Principal,
        hello: &Hello,
        peer: SocketAddr,
        commands: &Commands,
        cut: &CancellationToken,
    ) -> Option<Known> {
        let known = match self.admitted(principal, hello, peer, commands, cut).await {
            Ok(known) => known,
            Err(last) => {
                let reason = last.reason.clone();
                let _ = commands.send(Box::new(Command::Finish(Message::GoAway(last), reason))).await;
                return None;
            }
        };
        let device = &known.device;
        self.metrics.sessions_opened.inc();
        if skew(hello.clock).is_none_or(|skew| skew.unsigned_abs() > CLOCK_TOLERANCE.as_secs()) {
            self.metrics.clocks_wrong.inc();
        }
        info!(device = %device.id, name = device.name, %peer, epoch = hello.epoch, "device online");
        if let Err(error) = self.fleet.certificate_used(principal).await {
            warn!(device = %device.id, %error, "that a new certificate is in use is not stored yet");
        }
        // A revocation between the look-up and here would have found no session to end.
        if self.fleet.is_denied(device.tenant, device.id) {
            self.deny_device(device.id).await;
        }
        Some(known)
    }

    /// Gives the device its session, or the last word for it. What was decided may have changed while the one before was
    /// asked whether it is there: then it is decided anew.
    async fn admitted(
        &self,
        principal: &Principal,
        hello: &Hello,
        peer: SocketAddr,
        commands: &Commands,
        cut: &CancellationToken,
    ) -> Result<Known, GoAway> {
        for _ in 0..DECISIONS_LIMIT {
            let device = self.device_of(principal, peer).await?;
            let first = self.sessions.live(device.id);
            let replaced = first.as_ref().map(|first| first.serial);
            if Self::is_clone(first, hello).await {
                self.refused("clone", peer, &"the device is connected already, and answers");
                return Err(self.help_for_clone(&device, hello, peer).await);
            }
            let sync = self.synchronised(&device, hello, peer).await;
            let device = self.device_of(principal, peer).await?;
            let serial = self.serials.fetch_add(1, Ordering::Relaxed);
            let (commands, cut) = (commands.clone(), cut.clone());
            let (tenant, epoch, boot_id) = (device.tenant, hello.epoch, hello.boot_id.clone());
            let pongs = watch::Sender::default();
            let live = Live { tenant, serial, epoch, boot_id, pongs: pongs.clone(), commands, cut };
            if self.come(device.id, live, replaced, peer, hello, sync).await {
                return Ok(Known { device, serial, pongs });
            }
        }
        let reason = "others come with this identity all the time".to_owned();
        Err(GoAway { reason, reconnect_ms: millis(HELP_EACH), ..GoAway::default() })
    }

    async fn device_of(&self, principal: &Principal, peer: SocketAddr) -> Result<Device, GoAway> {
        let denied = match self.fleet.device_of(principal) {
            Ok(device) => return Ok(device),
            Err(denied) => denied,
        };
        self.refused(why(denied.kind()), peer, &denied);
        if denied.kind() == Kind::Superseded {
            // The best sign there is that somebody else has had this device's disk.
            let told = self.fleet.set_back(principal.tenant, principal.id(), "certificate", peer).await;
            if let Err(error) = told {
                warn!(%error, "that a device has a certificate that was replaced is not stored");
            }
        }
        Err(refusal(&denied))
    }

    /// Whether a device that introduces itself has a living double. The process that had the session before has left it,
    /// whatever this server has heard of that; any other is a clone if the first still answers.
    pub(super) async fn is_clone(first: Option<Live>, hello: &Hello) -> bool {
        let Some(first) = first else { return false };
        let same_process = !hello.boot_id.is_empty() && first.boot_id == hello.boot_id;
        if same_process && first.epoch == hello.last_epoch {
            return false;
        }
        let mut pongs = first.pongs.subscribe();
        // One that takes no more questions would not answer in time.
        let asked = first.commands.try_send(Box::new(Command::Ping)).is_ok();
        drop(first);
        asked && matches!(timeout(CLONE_TIMEOUT, pongs.changed()).await, Ok(Ok(())))
    }

    /// What a clone is told: an operator may have approved of it.
    async fn help_for_clone(&self, device: &Device, hello: &Hello, peer: SocketAddr) -> GoAway {
        let (tenant, machine) = (device.tenant, hello.host_name.as_str());
        let token = match self.fleet.token_for_clone(tenant, device.id, peer, machine).await {
            Ok(None) => self.fleet.cloned(tenant, device.id, peer, machine).await.map(|()| String::new()),
            Ok(Some(token)) => Ok(token),
            Err(error) => Err(error),
        };
        let token = token.unwrap_or_else(|error| {
            warn!(device = %device.id, %error, "that the device has a clone is not stored");
            String::new()
        });
        GoAway { reason: CLONE.into(), reconnect_ms: millis(HELP_EACH), forever: false, token }
    }

    /// The id that the device may store, once it is stored here.
    async fn synchronised(&self, device: &Device, hello: &Hello, peer: SocketAddr) -> Bytes {
        if !sync::is_asked(hello) {
            return Bytes::new();
        }
        match self.fleet.synchronise(device, hello, peer).await {
            Ok(Synced::InOrder) => {}
            Ok(Synced::SetBack) => {
                warn!(device = %device.id, name = device.name, "the device's disk was set back, or is a copy");
            }
            Err(error) => {
                warn!(device = %device.id, %error, "that the device synchronised is not stored");
                return Bytes::new();
            }
        }
        hello.sync.clone()
    }

    async fn event(&self, known: &Known, event: Event, tunnels: &Tunnels) {
        let (tenant, device) = (known.device.tenant, known.device.id);
        self.fleet.heard(device);
        match event {
            Event::Message(Message::TunnelState(state)) => tunnels.state(tenant, device, state).await,
            Event::Message(Message::TunnelRecord(record)) => {
                tunnels.agent_record(tenant, device, record).await
            }
            Event::Message(Message::Tunnels(alive)) => self.alive(known, alive).await,
            Event::Message(Message::Goodbye(goodbye)) => {
                debug!(%device, reason = crate::fleet::told(&goodbye.reason), "device says goodbye");
            }
            Event::Pong(_) => {
                known.pongs.send_replace(());
            }
            Event::Message(_) | Event::Heartbeat | Event::Hello(_) | Event::Welcome(_) => {}
        }
    }

    async fn alive(&self, known: &Known, alive: TunnelsAlive) {
        if self.relay.alive(alive, known.device.id).await.is_err() {
            debug!("the relay has stopped");
        }
    }

    async fn ended(&self, known: &Known, reason: &CloseReason) {
        let device = known.device.id;
        // The reason may be the device's own words.
        let reason = crate::fleet::told(&reason.to_string());
        if !self.go(device, known.serial, &reason).await {
            return; // a newer session is there already
        }
        info!(%device, name = known.device.name, reason, "device offline");
    }

    /// Welcomes the device, makes this its session, and tells the relay, unless another than the `replaced` has come
    /// meanwhile.
    pub(super) async fn come(
        &self,
        device: DeviceId,
        live: Live,
        replaced: Option<u64>,
        peer: SocketAddr,
        hello: &Hello,
        sync: Bytes,
    ) -> bool {
        let _turn = self.turn.lock().await;
        if self.sessions.live(device).is_some_and(|live| Some(live.serial) != replaced) {
            return false;
        }
        self.fleet.came_online(device, peer, skew(hello.clock), &hello.build);
        let welcome = Welcome {
            heartbeat_ms: millis(self.config.heartbeat_for(self.fleet.online())),
            reconnect_window_ms: self.window_ms(),
            clock: seconds(SystemTime::now()),
            sync,
            ..Welcome::default()
        };
        // Before anyone can reach the session: nothing else may be said first.
        let _ = live.commands.send(Box::new(Command::Welcome(welcome))).await;
        if let Some(keys) = self.fleet.newer_keys(hello.key_set) {
            let _ = live.commands.send(Box::new(Command::Send(Message::Keys(keys)))).await;
        }
        let epoch = live.epoch;
        self.sessions.insert(device, live);
        self.count();
        if self.relay.online(device, epoch).await.is_err() {
            debug!("the relay has stopped");
        }
        true
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

    fn count(&self) {
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

    fn window_ms(&self) -> u32 {
        millis(self.config.reconnect_window_for(self.fleet.enrolled()))
    }
}

/// As the metric names it.
const fn why(kind: Kind) -> &'static str {
    match kind {
        Kind::Superseded => "superseded",
        Kind::Unavailable => "blind",
        _ => "denied",
    }
}

/// The last word to a device that may not come. One that is revoked never may; one with a replaced certificate needs
/// somebody's help, and asks now and then whether it came; a server that cannot know is asked again soon.
fn refusal(denied: &FleetError) -> GoAway {
    let (forever, reconnect) = match denied.kind() {
        Kind::Superseded => (false, HELP_EACH),
        Kind::Unavailable => (false, BLIND_EACH),
        _ => (true, Duration::ZERO),
    };
    GoAway { reason: denied.to_string(), reconnect_ms: millis(reconnect), forever, ..GoAway::default() }
}

/// A device's clock minus ours, in seconds.
fn skew(clock: u64) -> Option<i64> {
    let ours = i64::try_from(seconds(SystemTime::now())).ok()?;
    i64::try_from(clock).ok()?.checked_sub(ours)
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// What an agent that comes back takes of the server's time, twice over.
const HANDSHAKE_TIME: Duration = Duration::from_micros(500);
/// What a device's clock may be off without a word, as agents have it too.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);
const CLONE: &str = "another device uses this identity and is connected; give this one its own: \
    klmover --dupfix --token … here, or klctl device approve-clone there";
/// How long a session may take to show that its device is alive before another one with the same identity replaces it.
const CLONE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is decided about a device while others come with its identity.
const DECISIONS_LIMIT: usize = 3;
/// How often a device asks that somebody has to help.
const HELP_EACH: Duration = Duration::from_secs(300);
/// How often a device asks whether this server knows again who is revoked.
const BLIND_EACH: Duration = Duration::from_secs(30);
/// What waits for a session's task; its outbox is bounded apart.
const COMMANDS_CAPACITY: usize = 64;
/// What waits for the server to look at; while it is full nothing more is read from the device.
const EVENTS_CAPACITY: usize = 16;
