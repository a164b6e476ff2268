//! One dialled-back connection at the target, from OPEN to its record.
//!
//! ```text
//!  OPEN          dialled back     key is cnf      GO          addresses     connected
//!   ──▶ DialingBack ──▶ Handshaking ──▶ Go ──▶ (Resolve) ──▶ Dial ──▶ Carry ──▶ record
//!          │  REJECTED      │  REJECTED  └───────┴─ REFUSED, record ─┘    └ cut ──▶ record
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use klnet_wire::id::GrantId;
use klnet_wire::message::tunnel::State;
use klnet_wire::message::{Message, Open, TunnelState};
use klnet_wire::signed::PublicKey;

use super::config::{DIAL_WAIT, GO_WAIT, HANDSHAKE_WAIT, Limits, RESOLVE_WAIT, SLACK, SPARE_LIFE};
use super::grants::Session;
use super::{Output, Target, Timer};
use crate::address;
use crate::grant::{Grant, Host};
use crate::label::Cookie;
use crate::pair::{ConnId, EndReason, LINGER, PairEnd, PairLimits};
use crate::record::TunnelRecord;
use crate::stream::{Answer, Go, Refusal};

/// A connection the target has not forgotten.
#[derive(Debug)]
pub(super) struct Connection {
    grant: Arc<Grant>,
    cookie: Cookie,
    stage: Stage,
}

/// What the connection waits for.
#[derive(Debug)]
enum Stage {
    /// For the driver to reach the relay.
    DialingBack,
    /// For an initiator that proves the operator's key.
    Handshaking,
    /// It counts: its key was verified at this instant.
    Verified(Instant, Step),
}

/// What a verified connection waits for.
#[derive(Debug)]
enum Step {
    /// For the initiator to say GO; `over` when there were too many already.
    Go { over: bool },
    /// For the name's addresses.
    Resolve,
    /// For one of these addresses to accept.
    Dial(Vec<SocketAddr>),
    /// For its end.
    Carry(SocketAddr),
    /// For its end, which is for this reason.
    Cut(SocketAddr, EndReason),
}

/// What the target says, and why, when it refuses.
type Refused = (Refusal, String);

impl Target {
    pub(super) fn open(&mut self, now: Instant, open: &Open) {
        let Ok(cookie) = Cookie::try_from(&open.cookie[..]) else { return };
        let Ok(id) = GrantId::try_from(&open.grant[..]) else { return };
        // The same OPEN again would make the relay throw away what the first one made.
        if self.cookies.contains(&cookie) {
            return;
        }
        // Those over their limit, until they are told so, are bounded as well: a relay may send what it likes.
        let Limits { pending, connections, .. } = self.config.limits;
        let full = self.pending >= pending || self.pending + self.verified >= connections + pending;
        let Some(held) = self.grants.get_mut(&id).filter(|held| !held.void && !full) else {
            let why = if full { "too many dial-backs are pending" } else { "no such grant" };
            return self.report(id, cookie, State::Rejected, why);
        };
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        held.connections.insert(conn);
        held.resting = None;
        if let Some(session) = &held.session {
            self.timers.set(Timer::Grant(id), session.deadline);
        }
        let grant = held.grant.clone();
        self.connections.insert(conn, Connection { grant, cookie, stage: Stage::DialingBack });
        self.cookies.insert(cookie);
        self.pending += 1;
        let deadline = now + Duration::from_millis(open.expires_ms.into()).min(SPARE_LIFE);
        self.timers.set(Timer::Connection(conn), deadline + HANDSHAKE_WAIT);
        self.outputs.push_back(Output::DialBack { conn, cookie, grant: id, deadline });
    }

    pub(super) fn dialed_back(&mut self, now: Instant, conn: ConnId, result: Result<(), String>) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let Stage::DialingBack = connection.stage else { return };
        match result {
            Ok(()) => connection.stage = Stage::Handshaking,
            Err(why) => self.reject(now, conn, &why),
        }
    }

    pub(super) fn handshaken(&mut self, now: Instant, conn: ConnId, key: &PublicKey) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let Stage::Handshaking = connection.stage else { return };
        let id = connection.grant.id;
        let held = self.grants.get_mut(&id).filter(|held| !held.void && self.online);
        let why = match held {
            None => "the grant is void",
            Some(_) if *key != connection.grant.cnf => "the client key is not the grant's",
            Some(held) => {
                let most = usize::try_from(held.grant.connections.get()).unwrap_or(usize::MAX);
                let over = held.verified >= most || self.verified >= self.config.limits.connections;
                held.verified += 1;
                connection.stage = Stage::Verified(now, Step::Go { over });
                let cookie = connection.cookie;
                self.pending -= 1;
                self.verified += 1;
                self.timers.set(Timer::Connection(conn), now + GO_WAIT + SLACK);
                return self.report(id, cookie, State::Verified, "");
            }
        };
        self.outputs.push_back(Output::Drop { conn });
        self.reject(now, conn, why);
    }

    pub(super) fn handshake_failed(&mut self, now: Instant, conn: ConnId, why: &str) {
        if self.connections.get(&conn).is_some_and(|connection| !connection.is_verified()) {
            self.reject(now, conn, why);
        }
    }

    /// Nobody was turned away, so there is nothing to report: the relay knows what it closed.
    pub(super) fn unused(&mut self, now: Instant, conn: ConnId) {
        let waits = self.connections.get(&conn).is_some_and(|connection| !connection.is_verified());
        if waits && self.forget(now, conn).is_some() {
            self.pending -= 1;
        }
    }

    pub(super) fn go(&mut self, now: Instant, conn: ConnId, go: &Go) {
        let Some(Step::Go { over }) = self.step(conn) else { return };
        let over = *over;
        if let Err((reason, detail)) = self.join_session(now, conn, go, over) {
            return self.refuse(now, conn, reason, detail);
        }
        let Some(connection) = self.connections.get(&conn) else { return };
        let port = connection.grant.port.get();
        match connection.grant.host.clone() {
            Host::Device => {
                let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
                self.dial(now, conn, loopback.map(|ip| SocketAddr::new(ip, port)).to_vec());
            }
            Host::Address(ip) => self.dial_checked(now, conn, vec![ip]),
            Host::Name(host) => {
                self.set_step(conn, Step::Resolve);
                self.timers.set(Timer::Connection(conn), now + RESOLVE_WAIT + SLACK);
                self.outputs.push_back(Output::Resolve { conn, host, port });
            }
        }
    }

    /// Begins the grant's session or joins it: the one place where a grant is redeemed.
    fn join_session(&mut self, now: Instant, conn: ConnId, go: &Go, over: bool) -> Result<(), Refused> {
        let refused = |reason: Refusal| Err((reason, reason.to_string()));
        let id = self.connections[&conn].grant.id;
        let Some(held) = self.grants.get_mut(&id).filter(|held| !held.void) else {
            return refused(Refusal::Over);
        };
        match (&held.session, go.session) {
            (Some(_), None) => return refused(Refusal::InUse),
            (None, Some(_)) => return refused(Refusal::WrongSession),
            (Some(session), Some(shown)) if session.id != shown => return refused(Refusal::WrongSession),
            _ if over => return refused(Refusal::TooMany),
            (Some(_), Some(_)) => {}
            (None, None) => {
                let deadline = now + held.grant.session;
                let id = super::session_id(&self.config.secret, held.grant.id);
                held.session = Some(Session { id, deadline });
                self.timers.set(Timer::Grant(held.grant.id), deadline);
            }
        }
        Ok(())
    }

    pub(super) fn resolved(&mut self, now: Instant, conn: ConnId, addresses: Result<Vec<IpAddr>, String>) {
        let Some(Step::Resolve) = self.step(conn) else { return };
        match addresses {
            Ok(addresses) if !addresses.is_empty() => self.dial_checked(now, conn, addresses),
            Ok(_) => self.refuse(now, conn, Refusal::Unresolved, Refusal::Unresolved.to_string()),
            Err(why) => self.refuse(now, conn, Refusal::Unresolved, why),
        }
    }

    /// Dials those of another host's addresses that may be reached.
    fn dial_checked(&mut self, now: Instant, conn: ConnId, addresses: Vec<IpAddr>) {
        let Some(connection) = self.connections.get(&conn) else { return };
        let port = connection.grant.port.get();
        let (mut allowed, mut forbidden) = (Vec::new(), None);
        for ip in addresses.into_iter().take(ADDRESSES_LIMIT) {
            match address::check(ip, &self.forbidden).and_then(|()| address::check(ip, &self.own)) {
                Ok(()) => allowed.push(SocketAddr::new(ip, port)),
                Err(why) => forbidden = Some(format!("{ip}: {why}")),
            }
        }
        match (allowed.is_empty(), forbidden) {
            (true, why) => self.refuse(now, conn, Refusal::Forbidden, why.unwrap_or_default()),
            (false, _) => self.dial(now, conn, allowed),
        }
    }

    fn dial(&mut self, now: Instant, conn: ConnId, addresses: Vec<SocketAddr>) {
        self.set_step(conn, Step::Dial(addresses.clone()));
        self.timers.set(Timer::Connection(conn), now + DIAL_WAIT + SLACK);
        self.outputs.push_back(Output::Dial { conn, addresses });
    }

    pub(super) fn dialed(&mut self, now: Instant, conn: ConnId, result: Result<SocketAddr, String>) {
        let Some(Step::Dial(asked)) = self.step(conn) else { return };
        let address = match result {
            Ok(address) if asked.contains(&address) => address,
            Ok(_) => return self.refuse(now, conn, Refusal::Forbidden, Refusal::Forbidden.to_string()),
            Err(why) => return self.refuse(now, conn, Refusal::Unreachable, why),
        };
        let Some(connection) = self.connections.get(&conn) else { return };
        let grant = connection.grant.clone();
        let Some(session) = self.grants.get(&grant.id).and_then(|held| held.session.as_ref()) else {
            return self.refuse(now, conn, Refusal::Over, Refusal::Over.to_string());
        };
        let answer = Answer::Ready { session: session.id, address: address.to_string() };
        let limits = PairLimits {
            idle: grant.idle,
            linger: LINGER,
            deadline: Some(session.deadline),
            rate: grant.rate,
        };
        self.set_step(conn, Step::Carry(address));
        self.timers.clear(Timer::Connection(conn));
        self.outputs.push_back(Output::Answer { conn, answer });
        self.outputs.push_back(Output::Carry { conn, limits });
    }

    pub(super) fn ended(&mut self, now: Instant, conn: ConnId, end: PairEnd) {
        let Some(connection) = self.connections.get(&conn) else { return };
        match connection.is_verified() {
            true => self.record(now, conn, end),
            false => self.reject(now, conn, "the connection closed before its handshake was done"),
        }
    }

    /// The connection did not reach its next stage in time.
    pub(super) fn overdue(&mut self, now: Instant, conn: ConnId) {
        let Some(connection) = self.connections.get(&conn) else { return };
        if !connection.is_verified() {
            self.outputs.push_back(Output::Drop { conn });
            return self.reject(now, conn, "no initiator came in time");
        }
        self.refuse(now, conn, Refusal::TimedOut, Refusal::TimedOut.to_string());
    }

    /// Ends a connection from this side, in the way its stage asks for.
    pub(super) fn end_connection(&mut self, now: Instant, conn: ConnId, reason: EndReason) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        match &mut connection.stage {
            Stage::DialingBack | Stage::Handshaking => {
                self.outputs.push_back(Output::Drop { conn });
                self.reject(now, conn, "the grant is over");
            }
            Stage::Verified(_, step) => match step {
                Step::Carry(address) => {
                    *step = Step::Cut(*address, reason);
                    self.outputs.push_back(Output::Cut { conn, reason });
                }
                Step::Cut(..) => {}
                Step::Go { .. } | Step::Resolve | Step::Dial(_) => {
                    let answer = Answer::Refused { reason: Refusal::Over, detail: Refusal::Over.to_string() };
                    self.outputs.push_back(Output::Answer { conn, answer });
                    self.record(now, conn, PairEnd { to_target: 0, to_initiator: 0, reason });
                }
            },
        }
    }

    fn refuse(&mut self, now: Instant, conn: ConnId, reason: Refusal, detail: String) {
        self.outputs.push_back(Output::Answer { conn, answer: Answer::Refused { reason, detail } });
        self.record(now, conn, PairEnd { to_target: 0, to_initiator: 0, reason: EndReason::Refused });
    }

    /// Forgets a connection that never counted.
    fn reject(&mut self, now: Instant, conn: ConnId, why: &str) {
        let Some(connection) = self.forget(now, conn) else { return };
        self.pending -= 1;
        self.report(connection.grant.id, connection.cookie, State::Rejected, why);
    }

    /// Forgets a connection that counted, and keeps its record.
    fn record(&mut self, now: Instant, conn: ConnId, end: PairEnd) {
        let Some(connection) = self.forget(now, conn) else { return };
        let Stage::Verified(since, step) = connection.stage else { return };
        self.verified -= 1;
        let (resolved, reason) = match step {
            Step::Go { .. } | Step::Resolve | Step::Dial(_) => (None, end.reason),
            Step::Carry(address) => (Some(address), end.reason),
            Step::Cut(address, reason) => (Some(address), reason),
        };
        let record = TunnelRecord {
            grant: connection.grant.id,
            cookie: connection.cookie,
            device: self.config.device,
            resolved,
            opened: self.clock.at(since),
            closed: self.clock.at(now),
            to_target: end.to_target,
            to_initiator: end.to_initiator,
            reason,
        };
        self.records.push(record, self.config.limits.records);
        self.send_records(now);
    }

    fn forget(&mut self, now: Instant, conn: ConnId) -> Option<Connection> {
        let connection = self.connections.remove(&conn)?;
        self.cookies.remove(&connection.cookie);
        self.timers.clear(Timer::Connection(conn));
        let id = connection.grant.id;
        if let Some(held) = self.grants.get_mut(&id) {
            held.connections.remove(&conn);
            held.verified -= usize::from(connection.is_verified());
        }
        self.rest_or_forget(now, id);
        Some(connection)
    }

    fn report(&mut self, id: GrantId, cookie: Cookie, state: State, reason: &str) {
        let (grant, cookie) = (id.to_vec().into(), cookie.as_bytes().to_vec().into());
        let reason = reason.to_owned();
        self.send(Message::TunnelState(TunnelState { grant, cookie, state: state.into(), reason }));
    }

    /// Whether addresses are judged for the connection, the device's own among them: its grant is for another host.
    pub fn judges_addresses(&self, conn: ConnId) -> bool {
        self.connections.get(&conn).is_some_and(|connection| connection.grant.host != Host::Device)
    }

    /// Whether the connection's bytes flow.
    pub(super) fn is_carried(&self, conn: ConnId) -> bool {
        matches!(self.step(conn), Some(Step::Carry(_) | Step::Cut(..)))
    }

    fn step(&self, conn: ConnId) -> Option<&Step> {
        match &self.connections.get(&conn)?.stage {
            Stage::Verified(_, step) => Some(step),
            Stage::DialingBack | Stage::Handshaking => None,
        }
    }

    fn set_step(&mut self, conn: ConnId, next: Step) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if let Stage::Verified(_, step) = &mut connection.stage {
            *step = next;
        }
    }
}

impl Connection {
    pub(super) fn is_verified(&self) -> bool {
        matches!(self.stage, Stage::Verified(..))
    }
}

/// Most addresses of a name that are tried.
const ADDRESSES_LIMIT: usize = 8;
