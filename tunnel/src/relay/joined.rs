//! Joined pairs: unverified at first, counted once the agent has verified the operator's key.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use klnet_wire::id::{DeviceId, GrantId};
use klnet_wire::message::TunnelState;
use klnet_wire::message::tunnel::State;

use super::spare::Initiator;
use super::{IDLE_SLACK, Output, RefusedHello, Relay, RelayRecord, Timer, VERIFY_WAIT};
use crate::grant::Grant;
use crate::label::Cookie;
use crate::pair::{EndReason, LINGER, PairEnd, PairId, PairLimits};

/// Two sockets whose bytes the driver moves.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) grant: Arc<Grant>,
    pub(super) n: u32,
    pub(super) cookie: Cookie,
    pub(super) initiator: SocketAddr,
    pub(super) opened: Instant,
    pub(super) verified: bool,
    /// Why it was cut; its end is on its way.
    pub(super) cut: Option<EndReason>,
}

impl Relay {
    pub(super) fn join(&mut self, now: Instant, initiator: Initiator, cookie: Cookie) {
        let target = self.take_spare(cookie).and_then(|spare| spare.conn);
        let target = target.expect("only a dial-back that came is joined");
        let admitted = self.grants.get_mut(&initiator.grant).expect("a live grant's initiator is joined");
        let pair = PairId(self.next_pair);
        self.next_pair += 1;
        admitted.pairs.insert(pair);
        admitted.resting = None;
        let grant = admitted.grant.clone();
        let deadline = if admitted.begun { admitted.deadline } else { now + grant.session };
        if admitted.begun {
            self.timers.set(Timer::Grant(grant.id), deadline);
        }
        let (tenant, limits) = (grant.tenant, limits(&grant, deadline));
        let (n, peer) = (initiator.n, initiator.peer);
        let joined = Joined { grant, n, cookie, initiator: peer, opened: now, verified: false, cut: None };
        self.pairs.insert(pair, joined);
        self.joined.insert(cookie, pair);
        self.timers.set(Timer::Verify(pair), now + VERIFY_WAIT);
        self.outputs.push_back(Output::Join { pair, tenant, initiator: initiator.conn, target, limits });
    }

    pub(super) fn state(&mut self, now: Instant, state: &TunnelState, device: DeviceId) {
        if state.cookie.is_empty() {
            return self.grant_state(state, device);
        }
        let Ok(cookie) = Cookie::try_from(&state.cookie[..]) else { return };
        let Some(pair) = self.joined.get(&cookie).copied() else {
            match state.state() {
                State::Verified => self.late_state(now, cookie, device, true),
                State::Rejected => {
                    self.spare_rejected(cookie, device);
                    self.late_state(now, cookie, device, false);
                }
                State::Unknown | State::GrantAccepted | State::GrantRefused => {}
            }
            return;
        };
        // An agent speaks for its own device's connections only.
        if !self.pairs.get(&pair).is_some_and(|joined| joined.grant.device == device && !joined.verified) {
            return;
        }
        match state.state() {
            State::Verified => self.verify(now, pair),
            State::Rejected => self.cut(pair, EndReason::Rejected),
            State::Unknown | State::GrantAccepted | State::GrantRefused => {}
        }
    }

    fn grant_state(&mut self, state: &TunnelState, device: DeviceId) {
        let Ok(id) = GrantId::try_from(&state.grant[..]) else { return };
        let of_device = self.grants.get(&id).is_some_and(|admitted| admitted.grant.device == device);
        if of_device && state.state() == State::GrantRefused {
            self.end_grant(id, EndReason::Rejected);
        }
    }

    /// Counts a pair among its grant's connections. One that was cut with its grant meanwhile has a record all the
    /// same: the device has one too.
    fn verify(&mut self, now: Instant, pair: PairId) {
        let rejected = |joined: &&mut Joined| joined.cut == Some(EndReason::Rejected);
        let Some(joined) = self.pairs.get_mut(&pair).filter(|joined| !rejected(joined)) else { return };
        joined.verified = true;
        let (grant, n) = (joined.grant.clone(), joined.n);
        self.timers.clear(Timer::Verify(pair));
        self.accounts.add_connection(&grant);
        let id = grant.id;
        let Some(admitted) = self.grants.get_mut(&id) else { return };
        admitted.verified += 1;
        let most = usize::try_from(grant.connections.get()).unwrap_or(usize::MAX);
        // Several may have been joined when there was room for one.
        let over = admitted.verified > most || self.accounts.over(&grant, &self.config.limits).is_some();
        self.count(now, id, n);
        if over {
            self.cut(pair, EndReason::OverLimit);
        }
    }

    /// Uses up a label, and begins the session with the first.
    pub(super) fn count(&mut self, now: Instant, id: GrantId, n: u32) {
        let Some(admitted) = self.grants.get_mut(&id) else { return };
        if !admitted.begun {
            admitted.begun = true;
            admitted.deadline = now + admitted.grant.session;
            self.timers.set(Timer::Grant(id), admitted.deadline);
        }
        if admitted.void {
            return; // its labels are gone already
        }
        let moved = admitted.window.consume(n);
        for label in moved.left {
            self.labels.remove(&label);
        }
        self.labels.extend(moved.entered.into_iter().map(|(label, n)| (label, (id, n))));
    }

    /// Ends a pair from this side; its label is free again when it never counted.
    pub(super) fn cut(&mut self, pair: PairId, reason: EndReason) {
        let Some(joined) = self.pairs.get_mut(&pair).filter(|joined| joined.cut.is_none()) else { return };
        joined.cut = Some(reason);
        self.timers.clear(Timer::Verify(pair));
        self.outputs.push_back(Output::Cut { pair, reason });
        if !joined.verified {
            let (id, n) = (joined.grant.id, joined.n);
            if let Some(admitted) = self.grants.get_mut(&id) {
                admitted.window.release(n);
            }
        }
    }

    pub(super) fn ended(&mut self, now: Instant, pair: PairId, end: PairEnd) {
        let Some(joined) = self.pairs.remove(&pair) else { return };
        self.timers.clear(Timer::Verify(pair));
        self.joined.remove(&joined.cookie);
        if joined.verified {
            self.accounts.remove_connection(&joined.grant);
        }
        let id = joined.grant.id;
        if let Some(admitted) = self.grants.get_mut(&id) {
            admitted.pairs.remove(&pair);
            admitted.verified -= usize::from(joined.verified);
            // A cut pair gave its label back already, and another may have taken it since.
            if !joined.verified && joined.cut.is_none() {
                admitted.window.release(joined.n);
            }
        }
        self.rest_or_forget(now, id);
        let reason = joined.cut.unwrap_or(end.reason);
        let end = PairEnd { reason, ..end };
        match joined.verified || joined.cut == Some(EndReason::Rejected) {
            true => self.outputs.push_back(joined.over(now, end)),
            false => self.keep_late(joined, now, end),
        }
    }
}

/// What the mover of a grant's pair keeps to.
pub(super) fn limits(grant: &Grant, deadline: Instant) -> PairLimits {
    let (idle, linger) = (grant.idle + IDLE_SLACK, LINGER + IDLE_SLACK);
    PairLimits { idle, linger, deadline: Some(deadline), rate: grant.rate }
}

impl Joined {
    /// Whether the agent may still say that it has verified the key.
    pub(super) fn is_undecided(&self) -> bool {
        !self.verified && self.cut.is_none()
    }

    pub(super) fn over(self, closed: Instant, end: PairEnd) -> Output {
        let Self { grant, cookie, initiator, opened, .. } = self;
        if !self.verified {
            let why = RefusedHello::Rejected;
            return Output::Refused { why, grant: Some(grant.id), peer: Some(initiator) };
        }
        let (tenant, device, operator) = (grant.tenant, grant.device, grant.operator);
        let grant = grant.id;
        Output::Record(RelayRecord {
            grant,
            cookie,
            tenant,
            device,
            operator,
            initiator,
            opened,
            closed,
            end,
        })
    }
}
