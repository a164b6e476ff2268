use std::collections::BTreeMap;

use bytes::Bytes;
use klnet_wire::keyset::{Key, Purpose};
use klnet_wire::signed::{BadSignature, Context};
use klnet_wire::signing::SigningKey;
use prost::Message;

use super::*;

#[test]
fn newer_blobs_replace_older_ones_and_never_the_other_way_round() {
    let fabric = Fabric::new();
    let mut directory = fabric.directory();
    assert_eq!(directory.take_keys(&fabric.keys(2)), Ok(Taken::Newer));
    assert_eq!(directory.take_keys(&fabric.keys(2)), Ok(Taken::Known));
    assert_eq!(directory.take_keys(&fabric.keys(1)), Err(DirectoryError::OlderKeys { known: 2, offered: 1 }));
    assert_eq!(directory.key_version(), 2);
    assert_eq!(directory.take_servers(&fabric.servers(20, &[]), NOW), Ok(Taken::Newer));
    assert_eq!(directory.take_servers(&fabric.servers(20, &[]), NOW), Ok(Taken::Known));
    assert_eq!(
        directory.take_servers(&fabric.servers(19, &[]), NOW),
        Err(DirectoryError::OlderServers { known: 20, offered: 19 })
    );
}

#[test]
fn a_list_from_the_future_keeps_no_agent_from_the_next_one() {
    let fabric = Fabric::new();
    let mut directory = fabric.directory();
    let _ = directory.take_keys(&fabric.keys(1)).unwrap();
    assert_eq!(directory.take_servers(&fabric.servers(NOW + 86_400, &[]), NOW), Ok(Taken::Newer));
    assert_eq!(directory.take_servers(&fabric.servers(NOW, &[]), NOW), Ok(Taken::Newer));
    assert_eq!(
        directory.take_servers(&fabric.servers(NOW - 1, &[]), NOW),
        Err(DirectoryError::OlderServers { known: NOW, offered: NOW - 1 })
    );
}

#[test]
fn blobs_of_another_root_change_nothing() {
    let (fabric, other) = (Fabric::new(), Fabric::new());
    let mut directory = fabric.directory();
    assert_eq!(directory.take_servers(&fabric.servers(1, &[]), NOW), Err(DirectoryError::NoKeys));
    assert_eq!(
        directory.take_keys(&other.keys(9)),
        Err(DirectoryError::Keys(KeySetError::Signature(BadSignature)))
    );
    let _ = directory.take_keys(&fabric.keys(1)).unwrap();
    assert_eq!(
        directory.take_servers(&other.servers(9, &[]), NOW),
        Err(DirectoryError::Servers(ServerListError::Signature(BadSignature)))
    );
    assert_eq!((directory.key_version(), directory.servers()), (1, None));
}

#[test]
fn heavier_servers_are_dialled_first_more_often() {
    let fabric = Fabric::new();
    let directory =
        fabric.knowing(&[server("a", &[23100], 3), server("b", &[23100], 1), server("c", &[1], 0)]);
    let mut first = BTreeMap::<String, u32>::new();
    for seed in 0..1000 {
        let candidates = directory.candidates(&mut Random::new(seed));
        assert_eq!(candidates.len(), 3);
        assert_eq!(candidates[2].host, "c");
        *first.entry(candidates[0].host.clone()).or_default() += 1;
    }
    assert!((650..850).contains(&first["a"]), "{first:?}");
}

#[test]
fn every_port_of_a_server_is_used() {
    let directory = Fabric::new().knowing(&[server("a", &[23100, 23101, 23102], 1)]);
    let mut random = Random::new(1);
    let ports: std::collections::BTreeSet<u16> =
        (0..100).flat_map(|_| directory.candidates(&mut random)).map(|candidate| candidate.port).collect();
    assert_eq!(ports.into_iter().collect::<Vec<_>>(), [23100, 23101, 23102]);
}

#[test]
fn a_server_without_ports_is_never_dialled_and_a_list_of_many_is_cut() {
    let mut servers = vec![server("none", &[], 100)];
    servers.extend((0..100).map(|number| server(&format!("s{number}"), &[23100], 1)));
    let candidates = Fabric::new().knowing(&servers).candidates(&mut Random::new(1));
    assert_eq!(candidates.len(), CANDIDATE_LIMIT);
    assert!(candidates.iter().all(|candidate| candidate.host != "none"));
}

#[test]
fn addresses_are_written_as_they_are_dialled() {
    let written = |host: &str| Candidate { host: host.into(), port: 1 }.to_string();
    assert_eq!(
        [written("a.example"), written("::1"), written("[::1]")],
        ["a.example:1", "[::1]:1", "[::1]:1"]
    );
}

const NOW: u64 = 1_700_000_000;

struct Fabric {
    id: FabricId,
    root: SigningKey,
    online: SigningKey,
}

impl Fabric {
    fn new() -> Self {
        let (root, online) = (SigningKey::generate_p256(), SigningKey::generate_ed25519());
        Self { id: FabricId::new([1; 16]), root, online }
    }

    fn directory(&self) -> Directory {
        Directory::new(self.id, vec![self.root.public().clone()])
    }

    fn knowing(&self, servers: &[Server]) -> Directory {
        let mut directory = self.directory();
        let _ = directory.take_keys(&self.keys(1)).unwrap();
        let _ = directory.take_servers(&self.servers(1, servers), NOW).unwrap();
        directory
    }

    fn keys(&self, version: u64) -> Signed {
        let public = Bytes::copy_from_slice(self.online.public().as_bytes());
        let key = Key { purpose: Purpose::Directory.into(), public, not_before: 0, not_after: u64::MAX };
        let set = KeySet { fabric: self.id.to_vec().into(), version, keys: vec![key] };
        self.root.sign(Context::KeySet, set.encode_to_vec().into())
    }

    fn servers(&self, issued: u64, servers: &[Server]) -> Signed {
        let fabric = self.id.to_vec().into();
        let list = ServerList { fabric, servers: servers.to_vec(), issued, ..ServerList::default() };
        self.online.sign(Context::ServerList, list.encode_to_vec().into())
    }
}

fn server(host: &str, ports: &[u32], weight: u32) -> Server {
    Server { host: host.into(), agent_ports: ports.to_vec(), weight, ..Server::default() }
}
