//! What became different since the last look at an inventory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::key::Key;
use super::{Host, HostId, Inventory};
use crate::mac::Mac;
use crate::name::Text;

/// The hosts as they were at the last look.
#[derive(Debug, Default)]
pub struct Watched {
    faces: BTreeMap<HostId, Face>,
}

/// What people know a host by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Face {
    /// Its addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Its name.
    pub name: Option<Text>,
    /// Its cards.
    pub macs: BTreeSet<Mac>,
    /// Its operating system.
    pub system: Option<Text>,
}

/// What happened to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nobody knew it.
    New,
    /// It has other addresses, cards, names or another system.
    Changed,
    /// It was not seen for as long as a host is known.
    Gone,
}

impl Watched {
    /// Everything that became different; two that turned out to be one are one that changed.
    pub fn look(&mut self, inventory: &Inventory) -> Vec<(Change, Face)> {
        let now: BTreeMap<_, _> = inventory.hosts().map(|(id, host)| (id, Face::of(host))).collect();
        let before = std::mem::replace(&mut self.faces, now);
        let gone = before.iter().filter(|(id, face)| !self.faces.contains_key(id) && !inventory.knows(face));
        let gone = gone.map(|(_, face)| (Change::Gone, face.clone()));
        let here = self.faces.iter().filter_map(|(id, face)| match before.get(id) {
            None => Some((Change::New, face.clone())),
            Some(was) => (was != face).then(|| (Change::Changed, face.clone())),
        });
        gone.chain(here).collect()
    }
}

impl Face {
    fn of(host: &Host) -> Self {
        Self {
            addresses: host.addresses.keys().copied().collect(),
            name: host.name().cloned(),
            macs: host.macs.clone(),
            system: host.system.as_ref().map(|(_, system)| system.clone()),
        }
    }
}

impl Inventory {
    /// Whether something of a host that was is somebody's now.
    fn knows(&self, face: &Face) -> bool {
        let named = |name: &Text| self.owners.contains_key(&Key::Name(name.clone()));
        face.addresses.iter().any(|address| self.holders.contains_key(address))
            || face.macs.iter().any(|mac| self.owners.contains_key(&Key::Mac(*mac)))
            || face.name.as_ref().is_some_and(named)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::HOST_LIFETIME;
    use super::*;
    use crate::fact::{Claim, Fact, Source};

    #[test]
    fn a_host_is_new_once_changed_when_it_changes_and_gone_when_it_expires() {
        let (mut inventory, mut watched) = (Inventory::default(), Watched::default());
        say(&mut inventory, 0, 1, mac(1));
        assert_eq!(shown(watched.look(&inventory)), ["New 10.1.0.1"]);
        say(&mut inventory, 1, 1, mac(1));
        assert_eq!(shown(watched.look(&inventory)), [] as [&str; 0]);
        say(&mut inventory, 2, 2, mac(1));
        assert_eq!(shown(watched.look(&inventory)), ["Changed 10.1.0.1 10.1.0.2"]);
        inventory.expire(at(2) + HOST_LIFETIME);
        assert_eq!(shown(watched.look(&inventory)), ["Gone 10.1.0.1 10.1.0.2"]);
    }

    #[test]
    fn two_that_turn_out_to_be_one_are_one_that_changed() {
        let (mut inventory, mut watched) = (Inventory::default(), Watched::default());
        say(&mut inventory, 0, 1, mac(1));
        say(&mut inventory, 0, 2, mac(2));
        watched.look(&inventory);
        say(&mut inventory, 1, 1, Claim::Machine([7; 16]));
        say(&mut inventory, 1, 2, Claim::Machine([7; 16]));
        assert_eq!(shown(watched.look(&inventory)), ["Changed 10.1.0.1 10.1.0.2"]);
    }

    fn say(inventory: &mut Inventory, second: u64, last: u8, claim: Claim) {
        let fact = Fact { address: [10, 1, 0, last].into(), claim, source: Source::Smb, seen: at(second) };
        inventory.learn(&fact).unwrap();
    }

    fn mac(last: u8) -> Claim {
        Claim::Mac(Mac([2, 0, 0, 0, 0, last]))
    }

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + second)
    }

    fn shown(changes: Vec<(Change, Face)>) -> Vec<String> {
        let words =
            |face: &Face| face.addresses.iter().map(|address| format!(" {address}")).collect::<String>();
        changes.iter().map(|(change, face)| format!("{change:?}{}", words(face))).collect()
    }
}
