//! Accounts of a directory among the hosts: an account joins the host that has its card or name.
//!
//! A directory sees no network, so it never says who has an address. An account that nothing on the network belongs to is
//! a host without addresses.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::key::Key;
use super::{HostId, Inventory};
use crate::directory::Member;

impl Inventory {
    /// Takes in an account; `None` when there is no room for another host.
    pub fn learn_member(&mut self, member: &Member, seen: SystemTime) -> Option<HostId> {
        let known = self.whose_account(member);
        let Some(id) = known.or_else(|| self.add(seen)) else {
            self.refused += 1;
            return None;
        };
        self.hosts.get_mut(&id).expect("a host that was just found").learn_member(member, seen);
        for key in keys(member) {
            self.owners.entry(key).or_insert(id);
        }
        Some(id)
    }

    /// The host that an account is of: the strongest key finds it, and weaker ones join others to it.
    fn whose_account(&mut self, member: &Member) -> Option<HostId> {
        let mut found = None;
        for key in keys(member) {
            let Some(owner) = self.owners.get(&key).copied() else { continue };
            let host = &self.hosts[&owner];
            let is_anothers = Key::Directory(member.id).contradicts(host);
            let has_other_cards = !member.macs.is_empty()
                && !host.macs.is_empty()
                && member.macs.iter().all(|mac| !host.macs.contains(mac));
            found = match found {
                None if is_anothers || (has_other_cards && matches!(key, Key::Name(_))) => None,
                None => Some(owner),
                Some(id) if id == owner || key.is_outweighed(&self.hosts[&id], host) => Some(id),
                Some(id) => Some(self.merge(id, owner)),
            };
        }
        found
    }

    /// Forgets every account that a whole reading of the directory did not show.
    pub fn keep_members(&mut self, shown: &BTreeSet<[u8; 16]>) {
        let mut gone = Vec::new();
        for (id, host) in &mut self.hosts {
            let before = host.directories.len();
            host.directories.retain(|account| {
                let stays = shown.contains(account);
                if !stays {
                    self.owners.remove(&Key::Directory(*account));
                }
                stays
            });
            let had_one = host.directories.len() < before && host.directories.is_empty();
            if had_one && host.forget_account() {
                gone.push(*id);
            }
        }
        gone.into_iter().for_each(|id| self.forget(id));
    }
}

/// What an account is known by, the strongest first.
fn keys(member: &Member) -> impl Iterator<Item = Key> {
    let macs = member.macs.iter().copied().map(Key::Mac);
    // A name without a dot means another machine in each domain.
    let name = member.dns.clone().filter(|name| name.as_str().contains('.')).map(Key::Name);
    [Key::Directory(member.id)].into_iter().chain(macs).chain(name)
}
