//! Grants at the relay: which are admitted, and when they end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use klnet_wire::id::{DeviceId, GrantId};
use klnet_wire::message::Tunnels;

use super::window::Window;
use super::{AdmitError, CLOCK_SKEW, Output, RefusedHello, Relay, Scope, Timer, Whose};
use crate::grant::Grant;
use crate::label::{Cookie, LabelSecret};
use crate::pair::{ConnId, EndReason, PairId};

/// A grant that was admitted and has not ended.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) grant: Arc<Grant>,
    pub(super) window: Window,
    /// Until when the session must begin or, once begun, lasts.
    pub(super) deadline: Instant,
    pub(super) begun: bool,
    /// The device has a new session: live pairs go on, no new one is made.
    pub(super) void: bool,
    /// Since when a session that began has had no pair.
    pub(super) resting: Option<Instant>,
    /// Dial-backs asked for or waiting.
    pub(super) spares: BTreeSet<Cookie>,
    /// Those that wait, the oldest first.
    pub(super) ready: VecDeque<Cookie>,
    /// Initiators that wait, the oldest first.
    pub(super) waiters: VecDeque<ConnId>,
    pub(super) pairs: BTreeSet<PairId>,
    pub(super) verified: usize,
    /// Whether it stands in the queue for room for a dial-back.
    pub(super) starved: bool,
}

impl Admitted {
    /// One that has not begun.
    pub(super) fn new(grant: Arc<Grant>, window: Window, deadline: Instant) -> Self {
        Self {
            grant,
            window,
            deadline,
            begun: false,
            void: false,
            resting: None,
            spares: BTreeSet::new(),
            ready: VecDeque::new(),
            waiters: VecDeque::new(),
            pairs: BTreeSet::new(),
            verified: 0,
            starved: false,
        }
    }
}

impl Relay {
    /// Takes a grant at mint and asks its device for a dial-back ahead of need.
    ///
    /// # Errors
    /// [`AdmitError`], and nothing was changed.
    pub fn admit(
        &mut self,
        now: Instant,
        now_unix: u64,
        grant: Arc<Grant>,
        secret: LabelSecret,
    ) -> Result<(), AdmitError> {
        let evicted = self.judge(now_unix, &grant)?;
        if let Some(id) = evicted {
            self.end_grant(id, EndReason::SessionOver);
            let (device, reason) = (grant.device, "another grant needed its place");
            self.outputs.push_back(Output::RevokeAt { device, grants: vec![id], reason });
        }
        let id = grant.id;
        let (window, moved) = Window::new(secret, id);
        self.labels.extend(moved.entered.into_iter().map(|(label, n)| (label, (id, n))));
        self.accounts.add_grant(&grant);
        let deadline = now + grant.start;
        self.timers.set(Timer::Grant(id), deadline);
        self.spent.insert(id);
        self.timers.set(Timer::Spent(id), deadline + 2 * CLOCK_SKEW);
        let admitted = Admitted::new(grant, window, deadline);
        self.grants.insert(id, admitted);
        self.ask(now, id);
        self.feed_starved(now);
        Ok(())
    }

    /// Whether the grant may be admitted, and which resting one of its device has to make room.
    fn judge(&self, now_unix: u64, grant: &Grant) -> Result<Option<GrantId>, AdmitError> {
        if grant.audience != self.config.audience {
            return Err(AdmitError::Audience);
        }
        if !grant.route.is_empty() {
            return Err(AdmitError::Route);
        }
        if now_unix > grant.issued.saturating_add(grant.start.as_secs()) {
            return Err(AdmitError::Expired);
        }
        if grant.issued > now_unix.saturating_add(CLOCK_SKEW.as_secs()) {
            return Err(AdmitError::Future);
        }
        match self.online.get(&grant.device) {
            None => return Err(AdmitError::Offline),
            Some(epoch) if *epoch != grant.epoch => return Err(AdmitError::Epoch),
            Some(_) => {}
        }
        if self.spent.contains(&grant.id) || self.grants.contains_key(&grant.id) {
            return Err(AdmitError::Replayed);
        }
        let limits = &self.config.limits;
        if self.grants.len() >= limits.grants || self.spent.len() >= limits.spent {
            return Err(AdmitError::TooMany(Whose::Relay));
        }
        if let Some(whose) = self.accounts.crowded(grant, limits) {
            return Err(AdmitError::Crowded(whose));
        }
        let evicted = match self.accounts.full(grant, limits, None) {
            Some(Whose::Device) => self.longest_resting(grant.device),
            _ => None,
        };
        // A place at the device is none at another account that is full.
        let going = evicted.and_then(|id| self.grants.get(&id)).map(|admitted| &*admitted.grant);
        match self.accounts.full(grant, limits, going) {
            None => Ok(evicted),
            Some(whose) => Err(AdmitError::TooMany(whose)),
        }
    }

    fn longest_resting(&self, device: DeviceId) -> Option<GrantId> {
        let ids = self.accounts.of_device(device);
        let resting = ids.into_iter().filter_map(|id| Some((self.grants.get(&id)?.resting?, id)));
        resting.min().map(|(_, id)| id)
    }

    pub(super) fn device_online(&mut self, now: Instant, device: DeviceId, epoch: u64) {
        self.online.insert(device, epoch);
        for id in self.accounts.of_device(device) {
            self.timers.clear(Timer::Orphan(id));
            if self.grants.get(&id).is_some_and(|admitted| admitted.grant.epoch != epoch) {
                self.void(now, id);
            }
        }
    }

    pub(super) fn device_offline(&mut self, now: Instant, device: DeviceId) {
        if self.online.remove(&device).is_none() {
            return;
        }
        for id in self.accounts.of_device(device) {
            if let Some(admitted) = self.grants.get(&id) {
                self.timers.set(Timer::Orphan(id), now + admitted.grant.orphan);
            }
        }
    }

    /// Ends at the device what this relay knows nothing of: it was revoked while the device was away.
    pub(super) fn tunnels_at(&mut self, device: DeviceId, tunnels: &Tunnels) {
        let ids = tunnels.grants.iter().filter_map(|id| GrantId::try_from(&id[..]).ok());
        let of_device = |id: &GrantId| self.grants.get(id).is_some_and(|it| it.grant.device == device);
        let grants: Vec<_> = ids.filter(|id| !of_device(id)).collect();
        if !grants.is_empty() {
            let reason = "the relay does not know the grant";
            self.outputs.push_back(Output::RevokeAt { device, grants, reason });
        }
    }

    pub(super) fn revoke(&mut self, scope: Scope) {
        let ids = match scope {
            Scope::Grant(id) => vec![id],
            Scope::Device(device) => self.accounts.of_device(device),
            Scope::Operator(operator) => self.accounts.of_operator(operator),
            Scope::Tenant(tenant) => self.accounts.of_tenant(tenant),
            Scope::All => self.grants.keys().copied().collect(),
        };
        let mut devices = BTreeMap::<_, Vec<_>>::new();
        for id in ids {
            if let Some(admitted) = self.grants.get(&id) {
                devices.entry(admitted.grant.device).or_default().push(id);
                self.end_grant(id, EndReason::Revoked);
            }
        }
        for (device, grants) in devices {
            self.outputs.push_back(Output::RevokeAt { device, grants, reason: "revoked" });
        }
    }

    /// Ends every grant because the server stops; devices hear of that by their sessions' end.
    pub(super) fn shut_down(&mut self) {
        while let Some(id) = self.grants.keys().next().copied() {
            self.end_grant(id, EndReason::Shutdown);
        }
    }

    /// Ends a grant and every pair and waiting socket of it.
    pub(super) fn end_grant(&mut self, id: GrantId, reason: EndReason) {
        self.close_to_new(id);
        let Some(admitted) = self.grants.remove(&id) else { return };
        self.timers.clear(Timer::Grant(id));
        self.timers.clear(Timer::Orphan(id));
        self.accounts.remove_grant(&admitted.grant);
        for pair in admitted.pairs {
            self.cut(pair, reason);
        }
    }

    /// Lets live pairs of a grant go on and no new one begin.
    fn void(&mut self, now: Instant, id: GrantId) {
        self.forbid_new(id);
        let Some(admitted) = self.grants.get(&id) else { return };
        for pair in admitted.pairs.clone() {
            if self.pairs.get(&pair).is_some_and(|pair| !pair.verified) {
                self.cut(pair, EndReason::Rejected);
            }
        }
        self.rest_or_forget(now, id);
    }

    /// Lets no new pair of a grant begin.
    pub(super) fn forbid_new(&mut self, id: GrantId) {
        self.close_to_new(id);
        if let Some(admitted) = self.grants.get_mut(&id) {
            admitted.void = true;
        }
    }

    /// Drops every waiting socket of a grant and forgets its labels.
    fn close_to_new(&mut self, id: GrantId) {
        let Some(admitted) = self.grants.get_mut(&id) else { return };
        for label in admitted.window.labels() {
            self.labels.remove(&label);
        }
        let waiters = std::mem::take(&mut admitted.waiters);
        let spares = std::mem::take(&mut admitted.spares);
        admitted.ready.clear();
        self.timers.clear(Timer::Refill(id));
        for conn in waiters {
            self.refuse_waiter(conn, RefusedHello::Over);
        }
        for cookie in spares {
            self.drop_spare(cookie);
        }
    }

    /// After a pair went: a void grant without pairs is forgotten, a session without them rests for at most
    /// the idle limit.
    pub(super) fn rest_or_forget(&mut self, now: Instant, id: GrantId) {
        let Some(admitted) = self.grants.get_mut(&id).filter(|it| it.pairs.is_empty()) else { return };
        if admitted.void {
            self.end_grant(id, EndReason::Rejected);
        } else if admitted.begun {
            admitted.resting = Some(now);
            self.timers.set(Timer::Grant(id), admitted.deadline.min(now + admitted.grant.idle));
        }
    }
}
