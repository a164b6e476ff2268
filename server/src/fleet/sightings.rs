//! Hosts that devices have found in their networks.
//!
//! The model does not hold them: only people read them. What is known of each poller's hosts in memory is as much as it takes
//! to write nothing that is stored already: a poll tells of every host again.

use std::collections::{HashMap, HashSet, hash_map};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use klnet_wire::id::{DeviceId, TenantId};
use klnet_wire::message::sighting::{ADDRESSES_LIMIT, HOSTS_LIMIT};
use klnet_wire::message::{Sighting, Sightings};
use prost::Message;
use ring::digest::{SHA256, digest};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::record::{CardsRecord, SightingRecord};
use super::{Fleet, FleetError, keys, names};
use crate::store::{Entry, Key, Op, OpId, Prefix};
use crate::unix::seconds;

/// A host that somebody has found, and that is none of the managed devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unassigned {
    /// What was told of it; of several who have found it by the last.
    pub told: Sighting,
    /// Who has found it.
    pub found_by: Vec<DeviceId>,
}

/// What is stored of each poller's hosts.
#[derive(Debug, Default)]
pub(super) struct Stored(tokio::sync::Mutex<HashMap<DeviceId, Known>>);

/// What is stored of one poller's hosts, by their keys.
type Known = HashMap<[u8; 16], Written>;

/// What is stored of a host.
#[derive(Debug, Clone, Copy)]
struct Written {
    /// Of what was told.
    hash: u64,
    /// Unix seconds.
    at: u64,
}

impl Fleet {
    /// Stores the hosts that a device has found, as far as they are news; says how many were.
    ///
    /// # Errors
    /// `NotFound` for a device that is to poll nothing, `Limit` when it has found too many, `Unavailable`.
    pub async fn sighted(
        &self,
        tenant: TenantId,
        device: DeviceId,
        told: Sightings,
    ) -> Result<usize, FleetError> {
        if !self.polls(tenant, device) {
            return Err(FleetError::not_found("a device that is to poll nothing has found hosts"));
        }
        let now = seconds(SystemTime::now());
        let mut stored = self.sightings.0.lock().await;
        let known = match stored.entry(device) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(new) => new.insert(self.known_sightings(tenant, device).await?),
        };
        let (mut ops, mut news) = (Vec::new(), Vec::new());
        for host in told.hosts.into_iter().take(HOSTS_LIMIT).filter_map(|host| bounded(host, now)) {
            let Ok(key) = <[u8; 16]>::try_from(&host.key[..]) else { continue };
            let hash = hash(&host);
            match known.get(&key) {
                Some(was) if was.hash == hash && now < was.at.saturating_add(STORED_EACH) => continue,
                None if known.len() + news.len() >= KNOWN_LIMIT => {
                    return Err(FleetError::new(super::Kind::Limit, "a device has found too many hosts"));
                }
                _ => {}
            }
            let record = SightingRecord { told: Some(host), at: now };
            ops.push(Op::put(keys::sighting(tenant, device, &key), record.encode_to_vec()));
            news.push((key, Written { hash, at: now }));
        }
        for ops in ops.chunks(self.store.limits().ops) {
            self.store.commit(OpId::random(), Vec::new(), ops.to_vec()).await?;
        }
        let count = news.len();
        known.extend(news);
        Ok(count)
    }

    /// Hosts that were found in the last days and are no managed devices, the last seen first.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn unassigned(&self, tenant: TenantId) -> Result<Vec<Unassigned>, FleetError> {
        let managed = self.managed(tenant).await?;
        let since = seconds(SystemTime::now()).saturating_sub(LIFETIME.as_secs());
        let mut found: Vec<(DeviceId, Sighting)> = Vec::new();
        self.each(&keys::sightings(tenant), |key, entry| {
            let Some((device, told)) = named(key).zip(told(entry)) else { return };
            if told.last_seen >= since && !managed.has(&told) {
                found.push((device, told));
            }
        })
        .await?;
        found.sort_by_key(|(_, told)| std::cmp::Reverse(told.last_seen));
        Ok(merged(found))
    }

    /// Forgets hosts that nobody has seen for days, and those of devices that poll no more.
    ///
    /// # Errors
    /// `Unavailable`; the next call forgets the rest.
    pub async fn forget_sightings(&self) -> Result<(), FleetError> {
        let since = seconds(SystemTime::now()).saturating_sub(LIFETIME.as_secs());
        for tenant in self.tenants() {
            let mut old = Vec::new();
            self.each(&keys::sightings(tenant), |key, entry| {
                let polls = named(key).is_some_and(|device| self.polls(tenant, device));
                if !polls || told(entry).is_none_or(|told| told.last_seen < since) {
                    old.push(key.clone());
                }
            })
            .await?;
            for keys in old.chunks(self.store.limits().ops) {
                let ops = keys.iter().cloned().map(Op::delete).collect();
                self.store.commit(OpId::random(), Vec::new(), ops).await?;
            }
            if !old.is_empty() {
                // It is read again with the next message of whoever polls.
                self.sightings.0.lock().await.clear();
            }
        }
        Ok(())
    }

    /// Forgets what is old, each hour, until `shutdown`.
    pub async fn keep_sightings(self: Arc<Self>, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(FORGET_EACH)).await.is_some() {
            if let Err(error) = self.forget_sightings().await {
                warn!(%error, "hosts that nobody has seen for days are not forgotten yet");
            }
        }
    }

    fn tenants(&self) -> HashSet<TenantId> {
        self.model().groups.keys().map(|(tenant, _)| *tenant).collect()
    }

    async fn known_sightings(&self, tenant: TenantId, device: DeviceId) -> Result<Known, FleetError> {
        let mut known = Known::new();
        self.each(&keys::sightings_of(tenant, device), |_, entry| {
            let Ok(SightingRecord { told: Some(told), at }) = SightingRecord::decode(entry.value.clone())
            else {
                return;
            };
            if let Ok(key) = <[u8; 16]>::try_from(&told.key[..]) {
                known.insert(key, Written { hash: hash(&told), at });
            }
        })
        .await?;
        Ok(known)
    }

    /// What the managed devices of a tenant are known by.
    async fn managed(&self, tenant: TenantId) -> Result<Managed, FleetError> {
        let mut managed = Managed::default();
        self.each(&keys::all_cards(tenant), |_, entry| {
            let record = CardsRecord::decode(entry.value.clone()).unwrap_or_default();
            managed.macs.extend(record.macs.iter().map(|mac| mac.to_vec()));
        })
        .await?;
        let model = self.model();
        let devices = model.devices(tenant).filter(|(_, device)| !device.is_revoked());
        managed.names.extend(devices.map(|(_, device)| label(&device.name())));
        Ok(managed)
    }

    async fn each(&self, prefix: &Prefix, mut see: impl FnMut(&Key, &Entry)) -> Result<(), FleetError> {
        let (mut at, mut after) = (None, None);
        loop {
            let page = self.store.scan(prefix, after.as_ref(), PAGE, at).await?;
            page.entries.iter().for_each(|(key, entry)| see(key, entry));
            (at, after) = (Some(page.at), page.next);
            if after.is_none() {
                return Ok(());
            }
        }
    }
}

/// What managed devices are known by.
#[derive(Debug, Default)]
struct Managed {
    macs: HashSet<Vec<u8>>,
    names: HashSet<String>,
}

impl Managed {
    /// By their cards; a host whose card was not seen, beyond a router, by its name.
    fn has(&self, host: &Sighting) -> bool {
        match host.macs.is_empty() {
            false => host.macs.iter().any(|mac| self.macs.contains(&mac[..])),
            true => !host.name.is_empty() && self.names.contains(&label(&host.name)),
        }
    }
}

/// One host that several have found is one, if they have seen the same card.
fn merged(found: Vec<(DeviceId, Sighting)>) -> Vec<Unassigned> {
    let (mut hosts, mut by_mac): (Vec<Unassigned>, HashMap<Vec<u8>, usize>) = Default::default();
    for (device, told) in found {
        let known = told.macs.iter().find_map(|mac| by_mac.get(&mac[..]).copied());
        let index = known.unwrap_or(hosts.len());
        by_mac.extend(told.macs.iter().map(|mac| (mac.to_vec(), index)));
        match hosts.get_mut(index) {
            None => hosts.push(Unassigned { told, found_by: vec![device] }),
            Some(host) => {
                host.told.first_seen = host.told.first_seen.min(told.first_seen);
                if !host.found_by.contains(&device) {
                    host.found_by.push(device);
                }
            }
        }
    }
    hosts
}

/// A host as it may be stored, whatever was told; `None` for none.
fn bounded(host: Sighting, now: u64) -> Option<Sighting> {
    let address = |text: &String| text.parse::<IpAddr>().is_ok();
    let mut addresses = host.addresses;
    addresses.retain(address);
    addresses.truncate(ADDRESSES_LIMIT);
    let mut macs = host.macs;
    macs.retain(|mac| mac.len() == 6);
    macs.truncate(ADDRESSES_LIMIT);
    if host.key.len() != 16 || (addresses.is_empty() && macs.is_empty()) {
        return None;
    }
    let sources = host.sources.iter().take(ADDRESSES_LIMIT).map(|source| names::told(source)).collect();
    Some(Sighting {
        key: host.key,
        addresses,
        macs,
        name: names::told(&host.name),
        domain: names::told(&host.domain),
        system: names::told(&host.system),
        sources,
        suspicion: names::told(&host.suspicion),
        // Nobody has seen anything in the future.
        first_seen: host.first_seen.min(now),
        last_seen: host.last_seen.min(now),
    })
}

/// Of all but when it was seen.
fn hash(host: &Sighting) -> u64 {
    let timeless = Sighting { first_seen: 0, last_seen: 0, ..host.clone() };
    let hash = digest(&SHA256, &timeless.encode_to_vec());
    u64::from_be_bytes(*hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes"))
}

fn told(entry: &Entry) -> Option<Sighting> {
    SightingRecord::decode(entry.value.clone()).ok()?.told
}

/// The device that a sighting's key names.
fn named(key: &Key) -> Option<DeviceId> {
    let (_, "sighting", rest) = keys::parse(key)? else { return None };
    keys::id(rest.split_once('/')?.0)
}

/// The first part of a name, as names are compared.
fn label(name: &str) -> String {
    name.split('.').next().unwrap_or_default().to_lowercase()
}

/// A host that nobody has seen for so long is forgotten.
const LIFETIME: Duration = Duration::from_secs(7 * 86_400);
/// How often it is looked for.
const FORGET_EACH: Duration = Duration::from_secs(3600);
/// How old what is stored of a host may be, in seconds, while nothing but its time changes.
const STORED_EACH: u64 = 3600;
/// Hosts of one poller: a /16.
const KNOWN_LIMIT: usize = 65_536;
/// Entries read at once.
const PAGE: u32 = 1000;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_is_told_is_bounded_and_acts_on_nothing() {
        let host = Sighting {
            key: vec![1; 16].into(),
            addresses: vec!["10.0.0.1".into(), "not an address".into()],
            macs: vec![Bytes::from_static(b"too long a card"), vec![2; 6].into()],
            name: "pc\u{1b}[2J".into(),
            system: "x".repeat(10_000),
            last_seen: u64::MAX,
            ..Sighting::default()
        };
        let kept = bounded(host.clone(), 1000).unwrap();
        assert_eq!((kept.addresses.len(), kept.macs.len(), kept.last_seen), (1, 1, 1000));
        assert!(!kept.name.contains('\u{1b}') && kept.system.len() < 200);
        assert_eq!(bounded(Sighting { key: Bytes::new(), ..host }, 1000), None);
        assert_eq!(bounded(Sighting { key: vec![1; 16].into(), ..Sighting::default() }, 1000), None);
    }

    #[test]
    fn one_host_that_two_have_found_is_one_by_its_card_alone() {
        let host = |mac: u8, first_seen| Sighting {
            macs: vec![vec![mac; 6].into()],
            first_seen,
            ..Sighting::default()
        };
        let [one, other] = [DeviceId::random(), DeviceId::random()];
        let found = vec![(one, host(1, 7)), (other, host(1, 5)), (other, host(2, 9))];
        let hosts = merged(found);
        assert_eq!(hosts.len(), 2);
        assert_eq!((hosts[0].found_by.len(), hosts[0].told.first_seen), (2, 5));
        let cardless = vec![(one, Sighting::default()), (other, Sighting::default())];
        assert_eq!(merged(cardless).len(), 2);
    }

    #[test]
    fn a_managed_device_is_known_by_its_card_and_beyond_a_router_by_its_name() {
        let managed =
            Managed { macs: HashSet::from([vec![1; 6]]), names: HashSet::from(["pc-7".to_owned()]) };
        let host = |mac: Option<u8>, name: &str| Sighting {
            macs: mac.map(|mac| Bytes::from(vec![mac; 6])).into_iter().collect(),
            name: name.into(),
            ..Sighting::default()
        };
        assert!(managed.has(&host(Some(1), "printer")));
        assert!(managed.has(&host(None, "PC-7.example.org")));
        assert!(!managed.has(&host(Some(2), "pc-7")), "another's card");
        assert!(!managed.has(&host(None, "")));
    }
}
