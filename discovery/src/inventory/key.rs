//! What tells devices apart.

use super::Host;
use crate::fact::{Claim, Fact, NameKind, Source};
use crate::mac::Mac;
use crate::name::Text;

/// Something that one device has and no other; the stronger kinds first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    Directory([u8; 16]),
    /// Identifiers of two protocols say nothing about each other.
    Machine(Source, [u8; 16]),
    Mac(Mac),
    /// Unique on a link, and only while it is claimed there (RFC 6762, 8).
    Local(Text),
    /// Weak: records outlive what they name.
    Name(Text),
}

impl Key {
    /// The key in a fact.
    pub(super) fn of(fact: &Fact) -> Option<Self> {
        match &fact.claim {
            Claim::Directory(id) => Some(Self::Directory(*id)),
            Claim::Machine(id) => Some(Self::Machine(fact.source, *id)),
            Claim::Mac(mac) => Some(Self::Mac(*mac)),
            Claim::Name(NameKind::Local, name) => Some(Self::Local(name.clone())),
            Claim::Name(NameKind::Dns, name) if name.as_str().contains('.') => Some(Self::Name(name.clone())),
            _ => None,
        }
    }

    /// Every key that a host is known by.
    pub(super) fn all(host: &Host) -> impl Iterator<Item = Self> {
        let names = host.names.keys().filter_map(|(kind, name)| match kind {
            NameKind::Dns => Some(Self::Name(name.clone())),
            NameKind::Local => Some(Self::Local(name.clone())),
            NameKind::NetBios | NameKind::Domain => None,
        });
        let directories = host.directories.iter().copied().map(Self::Directory);
        let machines = host.machines.iter().map(|(source, id)| Self::Machine(*source, *id));
        let macs = host.macs.iter().copied().map(Self::Mac);
        directories.chain(machines).chain(macs).chain(names)
    }

    /// Whether the host has it.
    pub(super) fn is_of(&self, host: &Host) -> bool {
        match self {
            Self::Directory(id) => host.directories.contains(id),
            Self::Machine(source, id) => host.machines.contains(&(*source, *id)),
            Self::Mac(mac) => host.macs.contains(mac),
            Self::Local(name) => host.names.contains_key(&(NameKind::Local, name.clone())),
            Self::Name(name) => host.names.contains_key(&(NameKind::Dns, name.clone())),
        }
    }

    /// Whether the host is known by others of this kind, so that this one says: another device.
    pub(super) fn contradicts(&self, host: &Host) -> bool {
        let has_others = match self {
            Self::Directory(_) => !host.directories.is_empty(),
            Self::Machine(source, _) => host.machines.iter().any(|(other, _)| other == source),
            Self::Mac(_) => !host.macs.is_empty(),
            // A device may have many names.
            Self::Local(_) | Self::Name(_) => false,
        };
        has_others && !self.is_of(host)
    }

    /// Whether something stronger than this says that the two hosts are two devices.
    pub(super) fn is_outweighed(&self, a: &Host, b: &Host) -> bool {
        let differ = |here: bool, there: bool, share: bool| here && there && !share;
        let directories = differ(
            !a.directories.is_empty(),
            !b.directories.is_empty(),
            !a.directories.is_disjoint(&b.directories),
        );
        let comparable =
            a.machines.iter().any(|(source, _)| b.machines.iter().any(|(other, _)| other == source));
        let machines = comparable && a.machines.is_disjoint(&b.machines);
        let macs = differ(!a.macs.is_empty(), !b.macs.is_empty(), !a.macs.is_disjoint(&b.macs));
        match self {
            Self::Directory(_) => false,
            Self::Machine(..) => directories,
            Self::Mac(_) => directories || machines,
            Self::Local(_) | Self::Name(_) => directories || machines || macs,
        }
    }
}
