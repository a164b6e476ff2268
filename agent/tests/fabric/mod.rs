//! A fabric on loopback: authority, signed lists, devices, control servers and an HTTPS API, all over real TLS.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test uses the part it needs")]

pub mod api;
pub mod control;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use klnet_agent::agent::Agent;
use klnet_agent::config::{Config, Ports};
use klnet_agent::state::{Device, Folder};
use klnet_wire::id::{Id, TenantId};
use klnet_wire::identity::authority::{AGENT_LIFE, Authority, Leaf, make_root};
use klnet_wire::identity::enroll::{EnrollReply, EnrollRequest};
use klnet_wire::identity::renew::RenewRequest;
use klnet_wire::identity::tls::Identity;
use klnet_wire::identity::{Principal, Role, Trust};
use klnet_wire::keyset::{Key, KeySet, Purpose};
use klnet_wire::servers::{Server, ServerList};
use klnet_wire::signed::{Context, PublicKey, Signed};
use klnet_wire::signing::SigningKey;
use prost::Message;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub const DAY: Duration = Duration::from_secs(86_400);
pub const SOON: Duration = Duration::from_secs(20);

pub struct Fabric {
    root: SigningKey,
    online: SigningKey,
    pub authority: Authority,
    pub tenant: TenantId,
}

impl Fabric {
    pub fn new() -> Self {
        Self::made_at(SystemTime::now() - DAY)
    }

    pub fn made_at(now: SystemTime) -> Self {
        let root = SigningKey::generate_p256();
        let trust = make_root(&root, now).unwrap();
        let authority = Authority::make(trust, &root, SigningKey::generate_p256(), now).unwrap();
        Self { root, online: SigningKey::generate_ed25519(), authority, tenant: TenantId::random() }
    }

    pub fn trust(&self) -> Trust {
        self.authority.trust().clone()
    }

    pub fn identity(&self, role: Role) -> Identity {
        self.identity_from(role, SystemTime::now())
    }

    /// A certificate made at `now`: valid from an hour before.
    pub fn identity_from(&self, role: Role, now: SystemTime) -> Identity {
        let key = SigningKey::generate_p256();
        let leaf = Leaf::new(self.principal(role), vec!["localhost".into()], now, AGENT_LIFE);
        Identity { chain: self.authority.issue(key.public(), &leaf).unwrap(), key }
    }

    fn principal(&self, role: Role) -> Principal {
        let (fabric, id) = (self.trust().fabric(), *Id::<()>::random().as_bytes());
        Principal { fabric, tenant: self.tenant, role, id, serial: Vec::new() }
    }

    pub fn keys(&self, version: u64) -> Signed {
        self.key_set(version, &[(Purpose::Directory, self.online.public())])
    }

    /// A key set of a fabric that has revocation lists.
    pub fn keys_with_issuer(&self, version: u64) -> Signed {
        let issuer = self.authority.key().public();
        self.key_set(version, &[(Purpose::Directory, self.online.public()), (Purpose::Issue, issuer)])
    }

    fn key_set(&self, version: u64, keys: &[(Purpose, &PublicKey)]) -> Signed {
        let key = |(purpose, public): &(Purpose, &PublicKey)| Key {
            purpose: (*purpose).into(),
            public: Bytes::copy_from_slice(public.as_bytes()),
            not_before: 0,
            not_after: u64::MAX,
        };
        let keys = keys.iter().map(key).collect();
        let set = KeySet { fabric: self.trust().fabric().to_vec().into(), version, keys };
        self.root.sign(Context::KeySet, set.encode_to_vec().into())
    }

    pub fn issuers(&self) -> Vec<PublicKey> {
        vec![self.authority.key().public().clone()]
    }

    /// A list of servers on loopback, signed at second `issued`, good for a day.
    pub fn servers(&self, issued: u64, ports: &[u16]) -> Signed {
        self.servers_until(issued, ports, unix(SystemTime::now() + DAY))
    }

    pub fn servers_until(&self, issued: u64, ports: &[u16], expires: u64) -> Signed {
        let server = |port: &u16| Server {
            host: "127.0.0.1".into(),
            agent_ports: vec![u32::from(*port)],
            weight: 1,
            ..Server::default()
        };
        let list = ServerList {
            fabric: self.trust().fabric().to_vec().into(),
            servers: ports.iter().map(server).collect(),
            issued,
            expires,
            ..ServerList::default()
        };
        self.online.sign(Context::ServerList, list.encode_to_vec().into())
    }

    /// What the server answers to a new device.
    pub fn enroll(&self, body: &[u8], servers: &Signed) -> EnrollReply {
        self.enroll_at(body, servers, SystemTime::now())
    }

    /// What it answers with a certificate that was made at `now`.
    pub fn enroll_at(&self, body: &[u8], servers: &Signed, now: SystemTime) -> EnrollReply {
        let asked: EnrollRequest = serde_json::from_slice(body).unwrap();
        let leaf = Leaf::new(self.principal(Role::Agent), Vec::new(), now, AGENT_LIFE);
        let request = asked.request_der().unwrap();
        let (chain, _) = self.authority.issue_to_request(&request, &leaf).unwrap();
        EnrollReply::new(&chain, &self.keys(1), servers)
    }

    /// What the server answers to a device whose certificate is to be renewed.
    pub fn renew(&self, body: &[u8], servers: &Signed) -> EnrollReply {
        let asked: RenewRequest = serde_json::from_slice(body).unwrap();
        let now = SystemTime::now();
        let holder = asked.holder(&self.trust(), klnet_wire::identity::enroll::unix(now)).unwrap();
        let leaf = Leaf::new(holder, Vec::new(), now, AGENT_LIFE);
        let (chain, _) = self.authority.issue_to_request(&asked.request_der().unwrap(), &leaf).unwrap();
        EnrollReply::new(&chain, &self.keys(1), servers)
    }

    /// An enrolled device that knows these control ports, and the API at `api`.
    pub fn device(&self, api: u16, ports: &[u16]) -> Place {
        self.device_from(api, &self.servers(1, ports), SystemTime::now())
    }

    pub fn device_from(&self, api: u16, servers: &Signed, enrolled: SystemTime) -> Place {
        self.device_at(&format!("https://127.0.0.1:{api}"), servers, enrolled)
    }

    pub fn device_at(&self, server: &str, servers: &Signed, enrolled: SystemTime) -> Place {
        let place = Place::new();
        let identity = self.identity_from(Role::Agent, enrolled);
        let principal = Principal::named_in(&identity.chain[0]).unwrap();
        let (server, trust) = (server.to_owned(), self.trust());
        let device = Device { server, name: Some("pc-7".into()), principal, identity, trust };
        place.folder().save(&device).unwrap();
        place.folder().save_keys(&self.keys(1)).unwrap();
        place.folder().save_servers(servers).unwrap();
        place
    }
}

/// A state folder that goes with the test.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn folder(&self) -> Folder {
        Folder::new(self.0.path())
    }

    pub fn config(&self) -> Config {
        Config { state: self.0.path().to_owned(), ports: quiet(), ..Config::default() }
    }
}

/// Of a device that says nothing in the networks of the machine that it is tested on.
pub fn quiet() -> Ports {
    Ports { neighbours: 0, ..Ports::default() }
}

pub fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A running agent, until this is dropped.
pub struct Running(CancellationToken);

impl Running {
    pub fn start(place: &Place) -> Self {
        let shutdown = CancellationToken::new();
        tokio::spawn(Agent::open(&place.config()).unwrap().run(shutdown.clone()));
        Self(shutdown)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
