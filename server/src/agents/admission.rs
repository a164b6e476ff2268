//! Who is let in when a device says HELLO: one that is known, was not revoked, has no living double, and whose certificate
//! is its newest.
//!
//! ```text
//! HELLO ─ known? ─ is its double there? ─ its ids are stored ─ known still? ─ nobody came meanwhile? ─▶ WELCOME
//!            │              │ ask it, 5 s                          │                     └─ decide anew
//!            └── GOAWAY ◀───┴──────────────────────────────────────┘
//! ```

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use klnet_wire::id::{DeviceId, TenantId};
use klnet_wire::identity::Principal;
use klnet_wire::message::{GoAway, Hello, Message, Welcome};
use klnet_wire::net::link::{Command, Commands};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Agents;
use crate::fleet::sync::{self, Synced};
use crate::fleet::{Device, FleetError, Kind};
use crate::sessions::Live;
use crate::unix::{millis, seconds};

/// A device that introduces itself.
pub(super) struct Newcomer<'a> {
    pub(super) principal: &'a Principal,
    pub(super) hello: &'a Hello,
    pub(super) peer: SocketAddr,
    pub(super) commands: &'a Commands,
    pub(super) cut: &'a CancellationToken,
}

/// What a session knows of its device once it has said HELLO.
pub(super) struct Known {
    pub(super) tenant: TenantId,
    pub(super) device: DeviceId,
    pub(super) name: String,
    pub(super) serial: u64,
    pub(super) pongs: watch::Sender<()>,
}

impl Agents {
    /// Decides about a device that introduced itself.
    pub(super) async fn hello(&self, newcomer: Newcomer<'_>) -> Option<Known> {
        let Newcomer { principal, hello, peer, commands, .. } = newcomer;
        let known = match self.admitted(&newcomer).await {
            Ok(known) => known,
            Err(last) => {
                let reason = last.reason.clone();
                let _ = commands.send(Box::new(Command::Finish(Message::GoAway(last), reason))).await;
                return None;
            }
        };
        let Known { tenant, device, ref name, .. } = known;
        self.metrics.sessions_opened.inc();
        if skew(hello.clock).is_none_or(|skew| skew.unsigned_abs() > CLOCK_TOLERANCE.as_secs()) {
            self.metrics.clocks_wrong.inc();
        }
        info!(%device, name, %peer, epoch = hello.epoch, "device online");
        if let Err(error) = self.fleet.certificate_used(principal).await {
            warn!(%device, %error, "that a new certificate is in use is not stored yet");
        }
        // A revocation between the look-up and here would have found no session to end.
        if self.fleet.is_denied(tenant, device) {
            self.deny_device(device).await;
        }
        Some(known)
    }

    /// Gives the device its session, or the last word for it. What was decided may have changed while the one before was
    /// asked whether it is there: then it is decided anew.
    async fn admitted(&self, newcomer: &Newcomer<'_>) -> Result<Known, GoAway> {
        let &Newcomer { principal, hello, peer, commands, cut } = newcomer;
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
                return Ok(Known { tenant, device: device.id, name: device.name, serial, pongs });
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
        let (epoch, tenant) = (live.epoch, live.tenant);
        self.sessions.insert(device, live);
        // What is signed from now on is told to everyone who is there.
        if let Some(lists) = self.lists() {
            let _ = self.sessions.send(device, None, Message::Lists(lists));
        }
        self.distribution.arrived(tenant, device);
        self.count();
        if self.relay.online(device, epoch).await.is_err() {
            debug!("the relay has stopped");
        }
        true
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
