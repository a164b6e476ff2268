//! A server in this process, and operators and devices of every standing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64URL_NOPAD;
use klnet_wire::id::TenantId;
use klnet_wire::identity::authority::{Leaf, OPERATOR_LIFE, request};
use klnet_wire::identity::enroll::{EnrollReply, EnrollRequest};
use klnet_wire::identity::tls::{ALPN_HTTP, Identity, client_config};
use klnet_wire::identity::{Principal, Role};
use klnet_wire::signing::SigningKey;
use prost::Message;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::Config;
use crate::fabric::Fabric;
use crate::fleet::record::{DeviceRecord, GroupRecord, OperatorRecord};
use crate::fleet::{Caller, Fleet};
use crate::invitation::Invitation;
use crate::service::Service;
use crate::store::{Key, Op, OpId};

/// A running server.
pub(super) struct Site {
    pub(super) fleet: Arc<Fleet>,
    pub(super) fabric: Fabric,
    pub(super) address: SocketAddr,
    _folder: TempDir,
    _running: DropGuard,
}

/// What a server answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Site {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fabric = Fabric::init(folder.path(), SystemTime::now()).unwrap();
        let config = Config {
            state: folder.path().to_owned(),
            hosts: vec!["127.0.0.1".into()],
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            https_port: 0,
            agent_ports: vec![0],
            tunnel_ports: vec![0],
            ..Config::parse("").unwrap()
        };
        let service = Service::start(config).await.unwrap();
        let fleet = service.fleet().clone();
        let address = (Ipv4Addr::LOCALHOST, service.announced().https_port).into();
        let shutdown = CancellationToken::new();
        tokio::spawn(service.run(shutdown.clone()));
        Self { fleet, fabric, address, _folder: folder, _running: shutdown.drop_guard() }
    }

    /// The first administrator, logged in as anyone would.
    pub(super) async fn administrator(&self) -> Identity {
        let (_, invitation) = self.fleet.add_first_operator("root", Duration::from_secs(60)).await.unwrap();
        self.login(&invitation).await
    }

    /// Logs in with an invitation.
    pub(super) async fn login(&self, invitation: &str) -> Identity {
        let invitation = Invitation::parse(invitation).unwrap();
        self.enroll_at("/api/v1/login", &invitation.token(), Role::Operator).await
    }

    /// Enrols a device.
    pub(super) async fn device(&self, by: &Caller) -> Identity {
        let group = self.fleet.group(by.tenant, "/").unwrap().id;
        let (_, secret) = self.fleet.add_token(by, group, 1, Duration::from_secs(60)).await.unwrap();
        self.enroll_at("/api/v1/enroll", &secret, Role::Agent).await
    }

    async fn enroll_at(&self, path: &str, token: &str, role: Role) -> Identity {
        let key = SigningKey::generate_p256();
        let asked = EnrollRequest {
            token: token.to_owned(),
            request: BASE64URL_NOPAD.encode(&request(&key).unwrap()),
            host_name: "web-7".into(),
            os: "Linux".into(),
        };
        let answer = self.post(None, path, &serde_json::to_string(&asked).unwrap()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let reply: EnrollReply = serde_json::from_str(&answer.body).unwrap();
        let trust = self.fabric.trust();
        let enrolled = reply.verify(&trust.pin(), key.public(), role, SystemTime::now()).unwrap();
        Identity { chain: enrolled.chain, key }
    }

    /// A certificate by the fabric's own authority, whether or not the fleet knows its holder.
    pub(super) fn certify(&self, tenant: TenantId, role: Role, id: [u8; 16]) -> (Identity, Vec<u8>) {
        let key = SigningKey::generate_p256();
        let fabric = self.fabric.trust().fabric();
        let principal = Principal { fabric, tenant, role, id, serial: Vec::new() };
        let leaf = Leaf::new(principal, Vec::new(), SystemTime::now(), OPERATOR_LIFE);
        let chain = self.fabric.authority().issue(key.public(), &leaf).unwrap();
        (Identity { chain, key }, leaf.principal.serial)
    }

    /// An operator straight from the store: of any tenant, with any roles.
    pub(super) async fn operator(&self, tenant: TenantId, roles: &[&str]) -> Identity {
        let id = *klnet_wire::id::OperatorId::random().as_bytes();
        let (identity, serial) = self.certify(tenant, Role::Operator, id);
        let record = OperatorRecord {
            name: format!("operator {}", &serial[1]),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            created: 1,
            key: identity.key.public().as_bytes().to_vec(),
            serial,
            ..OperatorRecord::default()
        };
        self.put(tenant, "operator", id, &record).await;
        identity
    }

    /// A group straight from the store: a tenant's root has the tenant's number.
    pub(super) async fn root_group(&self, tenant: TenantId) {
        self.put(tenant, "group", *tenant.as_bytes(), &GroupRecord::default()).await;
    }

    /// A device straight from the store.
    pub(super) async fn stored_device(&self, tenant: TenantId) -> Identity {
        let id = *klnet_wire::id::DeviceId::random().as_bytes();
        let (identity, serial) = self.certify(tenant, Role::Agent, id);
        let key = identity.key.public().as_bytes().to_vec();
        let group = tenant.to_vec();
        let record = DeviceRecord {
            name: "stored".into(),
            group,
            key,
            serial,
            enrolled: 1,
            ..DeviceRecord::default()
        };
        self.put(tenant, "device", id, &record).await;
        identity
    }

    async fn put(&self, tenant: TenantId, table: &str, id: [u8; 16], record: &impl Message) {
        let id = klnet_wire::id::Id::<()>::new(id).to_string();
        let key = Key::join(&["t", &tenant.to_string(), table, &id]).unwrap();
        let op = Op::put(key, record.encode_to_vec());
        self.fleet.store().commit(OpId::random(), Vec::new(), vec![op]).await.unwrap();
        let known = || match table {
            "operator" => self.fleet.operators(tenant).iter().any(|operator| operator.id.to_string() == id),
            "device" => self.fleet.devices(tenant).iter().any(|device| device.id.to_string() == id),
            _ => self.fleet.groups(tenant).iter().any(|group| group.id.to_string() == id),
        };
        while !known() {
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn caller(&self, identity: &Identity) -> Caller {
        self.fleet.caller(&principal(identity)).unwrap()
    }

    pub(super) async fn get(&self, as_whom: Option<&Identity>, path: &str) -> Answer {
        self.send(as_whom, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
    }

    pub(super) async fn json(&self, as_whom: Option<&Identity>, path: &str) -> Value {
        serde_json::from_str(&self.get(as_whom, path).await.body).unwrap()
    }

    pub(super) async fn post(&self, as_whom: Option<&Identity>, path: &str, body: &str) -> Answer {
        self.request(as_whom, "POST", path, body).await
    }

    pub(super) async fn request(
        &self,
        as_whom: Option<&Identity>,
        method: &str,
        path: &str,
        body: &str,
    ) -> Answer {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        let kind = "Content-Type: application/json\r\n";
        self.send(as_whom, &format!("{head}{kind}Content-Length: {}\r\n\r\n{body}", body.len())).await
    }

    /// Sends exactly these bytes, and reads until the server hangs up.
    pub(super) async fn send(&self, as_whom: Option<&Identity>, bytes: &str) -> Answer {
        let mut stream = self.connect(as_whom).await;
        // The server may refuse, and hang up, before everything was written.
        let _ = stream.write_all(bytes.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    pub(super) async fn connect(&self, as_whom: Option<&Identity>) -> TlsStream<TcpStream> {
        let config = client_config(as_whom, self.fabric.trust().clone(), &[ALPN_HTTP]).unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        TlsConnector::from(config).connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
    }
}

pub(super) fn principal(identity: &Identity) -> Principal {
    Principal::named_in(&identity.chain[0]).unwrap()
}

/// The identifier of whoever holds the identity, as the API writes it.
pub(super) fn id(identity: &Identity) -> String {
    principal(identity).id::<()>().to_string()
}
