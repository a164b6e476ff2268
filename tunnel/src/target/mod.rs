//! The target's decisions: which grants it takes, whose connections it verifies, what it dials.
//!
//! The agent trusts the fabric's grant keys, not the relay: everything a relay can say is checked here again.

mod config;
mod connection;
mod grants;
mod input;
mod output;
mod records;
mod seen;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use klnet_wire::id::{GrantId, ServerId};
use klnet_wire::keyset::KeySet;
use klnet_wire::message::{Message, Recorded, Tunnels};
use ring::hmac;

pub use config::{
    ANSWER_WAIT, CONFIRM_WAIT, Config, DIAL_WAIT, GO_WAIT, HANDSHAKE_WAIT, Limits, RESOLVE_WAIT, SPARE_LIFE,
};
pub use grants::RefusedGrant;
pub use input::Input;
pub use output::Output;

use crate::address::OwnAddresses;
use crate::label::Cookie;
use crate::pair::{ConnId, EndReason};
use crate::stream::SessionId;
use crate::timers::Timers;

/// The agent's side of every tunnel to one device.
#[derive(Debug)]
pub struct Target {
    config: Config,
    keys: Option<Arc<KeySet>>,
    /// Whether the control connection has a session, and which was the last.
    online: bool,
    epoch: Option<u64>,
    relay: Option<ServerId>,
    clock: Clock,
    /// Of the relay and the servers, and of the device.
    forbidden: OwnAddresses,
    own: OwnAddresses,
    grants: BTreeMap<GrantId, grants::Held>,
    seen: seen::Seen,
    connections: BTreeMap<ConnId, connection::Connection>,
    cookies: HashSet<Cookie>,
    pending: usize,
    verified: usize,
    next_conn: u64,
    records: records::Records,
    timers: Timers<Timer>,
    outputs: VecDeque<Output>,
}

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Timer {
    /// The session must have begun, or is over.
    Grant(GrantId),
    /// The control connection was away for too long.
    Orphan(GrantId),
    /// The connection must have reached its next stage.
    Connection(ConnId),
    /// Records that were sent must have been confirmed.
    Records,
}

/// The server's clock, as the last WELCOME told it.
#[derive(Debug, Clone, Copy)]
struct Clock(Option<(Instant, u64)>);

impl Target {
    /// Makes a target without grants that has never been connected.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            keys: None,
            online: false,
            epoch: None,
            relay: None,
            clock: Clock(None),
            forbidden: OwnAddresses::default(),
            own: OwnAddresses::default(),
            grants: BTreeMap::new(),
            seen: seen::Seen::default(),
            connections: BTreeMap::new(),
            cookies: HashSet::new(),
            pending: 0,
            verified: 0,
            next_conn: 0,
            records: records::Records::default(),
            timers: Timers::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Keys(keys) => self.keys = Some(keys),
            Input::Connected { epoch, clock, forbidden, relay } => {
                self.clock = Clock(Some((now, clock)));
                self.relay = relay;
                self.connected(now, epoch, forbidden);
            }
            // A device that cannot tell its addresses still has those it told last.
            Input::OwnAddresses(own) if own.is_empty() => {}
            Input::OwnAddresses(own) => self.own = OwnAddresses::new(own),
            Input::Disconnected => self.disconnected(now),
            Input::Grant(signed) => self.take(now, &signed),
            Input::Open(open) => self.open(now, &open),
            Input::Revoke(revoke) => self.revoke(now, &revoke),
            Input::Recorded(recorded) => self.recorded(now, &recorded),
            Input::DialedBack { conn, result } => self.dialed_back(now, conn, result),
            Input::Handshaken { conn, key } => self.handshaken(now, conn, &key),
            Input::HandshakeFailed { conn, why } => self.handshake_failed(now, conn, &why),
            Input::Unused { conn } => self.unused(now, conn),
            Input::Go { conn, go } => self.go(now, conn, &go),
            Input::Resolved { conn, addresses } => self.resolved(now, conn, addresses),
            Input::Dialed { conn, result } => self.dialed(now, conn, result),
            Input::Ended { conn, end } => self.ended(now, conn, end),
        }
    }

    fn connected(&mut self, now: Instant, epoch: u64, forbidden: Vec<IpAddr>) {
        self.online = true;
        self.forbidden = OwnAddresses::new(forbidden);
        if self.epoch.replace(epoch) != Some(epoch) {
            self.void_grants(now);
            // The agent draws a fresh number for each session: no earlier session's grants can come back with it.
            self.seen = seen::Seen::default();
        }
        let live: Vec<_> = self.grants.values().filter(|held| held.verified > 0).collect();
        let grants: Vec<_> = live.iter().map(|held| held.grant.id.to_vec().into()).collect();
        for id in self.grants.keys() {
            self.timers.clear(Timer::Orphan(*id));
        }
        if !grants.is_empty() {
            self.send(Message::Tunnels(Tunnels { grants }));
        }
        self.records.restart();
        self.send_records(now);
    }

    fn disconnected(&mut self, now: Instant) {
        if !std::mem::take(&mut self.online) {
            return;
        }
        for (id, held) in &self.grants {
            self.timers.set(Timer::Orphan(*id), now + held.grant.orphan);
        }
        self.timers.clear(Timer::Records);
    }

    fn recorded(&mut self, now: Instant, recorded: &Recorded) {
        if let Ok(cookie) = Cookie::try_from(&recorded.cookie[..]) {
            self.records.confirmed(&cookie);
            self.send_records(now);
        }
    }

    fn send_records(&mut self, now: Instant) {
        while self.online
            && let Some(record) = self.records.next()
        {
            self.outputs.push_back(Output::Sign(record));
        }
        if !self.records.are_sent() {
            self.timers.clear(Timer::Records);
        } else if self.online && !self.timers.is_set(Timer::Records) {
            self.timers.set(Timer::Records, now + CONFIRM_WAIT);
        }
    }

    /// Sends on the control connection; what is said while there is none is lost, as if the connection were.
    fn send(&mut self, message: Message) {
        if self.online {
            self.outputs.push_back(Output::Send(message));
        }
    }

    /// Ends everything whose time is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Grant(id) => self.end_grant(now, id, EndReason::SessionOver),
                Timer::Orphan(id) => self.end_grant(now, id, EndReason::Orphaned),
                Timer::Connection(conn) => self.overdue(now, conn),
                Timer::Records => {
                    self.records.restart();
                    self.send_records(now);
                }
            }
        }
    }

    /// Takes the next thing to do; `None` once there is nothing more to do now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Target::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first()
    }

    /// How many verified connections there are.
    pub fn connections(&self) -> usize {
        self.verified
    }

    /// How many records the server has not confirmed yet.
    pub fn unconfirmed(&self) -> usize {
        self.records.len()
    }
}

impl Clock {
    fn at(self, instant: Instant) -> u64 {
        let Some((anchor, unix)) = self.0 else { return 0 };
        match instant.checked_duration_since(anchor) {
            Some(later) => unix.saturating_add(later.as_secs()),
            None => unix.saturating_sub((anchor - instant).as_secs()),
        }
    }
}

/// A grant has one session in a process's life, so its id follows from the grant and the process's secret.
fn session_id(secret: &[u8; 32], grant: GrantId) -> SessionId {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), grant.as_bytes());
    SessionId::new(*tag.as_ref().first_chunk().expect("SHA-256 has 32 bytes"))
}

#[cfg(test)]
pub(crate) mod tests;
