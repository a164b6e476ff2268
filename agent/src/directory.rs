//! What the agent knows of its fabric: the newest key set and server list that pass, and which server to dial.
//!
//! Blobs come from discovery, from a control connection and from the disk; all take this way in, and none that is
//! older than what is known replaces it, unless what is known comes from the future.

use std::sync::Arc;
use std::time::SystemTime;

use klnet_wire::id::FabricId;
use klnet_wire::keyset::{KeySet, KeySetError, Purpose};
use klnet_wire::servers::{Server, ServerList, ServerListError};
use klnet_wire::signed::{PublicKey, Signed};

use crate::random::Random;

/// Verified keys and servers of one fabric.
#[derive(Debug)]
pub struct Directory {
    fabric: FabricId,
    roots: Vec<PublicKey>,
    keys: Option<Arc<KeySet>>,
    servers: Option<ServerList>,
}

/// A server's port to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Host name or address.
    pub host: String,
    /// One of its ports for agents.
    pub port: u16,
}

/// What a blob changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Taken {
    /// It is newer and was taken: store it.
    Newer,
    /// It is the one already known.
    Known,
}

/// Why a blob was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// The key set does not pass.
    #[error(transparent)]
    Keys(#[from] KeySetError),
    /// The server list does not pass.
    #[error(transparent)]
    Servers(#[from] ServerListError),
    /// A list cannot be verified without keys.
    #[error("no key set is known that could verify the server list")]
    NoKeys,
    /// The key set was replaced long ago.
    #[error("key set of version {offered} is older than version {known}, which is known")]
    OlderKeys {
        /// The version known.
        known: u64,
        /// The version offered.
        offered: u64,
    },
    /// The server list was replaced long ago.
    #[error("server list of second {offered} is older than that of second {known}, which is known")]
    OlderServers {
        /// When the known one was signed, Unix seconds.
        known: u64,
        /// When the offered one was signed, Unix seconds.
        offered: u64,
    },
}

impl Directory {
    /// Knows nothing yet of the fabric under `roots`.
    pub const fn new(fabric: FabricId, roots: Vec<PublicKey>) -> Self {
        Self { fabric, roots, keys: None, servers: None }
    }

    /// The fabric has other roots now; what they did not sign stays until something newer comes.
    pub fn rooted(&mut self, roots: Vec<PublicKey>) {
        self.roots = roots;
    }

    /// Takes a key set if it passes and is newer.
    ///
    /// # Errors
    /// [`DirectoryError`]; what is known stays.
    pub fn take_keys(&mut self, signed: &Signed) -> Result<Taken, DirectoryError> {
        let keys = KeySet::verify(signed, self.fabric, &self.roots)?;
        let offered = keys.version;
        match self.keys.as_ref().map(|keys| keys.version) {
            Some(known) if known > offered => Err(DirectoryError::OlderKeys { known, offered }),
            Some(known) if known == offered => Ok(Taken::Known),
            _ => {
                self.keys = Some(Arc::new(keys));
                Ok(Taken::Newer)
            }
        }
    }

    /// Takes a server list if a directory key of the known key set signed it and it is newer; `now` is the server's
    /// clock, Unix seconds.
    ///
    /// One known that was signed in the future gives way to any: a server whose clock was ahead for a while would
    /// otherwise keep its agents from every list to come.
    ///
    /// # Errors
    /// [`DirectoryError`]; what is known stays.
    pub fn take_servers(&mut self, signed: &Signed, now: u64) -> Result<Taken, DirectoryError> {
        let keys = self.keys.as_ref().ok_or(DirectoryError::NoKeys)?;
        let list = ServerList::verify(signed, self.fabric, keys)?;
        let offered = list.issued;
        match self.servers.as_ref().map(|list| list.issued) {
            Some(known) if known > offered && known <= now.saturating_add(AHEAD) => {
                Err(DirectoryError::OlderServers { known, offered })
            }
            Some(known) if known == offered => Ok(Taken::Known),
            _ => {
                self.servers = Some(list);
                Ok(Taken::Newer)
            }
        }
    }

    /// The key set.
    pub const fn keys(&self) -> Option<&Arc<KeySet>> {
        self.keys.as_ref()
    }

    /// Keys of the authorities that issue certificates and sign revocation lists; none in a fabric without lists, which
    /// only its root can make it.
    pub fn issuers(&self) -> Vec<PublicKey> {
        self.keys.iter().flat_map(|keys| keys.of(Purpose::Issue)).collect()
    }

    /// The key set's version; 0 while none is known.
    pub fn key_version(&self) -> u64 {
        self.keys.as_ref().map_or(0, |keys| keys.version)
    }

    /// The server list.
    pub const fn servers(&self) -> Option<&ServerList> {
        self.servers.as_ref()
    }

    /// Whether there is a list within its time. A list past its time still serves: it may be the clock that is wrong.
    pub fn is_fresh(&self, now: SystemTime) -> bool {
        self.servers.as_ref().is_some_and(|list| list.fresh(now))
    }

    /// Servers to dial in order, each with one of its ports: heavier ones tend to come first.
    pub fn candidates(&self, random: &mut Random) -> Vec<Candidate> {
        let servers = self.servers.iter().flat_map(|list| &list.servers);
        let mut servers: Vec<&Server> = servers.filter(|server| !server.agent_ports.is_empty()).collect();
        let mut candidates = Vec::new();
        while !servers.is_empty() && candidates.len() < CANDIDATE_LIMIT {
            let chosen = servers.swap_remove(weighted(&servers, random));
            candidates.extend(Candidate::of(chosen, random));
        }
        candidates
    }
}

impl Candidate {
    fn of(server: &Server, random: &mut Random) -> Option<Self> {
        let ports = u64::try_from(server.agent_ports.len()).ok()?;
        let port = *server.agent_ports.get(usize::try_from(random.below(ports)).ok()?)?;
        Some(Self { host: server.host.clone(), port: u16::try_from(port).ok()? })
    }
}

impl std::fmt::Display for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') && !self.host.starts_with('[') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The index of a server, by weight; weightless servers come when no others are left.
fn weighted(servers: &[&Server], random: &mut Random) -> usize {
    let weights = servers.iter().map(|server| u64::from(server.weight));
    let mut point = random.below(weights.clone().sum());
    let falls = |weight: u64| {
        let here = point < weight;
        point = point.saturating_sub(weight);
        here
    };
    weights.map(falls).position(|here| here).unwrap_or(0)
}

/// Seconds that clocks of servers may be apart.
const AHEAD: u64 = 300;

/// Servers dialled in one attempt: enough to get round a failed rack, few enough to reach the back-off soon.
const CANDIDATE_LIMIT: usize = 8;

#[cfg(test)]
mod tests;
