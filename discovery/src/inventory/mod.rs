//! Merges facts into hosts: one device is one host, two devices are never one.
//!
//! A fact is about whoever has its address now; a *key* in it (identifier, card, name) may say that this is somebody
//! known. Keys have an order: an identifier outweighs a card, a card a name. Where they disagree the stronger wins, and
//! where nothing is stronger the address has passed from one device to another.
//!
//! ```text
//!                     the address has a holder       the address is free
//! key of nobody       holder learns it, or, when     a new host
//!                     it has another: a new host
//! key of an owner     the same: nothing to do;       the owner takes the address
//!                     contradicts the holder: the owner takes the address;
//!                     else the two become one, unless something stronger tells them apart
//! ```

mod change;
mod host;
mod key;
mod member;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

pub use change::{Change, Face, Watched};
pub use host::{Host, Seen};
use key::Key;

use crate::fact::{Claim, Fact, NameKind};
use crate::mac::Mac;

/// Hosts, and whose each address and key is.
#[derive(Debug, Default)]
pub struct Inventory {
    hosts: BTreeMap<HostId, Host>,
    holders: HashMap<IpAddr, HostId>,
    owners: HashMap<Key, HostId>,
    next: u64,
    /// Facts that no host was made for, for lack of room.
    refused: u64,
}

/// Names a host as long as it is known; the older of two that become one stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(u64);

impl Inventory {
    /// Takes in a fact; `None` when there is no room for another host.
    ///
    /// A name that is claimed on the link for an address that nobody has yet may be all that is ever heard from there: no
    /// neighbour can be looked for where this machine has no address. Then the card that the address was made of says whose
    /// it is.
    pub fn learn(&mut self, fact: &Fact) -> Option<HostId> {
        if matches!(fact.claim, Claim::Name(NameKind::Local, _))
            && self.holder(fact).is_none()
            && let Some(mac) = Mac::in_address(fact.address)
        {
            self.take(&Fact { claim: Claim::Mac(mac), ..*fact })?;
        }
        self.take(fact)
    }

    fn take(&mut self, fact: &Fact) -> Option<HostId> {
        let key = Key::of(fact);
        let has_room = self.holders.len() < ADDRESS_LIMIT || self.holders.contains_key(&fact.address);
        let Some(id) = has_room.then(|| self.whose(fact, key.as_ref())).flatten() else {
            self.refused += 1;
            return None;
        };
        if let Some(before) = self.holders.insert(fact.address, id).filter(|before| *before != id) {
            self.lose(before, fact.address);
        }
        self.hosts.get_mut(&id).expect("a host that was just found").learn(fact);
        match key {
            // Whoever claims it now.
            Some(key @ Key::Local(_)) => {
                self.owners.insert(key, id);
            }
            // Something stronger may have left the key with another host: then it stays there.
            Some(key) => {
                self.owners.entry(key).or_insert(id);
            }
            None => {}
        }
        Some(id)
    }

    /// The host that a fact is about: see the table above.
    fn whose(&mut self, fact: &Fact, key: Option<&Key>) -> Option<HostId> {
        let holder = self.holder(fact);
        let Some(key) = key else { return holder.or_else(|| self.add(fact.seen)) };
        let owner = self.owners.get(key).copied().filter(|owner| self.counts(key, *owner, fact));
        match (holder, owner) {
            (None, None) => self.add(fact.seen),
            (None, Some(owner)) => Some(owner),
            (Some(holder), None) if key.contradicts(&self.hosts[&holder]) => self.add(fact.seen),
            (Some(holder), None) => Some(holder),
            (Some(holder), Some(owner)) if holder == owner || key.is_of(&self.hosts[&holder]) => Some(holder),
            (Some(holder), Some(owner)) if key.contradicts(&self.hosts[&holder]) => Some(owner),
            (Some(holder), Some(owner)) => {
                let outweighed = key.is_outweighed(&self.hosts[&holder], &self.hosts[&owner]);
                Some(if outweighed { holder } else { self.merge(holder, owner) })
            }
        }
    }

    /// Who has the address, unless that is too long ago to mean the same device.
    fn holder(&self, fact: &Fact) -> Option<HostId> {
        let holder = *self.holders.get(&fact.address)?;
        let seen = self.hosts.get(&holder)?.addresses.get(&fact.address)?;
        is_fresh(seen.last, fact.seen, ADDRESS_LIFETIME).then_some(holder)
    }

    /// Whether a key says anything about its owner now. A DNS name whose owner was just now seen at another address is
    /// stale or shared; a name of the link means one device only for as long as it is claimed there.
    fn counts(&self, key: &Key, owner: HostId, fact: &Fact) -> bool {
        let seen = self.hosts[&owner].addresses.iter();
        let mut elsewhere = seen.filter(|(address, _)| **address != fact.address);
        let is_present = elsewhere.any(|(_, seen)| is_fresh(seen.last, fact.seen, PRESENT));
        match key {
            Key::Name(_) => !is_present,
            Key::Local(_) => is_present,
            Key::Directory(_) | Key::Machine(..) | Key::Mac(_) => true,
        }
    }

    /// A new host, while there is room.
    fn add(&mut self, now: SystemTime) -> Option<HostId> {
        if self.hosts.len() >= HOST_LIMIT {
            return None;
        }
        let id = HostId(self.next);
        self.next += 1;
        self.hosts.insert(id, Host::new(now));
        Some(id)
    }

    /// Makes one of two; the older keeps its name.
    fn merge(&mut self, a: HostId, b: HostId) -> HostId {
        let (stays, goes) = (a.min(b), a.max(b));
        let Some(gone) = self.hosts.remove(&goes) else { return stays };
        for address in gone.addresses.keys() {
            self.holders.insert(*address, stays);
        }
        for key in Key::all(&gone) {
            if let Some(owner) = self.owners.get_mut(&key).filter(|owner| **owner == goes) {
                *owner = stays;
            }
        }
        self.hosts.get_mut(&stays).expect("an owner or holder exists").absorb(gone);
        stays
    }

    /// The address is another's now; who had nothing else is forgotten with it.
    fn lose(&mut self, id: HostId, address: IpAddr) {
        let Some(host) = self.hosts.get_mut(&id) else { return };
        host.addresses.remove(&address);
        if host.addresses.is_empty() && Key::all(host).next().is_none() {
            self.hosts.remove(&id);
        }
    }

    /// Forgets addresses that were not seen for [`ADDRESS_LIFETIME`] and hosts not seen for [`HOST_LIFETIME`].
    pub fn expire(&mut self, now: SystemTime) {
        let gone: Vec<_> =
            self.hosts.iter().filter(|(_, host)| !is_fresh(host.last_seen, now, HOST_LIFETIME)).collect();
        let gone: Vec<_> = gone.into_iter().map(|(id, _)| *id).collect();
        for id in gone {
            self.forget(id);
        }
        for (id, host) in &mut self.hosts {
            host.addresses.retain(|address, seen| {
                let fresh = is_fresh(seen.last, now, ADDRESS_LIFETIME);
                if !fresh && self.holders.get(address) == Some(id) {
                    self.holders.remove(address);
                }
                fresh
            });
        }
    }

    fn forget(&mut self, id: HostId) {
        let Some(host) = self.hosts.remove(&id) else { return };
        for address in host.addresses.keys() {
            if self.holders.get(address) == Some(&id) {
                self.holders.remove(address);
            }
        }
        for key in Key::all(&host) {
            if self.owners.get(&key) == Some(&id) {
                self.owners.remove(&key);
            }
        }
    }

    /// Every host that counts, the longest known first.
    pub fn hosts(&self) -> impl Iterator<Item = (HostId, &Host)> {
        self.all().filter(|(_, host)| host.suspicion.is_none())
    }

    /// Every host, also those whose answers do not count.
    pub fn all(&self) -> impl Iterator<Item = (HostId, &Host)> {
        self.hosts.iter().map(|(id, host)| (*id, host))
    }

    /// Facts that were refused for lack of room.
    pub const fn refused(&self) -> u64 {
        self.refused
    }
}

/// Whether something seen at `last` still counts; a clock that was set back makes nothing old.
fn is_fresh(last: SystemTime, now: SystemTime, lifetime: Duration) -> bool {
    now.duration_since(last).is_ok_and(|age| age < lifetime) || last >= now
}

/// As long as an address means the device that had it.
pub const ADDRESS_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// As long as a device is known that nobody sees.
pub const HOST_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long ago somebody counts as being there: one poll.
const PRESENT: Duration = Duration::from_secs(10 * 60);
/// Five times what one server manages; a flood of invented hosts ends here.
pub const HOST_LIMIT: usize = 500_000;
/// Addresses of all hosts together.
pub const ADDRESS_LIMIT: usize = 1 << 20;

#[cfg(test)]
mod tests;
