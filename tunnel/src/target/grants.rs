//! Grants at the target: which are taken, and when they end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use klnet_wire::id::GrantId;
use klnet_wire::keyset::Purpose;
use klnet_wire::message::tunnel::State;
use klnet_wire::message::{Message, Revoke, TunnelState};
use klnet_wire::signed::{BadSignature, Context, Signed};

use super::{Target, Timer};
use crate::grant::{Grant, GrantError};
use crate::pair::{ConnId, EndReason};
use crate::policy::PolicyError;
use crate::stream::SessionId;

/// A grant that was taken and has not ended.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) grant: Arc<Grant>,
    pub(super) session: Option<Session>,
    /// A new session of the agent began: live connections go on, no new one is taken.
    pub(super) void: bool,
    /// Since when a session that began has had no connection.
    pub(super) resting: Option<Instant>,
    pub(super) connections: BTreeSet<ConnId>,
    pub(super) verified: usize,
}

/// The one session of a grant, once its first GO came.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) deadline: Instant,
}

/// Why a target does not take a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefusedGrant {
    /// No key set came yet.
    #[error("the device has no key set yet")]
    NoKeys,
    /// No grant key of the fabric signed exactly these bytes.
    #[error("the grant: {0}")]
    Signature(#[from] BadSignature),
    /// Its bytes are no grant.
    #[error(transparent)]
    Unreadable(#[from] GrantError),
    /// For another device.
    #[error("the grant is for another device")]
    OtherDevice,
    /// For another tenant.
    #[error("the grant is for another tenant")]
    OtherTenant,
    /// For another server's relay.
    #[error("the grant is for another server")]
    OtherServer,
    /// For another session of the agent, or none is there.
    #[error("the grant is for another session of the agent")]
    OtherEpoch,
    /// It has a route, which this version does not serve.
    #[error("the grant has a route of further hops, which this agent does not serve")]
    Route,
    /// The device's own policy forbids it.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// It came before.
    #[error("the grant came before")]
    Replayed,
    /// As many grants as the device keeps are live.
    #[error("the device holds as many grants as it keeps")]
    TooMany,
}

impl Target {
    pub(super) fn take(&mut self, now: Instant, signed: &Signed) {
        let (id, state, reason) = match self.judge(signed) {
            Ok(grant) => (Some(self.hold(now, grant)), State::GrantAccepted, String::new()),
            // The name in refused bytes is only repeated to whoever sent them.
            Err(why) => {
                (Grant::read(&signed.bytes).ok().map(|grant| grant.id), State::GrantRefused, why.to_string())
            }
        };
        let grant = id.map_or_else(Vec::new, GrantId::to_vec).into();
        let state = TunnelState { grant, cookie: Default::default(), state: state.into(), reason };
        self.send(Message::TunnelState(state));
    }

    fn judge(&self, signed: &Signed) -> Result<Grant, RefusedGrant> {
        let keys = self.keys.as_ref().ok_or(RefusedGrant::NoKeys)?;
        let bytes = keys.check_without_clock(signed, Context::Grant, Purpose::Grant)?;
        let grant = Grant::read(bytes)?;
        if grant.device != self.config.device {
            return Err(RefusedGrant::OtherDevice);
        }
        if grant.tenant != self.config.tenant {
            return Err(RefusedGrant::OtherTenant);
        }
        if self.relay.is_some_and(|relay| relay != grant.audience) {
            return Err(RefusedGrant::OtherServer);
        }
        if !self.online || self.epoch != Some(grant.epoch) {
            return Err(RefusedGrant::OtherEpoch);
        }
        if !grant.route.is_empty() {
            return Err(RefusedGrant::Route);
        }
        self.config.policy.check(&grant)?;
        if self.seen.contains(&grant) || self.grants.contains_key(&grant.id) {
            return Err(RefusedGrant::Replayed);
        }
        if self.grants.len() >= self.config.limits.grants && self.longest_resting().is_none() {
            return Err(RefusedGrant::TooMany);
        }
        Ok(grant)
    }

    /// The grant that makes room for another: nobody has used its session for the longest time.
    fn longest_resting(&self) -> Option<GrantId> {
        let resting = self.grants.values().filter_map(|held| Some((held.resting?, held.grant.id)));
        resting.min().map(|(_, id)| id)
    }

    fn hold(&mut self, now: Instant, grant: Grant) -> GrantId {
        let id = grant.id;
        if self.grants.len() >= self.config.limits.grants
            && let Some(resting) = self.longest_resting()
        {
            self.end_grant(now, resting, EndReason::SessionOver);
        }
        self.seen.insert(&grant, self.config.limits.seen);
        self.timers.set(Timer::Grant(id), now + grant.start);
        let held = Held {
            grant: Arc::new(grant),
            session: None,
            void: false,
            resting: None,
            connections: BTreeSet::new(),
            verified: 0,
        };
        self.grants.insert(id, held);
        id
    }

    pub(super) fn revoke(&mut self, now: Instant, revoke: &Revoke) {
        for id in &revoke.grants {
            if let Ok(id) = GrantId::try_from(&id[..]) {
                self.end_grant(now, id, EndReason::Revoked);
            }
        }
    }

    /// Ends a grant and every connection of it.
    pub(super) fn end_grant(&mut self, now: Instant, id: GrantId, reason: EndReason) {
        let Some(held) = self.grants.remove(&id) else { return };
        self.timers.clear(Timer::Grant(id));
        self.timers.clear(Timer::Orphan(id));
        for conn in held.connections {
            self.end_connection(now, conn, reason);
        }
    }

    /// Lets no new connection of any grant begin; those that are carried go on.
    pub(super) fn void_grants(&mut self, now: Instant) {
        let ids: Vec<_> = self.grants.keys().copied().collect();
        for id in ids {
            let Some(held) = self.grants.get_mut(&id) else { continue };
            held.void = true;
            for conn in held.connections.clone() {
                if !self.is_carried(conn) {
                    self.end_connection(now, conn, EndReason::Refused);
                }
            }
            self.rest_or_forget(now, id);
        }
    }

    /// After a connection went: a void grant without connections is forgotten, a session without them rests
    /// for at most the idle limit.
    pub(super) fn rest_or_forget(&mut self, now: Instant, id: GrantId) {
        let Some(held) = self.grants.get_mut(&id).filter(|held| held.connections.is_empty()) else { return };
        if held.void {
            self.end_grant(now, id, EndReason::Refused);
        } else if let Some(session) = &held.session {
            held.resting = Some(now);
            self.timers.set(Timer::Grant(id), session.deadline.min(now + held.grant.idle));
        }
    }
}
