//! What each device, operator and tenant has, against its limits.

use std::collections::{BTreeSet, HashMap};

use klnet_wire::id::{DeviceId, GrantId, OperatorId, TenantId};

use super::{Limits, Whose};
use crate::grant::Grant;
use crate::label::Cookie;

/// Every account of a relay; one without anything is forgotten.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    devices: HashMap<DeviceId, Account>,
    operators: HashMap<OperatorId, Account>,
    tenants: HashMap<TenantId, Account>,
    relay: Account,
}

#[derive(Debug, Default)]
struct Account {
    grants: BTreeSet<GrantId>,
    /// Verified connections.
    connections: usize,
    /// Dial-backs asked for or waiting.
    spares: usize,
    /// Those that wait and that nobody waits for, by age.
    ready: BTreeSet<Ready>,
}

/// A dial-back that came, with its number in the order they were asked for.
pub(super) type Ready = (u64, Cookie);

impl Accounts {
    /// Whose account has as many grants as its limit, once `evicted` has gone.
    pub(super) fn full(&self, grant: &Grant, limits: &Limits, evicted: Option<&Grant>) -> Option<Whose> {
        let full = |account: Option<&Account>, limit| {
            let left = |it: &Account| {
                it.grants.len() - usize::from(evicted.is_some_and(|evicted| it.grants.contains(&evicted.id)))
            };
            account.is_some_and(|it| left(it) >= limit)
        };
        if full(self.devices.get(&grant.device), limits.grants_per_device) {
            return Some(Whose::Device);
        }
        if full(self.operators.get(&grant.operator), limits.grants_per_operator) {
            return Some(Whose::Operator);
        }
        full(self.tenants.get(&grant.tenant), limits.grants_per_tenant).then_some(Whose::Tenant)
    }

    pub(super) fn add_grant(&mut self, grant: &Grant) {
        self.each(grant, |account| {
            account.grants.insert(grant.id);
        });
    }

    pub(super) fn remove_grant(&mut self, grant: &Grant) {
        self.each(grant, |account| {
            account.grants.remove(&grant.id);
        });
        self.forget_empty(grant);
    }

    /// Whose account has as many verified connections as its limit.
    pub(super) fn crowded(&self, grant: &Grant, limits: &Limits) -> Option<Whose> {
        self.with_connections(grant, limits, |has, limit| has >= limit)
    }

    /// Whose account has more verified connections than its limit.
    pub(super) fn over(&self, grant: &Grant, limits: &Limits) -> Option<Whose> {
        self.with_connections(grant, limits, |has, limit| has > limit)
    }

    fn with_connections(
        &self,
        grant: &Grant,
        limits: &Limits,
        reached: impl Fn(usize, usize) -> bool,
    ) -> Option<Whose> {
        let reached =
            |account: Option<&Account>, limit| account.is_some_and(|it| reached(it.connections, limit));
        if reached(self.devices.get(&grant.device), limits.connections_per_device) {
            return Some(Whose::Device);
        }
        if reached(self.operators.get(&grant.operator), limits.connections_per_operator) {
            return Some(Whose::Operator);
        }
        reached(self.tenants.get(&grant.tenant), limits.connections_per_tenant).then_some(Whose::Tenant)
    }

    pub(super) fn add_connection(&mut self, grant: &Grant) {
        self.each(grant, |account| account.connections += 1);
    }

    pub(super) fn remove_connection(&mut self, grant: &Grant) {
        self.each(grant, |account| account.connections -= 1);
        self.forget_empty(grant);
    }

    /// Whether one more dial-back may be asked for.
    pub(super) fn has_room(&self, grant: &Grant, limits: &Limits) -> bool {
        self.without_room(grant, limits).is_none()
    }

    /// The oldest dial-back that nobody waits for, whose end would make room for one that somebody does.
    pub(super) fn reclaimable(&self, grant: &Grant, limits: &Limits) -> Option<Cookie> {
        self.without_room(grant, limits)?.ready.first().map(|(_, cookie)| *cookie)
    }

    fn without_room(&self, grant: &Grant, limits: &Limits) -> Option<&Account> {
        let device = self.devices.get(&grant.device).filter(|it| it.spares >= limits.spares_per_device);
        let operator = || self.operators.get(&grant.operator);
        device
            .or_else(|| operator().filter(|it| it.spares >= limits.spares_per_operator))
            .or_else(|| Some(&self.relay).filter(|it| it.spares >= limits.spares))
    }

    pub(super) fn add_spare(&mut self, grant: &Grant) {
        self.each(grant, |account| account.spares += 1);
    }

    pub(super) fn add_ready(&mut self, grant: &Grant, ready: Ready) {
        self.each(grant, |account| {
            account.ready.insert(ready);
        });
    }

    pub(super) fn remove_spare(&mut self, grant: &Grant, ready: Ready) {
        self.each(grant, |account| {
            account.spares -= 1;
            account.ready.remove(&ready);
        });
        self.forget_empty(grant);
    }

    pub(super) fn of_device(&self, device: DeviceId) -> Vec<GrantId> {
        grants(self.devices.get(&device))
    }

    pub(super) fn of_operator(&self, operator: OperatorId) -> Vec<GrantId> {
        grants(self.operators.get(&operator))
    }

    pub(super) fn of_tenant(&self, tenant: TenantId) -> Vec<GrantId> {
        grants(self.tenants.get(&tenant))
    }

    fn each(&mut self, grant: &Grant, mut change: impl FnMut(&mut Account)) {
        change(self.devices.entry(grant.device).or_default());
        change(self.operators.entry(grant.operator).or_default());
        change(self.tenants.entry(grant.tenant).or_default());
        change(&mut self.relay);
    }

    fn forget_empty(&mut self, grant: &Grant) {
        let empty = |it: &Account| it.grants.is_empty() && it.connections == 0 && it.spares == 0;
        if self.devices.get(&grant.device).is_some_and(empty) {
            self.devices.remove(&grant.device);
        }
        if self.operators.get(&grant.operator).is_some_and(empty) {
            self.operators.remove(&grant.operator);
        }
        if self.tenants.get(&grant.tenant).is_some_and(empty) {
            self.tenants.remove(&grant.tenant);
        }
    }

    #[cfg(test)]
    pub(super) const fn connections(&self) -> usize {
        self.relay.connections
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.devices.is_empty()
            && self.operators.is_empty()
            && self.tenants.is_empty()
            && (self.relay.connections, self.relay.spares) == (0, 0)
    }
}

fn grants(account: Option<&Account>) -> Vec<GrantId> {
    account.map_or_else(Vec::new, |account| account.grants.iter().copied().collect())
}
