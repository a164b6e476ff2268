use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use klnet_multicast::manifest::Manifest;
use klnet_wire::duties::{KsnProxy, Object, Polling};
use klnet_wire::id::GroupId;
use klnet_wire::message::{Sighting, Sightings};
use klnet_wire::multicast::AgentGroup;
use tempfile::TempDir;

use super::*;
use crate::directory::{Announced, Directory};
use crate::fabric::Fabric;
use crate::fleet::record::{AddressRecord, CardsRecord, DeviceRecord};
use crate::fleet::{Caller, NewDistribution, Roles, Unassigned};
use crate::store::{Key, Op, OpId, Read, SqliteStore};

#[tokio::test]
async fn every_point_has_groups_of_its_own_and_a_group_has_one_point() {
    let site = Site::new().await;
    let (office, lab) = (site.group("office", None).await, site.group("lab", None).await);
    let [one, other] = [site.device(office).await, site.device(lab).await];
    let first = site.fleet.assign_point(&site.by, one, office, 0).await.unwrap();
    let second = site.fleet.assign_point(&site.by, other, lab, 0).await.unwrap();
    assert_eq!([first.groups, second.groups], [0, 1].map(|n| AgentGroup::new(n).unwrap()));
    let third = site.device(office).await;
    for (device, group) in [(one, lab), (third, office)] {
        let refused = site.fleet.assign_point(&site.by, device, group, 0).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Conflict, "{refused}");
    }
    let named: Vec<_> = site.fleet.points(site.by.tenant).into_iter().map(|point| point.members).collect();
    assert_eq!(named.iter().sum::<usize>(), 1, "the third receives from the first");
}

#[tokio::test]
async fn a_number_that_was_given_back_rests_before_somebody_else_has_it() {
    let site = Site::new().await;
    let group = site.group("office", None).await;
    let [one, other] = [site.device(group).await, site.device(group).await];
    site.fleet.assign_point(&site.by, one, group, 0).await.unwrap();
    site.fleet.unassign_point(&site.by, one).await.unwrap();
    let next = site.fleet.assign_point(&site.by, other, group, 0).await.unwrap();
    assert_eq!(next.groups.number(), 1, "0 is a tombstone");
    site.fleet.unassign_point(&site.by, other).await.unwrap();
    site.age_tombstones(600).await;
    let after = site.fleet.assign_point(&site.by, other, group, 0).await.unwrap();
    assert_eq!(after.groups.number(), 0);
}

#[tokio::test]
async fn a_number_that_somebody_else_uses_is_changed_for_another_once_in_a_while() {
    let site = Site::new().await;
    let group = site.group("office", None).await;
    let point = site.device(group).await;
    let first = site.fleet.assign_point(&site.by, point, group, 0).await.unwrap();
    let renumber = || site.fleet.renumber_point(site.by.tenant, point, [10, 0, 0, 9].into());
    assert!(renumber().await.unwrap());
    let second = site.fleet.point(site.by.tenant, point).unwrap();
    assert_eq!((second.groups.number(), second.epoch), (1, first.epoch + 1));
    assert!(!renumber().await.unwrap(), "whoever is in the LAN can make it ask");
    assert_eq!(site.fleet.point(site.by.tenant, point).unwrap(), second);
    site.age_tombstones(600).await;
    site.fleet.unassign_point(&site.by, point).await.unwrap();
    let third = site.fleet.assign_point(&site.by, point, group, 0).await.unwrap();
    assert_eq!(third.groups.number(), 2, "the first number is still foreign, the second a tombstone");
}

#[tokio::test]
async fn whoever_leaves_leaves_the_epoch_in_the_same_commit() {
    let site = Site::new().await;
    let (office, lab) = (site.group("office", None).await, site.group("lab", None).await);
    let room = site.group("room", Some(office)).await;
    let [point, revoked, removed, moved, inner] = [
        site.device(lab).await,
        site.device(office).await,
        site.device(room).await,
        site.device(office).await,
        site.device(room).await,
    ];
    site.fleet.assign_point(&site.by, point, office, 0).await.unwrap();
    let epoch = || site.fleet.point(site.by.tenant, point).unwrap().epoch;
    assert_eq!(epoch(), 1);
    site.fleet.move_device(&site.by, moved, room).await.unwrap();
    assert_eq!(epoch(), 1, "it receives from the same point");
    site.fleet.revoke_device(&site.by, revoked, "").await.unwrap();
    assert_eq!(epoch(), 2);
    site.fleet.remove_device(&site.by, removed).await.unwrap();
    assert_eq!(epoch(), 3);
    site.fleet.move_device(&site.by, moved, lab).await.unwrap();
    assert_eq!(epoch(), 4);
    site.fleet.assign_point(&site.by, inner, room, 0).await.unwrap();
    assert_eq!(epoch(), 5, "the room has a point of its own");
}

#[tokio::test]
async fn a_point_that_is_revoked_is_none_and_its_number_rests() {
    let site = Site::new().await;
    let group = site.group("office", None).await;
    let [point, member] = [site.device(group).await, site.device(group).await];
    site.fleet.assign_point(&site.by, point, group, 0).await.unwrap();
    site.fleet.revoke_device(&site.by, point, "").await.unwrap();
    assert_eq!(site.fleet.points(site.by.tenant), []);
    assert!(site.duties(member).unwrap().source.is_none());
    assert_eq!(site.fleet.assign_point(&site.by, member, group, 0).await.unwrap().groups.number(), 1);
}

#[tokio::test]
async fn members_of_an_epoch_share_a_secret_and_each_has_a_key_of_its_own() {
    let site = Site::new().await;
    let group = site.group("office", None).await;
    let [point, one, other] = [site.device(group).await, site.device(group).await, site.device(group).await];
    site.fleet.assign_point(&site.by, point, group, 0).await.unwrap();
    let own = site.duties(point).unwrap();
    assert!(own.source.is_none(), "what it sends it has itself");
    let own = own.point.unwrap();
    let sources = [one, other].map(|device| site.duties(device).unwrap().source.unwrap());
    assert!(sources.iter().all(|source| source.secret == own.secret && source.epoch == own.epoch));
    let keys: HashSet<_> = sources.iter().map(|source| source.key.clone()).collect();
    assert!(keys.len() == 2 && !keys.contains(&own.feedback) && !keys.contains(&own.secret));
    site.fleet.revoke_device(&site.by, other, "").await.unwrap();
    let next = site.duties(one).unwrap().source.unwrap();
    assert!(next.secret != own.secret && !keys.contains(&next.key), "nothing of before is good");
    assert_eq!(next.secret, site.duties(point).unwrap().point.unwrap().secret);
    assert!(site.duties(other).is_none(), "who left is told nothing");
}

#[tokio::test]
async fn no_secret_of_a_group_is_in_the_store() {
    let site = Site::new().await;
    let group = site.group("office", None).await;
    let point = site.device(group).await;
    site.fleet.assign_point(&site.by, point, group, 0).await.unwrap();
    let duties = site.duties(point).unwrap().point.unwrap();
    let mut values = Vec::new();
    let page = site.fleet.store().scan(&crate::fleet::keys::tenants(), None, 1000, None).await.unwrap();
    values.extend(page.entries.into_iter().map(|(_, entry)| entry.value));
    for secret in [duties.secret, duties.feedback] {
        assert!(!values.iter().any(|value| value.windows(32).any(|part| part == &secret[..])));
    }
}

#[tokio::test]
async fn an_object_is_told_to_its_group_and_to_whoever_brings_it() {
    let site = Site::new().await;
    let (office, lab) = (site.group("office", None).await, site.group("lab", None).await);
    let room = site.group("room", Some(office)).await;
    let [point, inside, beside] = [site.device(lab).await, site.device(room).await, site.device(lab).await];
    let new = site.image("image", None, office);
    let refused = site.fleet.distribute(&site.by, &new).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Conflict, "{refused}");
    site.fleet.assign_point(&site.by, point, office, 0).await.unwrap();
    let made = site.fleet.distribute(&site.by, &new).await.unwrap();
    let told = |device| site.duties(device).unwrap().objects;
    assert_eq!(told(point).iter().map(|object| object.send).collect::<Vec<_>>(), [true]);
    assert_eq!(told(inside).iter().map(|object| object.send).collect::<Vec<_>>(), [false]);
    assert!(told(beside).is_empty());
    let signers = [site.fleet.distribution_key().unwrap().public().clone()];
    let manifest = Manifest::verify(told(inside)[0].manifest.as_ref().unwrap(), &signers).unwrap();
    assert_eq!((manifest.audience, manifest.name.as_str()), (*office.as_bytes(), "image"));
    assert!(site.duties(inside).unwrap().audiences.contains(&office.to_vec().into()));
    assert!(site.fleet.sends(site.by.tenant, point, &manifest.catalogue));
    assert!(!site.fleet.sends(site.by.tenant, inside, &manifest.catalogue));
    site.fleet.withdraw(&site.by, made.id).await.unwrap();
    assert!(told(inside).is_empty());
}

#[tokio::test]
async fn what_is_for_one_or_two_devices_of_a_point_comes_by_unicast() {
    let site = Site::new().await;
    let office = site.group("office", None).await;
    let room = site.group("room", Some(office)).await;
    let [point, first, _] = [site.device(office).await, site.device(office).await, site.device(room).await];
    site.fleet.assign_point(&site.by, point, office, 0).await.unwrap();
    for (name, group) in [("all", office), ("inner", room)] {
        site.fleet.distribute(&site.by, &site.image(name, None, group)).await.unwrap();
    }
    let both = |all, inner| [("all".to_string(), all), ("inner".to_string(), inner)];
    assert_eq!(site.unicast(point), both(true, true), "two beside the point, and one of them");
    assert_eq!(site.unicast(first), [("all".to_string(), true)]);
    let third = site.device(room).await;
    assert_eq!(site.unicast(point), both(false, true), "three, and two of them");
    assert_eq!(site.unicast(first), [("all".to_string(), false)]);
    assert_eq!(site.unicast(third), both(false, true));
    site.fleet.assign_point(&site.by, third, room, 0).await.unwrap();
    assert_eq!(site.unicast(point), both(true, true), "two receive from another point now");
    site.fleet.revoke_device(&site.by, first, "").await.unwrap();
    let remaining = [point, third].map(|device| site.unicast(device)).concat();
    assert!(remaining.iter().all(|(_, unicast)| *unicast));
}

#[tokio::test]
async fn a_server_that_starts_anew_knows_all_of_it() {
    let site = Site::new().await;
    let group = site.group("office", None).await;
    let [point, member] = [site.device(group).await, site.device(group).await];
    site.fleet.assign_point(&site.by, point, group, 200_000_000).await.unwrap();
    site.fleet.distribute(&site.by, &site.image("image", Some(7), group)).await.unwrap();
    let polling = Polling { zeroconf_every: 900, ..Polling::default() };
    site.fleet.poll(&site.by, point, polling).await.unwrap();
    let proxy = KsnProxy { allow_plain: true, ..KsnProxy::default() };
    site.fleet.set_ksn(&site.by, point, proxy).await.unwrap();
    let told = [point, member].map(|device| site.duties(device));
    let again = site.again().await;
    assert_eq!([point, member].map(|device| again.duties(device)), told);
    let older = again.image("image", Some(7), group);
    assert_eq!(again.fleet.distribute(&again.by, &older).await.unwrap_err().kind(), Kind::Conflict);
    again.fleet.unassign_point(&again.by, point).await.unwrap();
    let next = again.fleet.assign_point(&again.by, member, group, 0).await.unwrap();
    assert_eq!(next.groups.number(), 1, "0 is a tombstone");
}

#[tokio::test]
async fn versions_of_a_name_only_rise_and_the_newest_takes_the_place_of_the_others() {
    let site = Site::new().await;
    let group = site.group("office", None).await;
    let point = site.device(group).await;
    site.fleet.assign_point(&site.by, point, group, 0).await.unwrap();
    let distribute = |version| {
        let (site, new) = (&site, site.image("image", version, group));
        async move { site.fleet.distribute(&site.by, &new).await }
    };
    let first = distribute(Some(7)).await.unwrap();
    for version in [7, 6] {
        assert_eq!(distribute(Some(version)).await.unwrap_err().kind(), Kind::Conflict);
    }
    let second = distribute(Some(8)).await.unwrap();
    assert_eq!(site.fleet.distributions(site.by.tenant), std::slice::from_ref(&second));
    assert_ne!(first.id, second.id);
    site.fleet.withdraw(&site.by, second.id).await.unwrap();
    assert_eq!(distribute(Some(8)).await.unwrap_err().kind(), Kind::Conflict, "a device may have it");
    assert!(distribute(None).await.unwrap().manifest.version > 8);
}

#[tokio::test]
async fn results_are_stored_once_and_forgotten_with_their_object() {
    let site = Site::new().await;
    let group = site.group("office", None).await;
    let [point, member] = [site.device(group).await, site.device(group).await];
    site.fleet.assign_point(&site.by, point, group, 0).await.unwrap();
    let made = site.fleet.distribute(&site.by, &site.image("image", None, group)).await.unwrap();
    let told = |state: DeliveryState, multicast| Delivery {
        object: made.id.to_vec().into(),
        state: state.into(),
        multicast,
        ..Delivery::default()
    };
    let tenant = site.by.tenant;
    let tell = |delivery| site.fleet.delivered(tenant, member, delivery);
    assert!(tell(told(DeliveryState::Failed, 0)).await.unwrap());
    assert!(!tell(told(DeliveryState::Failed, 0)).await.unwrap(), "it is known");
    assert!(tell(told(DeliveryState::Complete, 5)).await.unwrap());
    assert!(!tell(told(DeliveryState::Complete, 0)).await.unwrap(), "it stays as it came");
    let stored = site.fleet.deliveries(tenant, made.id).await.unwrap();
    assert_eq!(stored.iter().map(|one| (one.device, one.told.multicast)).collect::<Vec<_>>(), [(member, 5)]);
    let unknown = Delivery { object: vec![9; 16].into(), ..Delivery::default() };
    assert_eq!(tell(unknown).await.unwrap_err().kind(), Kind::NotFound);
    site.fleet.withdraw(&site.by, made.id).await.unwrap();
    site.fleet.forget_deliveries(tenant).await.unwrap();
    assert_eq!(site.fleet.deliveries(tenant, made.id).await.unwrap(), []);
}

#[tokio::test]
async fn hosts_are_stored_when_they_are_news_and_shown_unless_they_are_managed() {
    let site = Site::new().await;
    let group = site.group("office", None).await;
    let [poller, other] = [site.device(group).await, site.device(group).await];
    let tenant = site.by.tenant;
    let host = |n: u8, name: &str| Sighting {
        key: vec![n; 16].into(),
        addresses: vec![format!("10.0.0.{n}")],
        macs: vec![vec![n; 6].into()],
        name: name.into(),
        last_seen: u64::MAX,
        ..Sighting::default()
    };
    let told = |hosts: Vec<Sighting>| Sightings { hosts };
    let refused = site.fleet.sighted(tenant, poller, told(vec![host(1, "a")])).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::NotFound, "it is to poll nothing");
    let polling = Polling { zeroconf_every: 900, ..Polling::default() };
    site.fleet.poll(&site.by, poller, polling).await.unwrap();
    let tell = |hosts| site.fleet.sighted(tenant, poller, told(hosts));
    assert_eq!(tell(vec![host(1, "a"), host(2, "b")]).await.unwrap(), 2);
    assert_eq!(tell(vec![host(1, "a"), host(2, "c")]).await.unwrap(), 1, "one has another name");
    site.cards(other, 2).await;
    let names = |hosts: Vec<Unassigned>| hosts.into_iter().map(|host| host.told.name).collect::<Vec<_>>();
    assert_eq!(names(site.fleet.unassigned(tenant).await.unwrap()), ["a"], "the other is a device's");
    site.fleet.poll_no_more(&site.by, poller).await.unwrap();
    site.fleet.forget_sightings().await.unwrap();
    assert_eq!(site.fleet.unassigned(tenant).await.unwrap(), []);
}

struct Site {
    fleet: Arc<Fleet>,
    by: Caller,
    folder: TempDir,
}

impl Site {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fabric = Arc::new(Fabric::init(folder.path(), SystemTime::now()).unwrap());
        let operator = klnet_wire::id::OperatorId::random();
        let by = Caller { operator, tenant: fabric.tenant(), name: "admin".into(), roles: Roles::default() };
        Self { fleet: load(folder.path(), fabric).await, by, folder }
    }

    /// The server's next process.
    async fn again(self) -> Self {
        self.fleet.close().await;
        let fabric = Arc::new(Fabric::load(self.folder.path()).unwrap());
        Self { fleet: load(self.folder.path(), fabric).await, ..self }
    }

    async fn group(&self, name: &str, parent: Option<GroupId>) -> GroupId {
        self.fleet.add_group(&self.by, name, parent).await.unwrap().id
    }

    async fn device(&self, group: GroupId) -> DeviceId {
        let id = DeviceId::random();
        let record = DeviceRecord {
            name: format!("pc-{id}"),
            group: group.to_vec(),
            key: vec![4; 65],
            enrolled: 1,
            ..DeviceRecord::default()
        };
        self.put("device", &id.to_string(), record.encode_to_vec()).await;
        while self.fleet.device(self.by.tenant, &id.to_string()).is_err() {
            tokio::task::yield_now().await;
        }
        id
    }

    /// The device has one network card.
    async fn cards(&self, device: DeviceId, mac: u8) {
        let record = CardsRecord { macs: vec![vec![mac; 6].into()] };
        self.put("cards", &device.to_string(), record.encode_to_vec()).await;
    }

    /// Makes every tombstone so many seconds old.
    async fn age_tombstones(&self, age: u64) {
        for number in 0..2 {
            let name = format!("{number:06}");
            let key = self.key("address", &name);
            let (entry, _) = self.fleet.store().get(&key, Read::Linearizable).await.unwrap();
            let record = AddressRecord::decode(entry.unwrap().value).unwrap();
            if record.released != 0 {
                let released = crate::unix::seconds(SystemTime::now()) - age;
                self.put("address", &name, AddressRecord { released, ..record }.encode_to_vec()).await;
            }
        }
        // Whoever commits sees what was committed before.
        self.group("after", None).await;
    }

    async fn put(&self, table: &str, id: &str, value: Vec<u8>) {
        let op = Op::put(self.key(table, id), value);
        self.fleet.store().commit(OpId::random(), Vec::new(), vec![op]).await.unwrap();
    }

    fn key(&self, table: &str, id: &str) -> Key {
        Key::join(&["t", &self.by.tenant.to_string(), table, id]).unwrap()
    }

    fn duties(&self, device: DeviceId) -> Option<Duties> {
        let state = || PointState {
            announcer: vec![7; 32].into(),
            addresses: vec!["10.0.0.1".into()],
            port: 13_000,
            foreign: String::new(),
        };
        self.fleet.duties(self.by.tenant, device, |_| Some(state()))
    }

    /// The objects a device is told of, by name, and whether each comes to it by unicast.
    fn unicast(&self, device: DeviceId) -> Vec<(String, bool)> {
        let signers = [self.fleet.distribution_key().unwrap().public().clone()];
        let named = |object: &Object| {
            let manifest = Manifest::verify(object.manifest.as_ref().unwrap(), &signers).unwrap();
            (manifest.name, object.unicast)
        };
        let mut named: Vec<_> = self.duties(device).unwrap().objects.iter().map(named).collect();
        named.sort();
        named
    }

    fn image(&self, name: &str, version: Option<u64>, group: GroupId) -> NewDistribution {
        NewDistribution { group, name: name.into(), version, length: 0, catalogue: vec![0; 4] }
    }
}

async fn load(folder: &std::path::Path, fabric: Arc<Fabric>) -> Arc<Fleet> {
    let store = Arc::new(SqliteStore::open(&folder.join("state.db")).unwrap());
    let announced = Announced {
        hosts: vec!["localhost".into()],
        https_port: 8443,
        agent_ports: vec![23_100],
        tunnel_ports: vec![29_200],
        reconnect_window: Duration::from_secs(2),
    };
    let directory = Arc::new(Directory::new(Arc::clone(&fabric), Arc::default(), announced));
    Fleet::load(store, fabric, directory).await.unwrap()
}
