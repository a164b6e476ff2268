//! A fleet, a relay and devices without sockets: a device is the queue of what its session is told.

use std::num::NonZeroU16;
use std::sync::atomic::AtomicBool;

use klnet_tunnel::grant::{DEFAULT_CONNECTIONS, ORPHAN_LIMIT, START_LIMIT};
use klnet_tunnel::label::Cookie;
use klnet_tunnel::net::relay;
use klnet_tunnel::net::request::{GrantReply, GrantRequest};
use klnet_tunnel::pair::{EndReason, PairEnd};
use klnet_tunnel::record::TunnelRecord;
use klnet_tunnel::relay::RelayRecord;
use klnet_wire::id::{OperatorId, ServerId};
use klnet_wire::net::link::Command;
use klnet_wire::signed::{Context, Signed};
use klnet_wire::signing::SigningKey;
use tempfile::TempDir;
use tokio::sync::Notify;

use super::*;
use crate::directory::Announced;
use crate::fleet::record::{DeviceRecord, GrantRecord, OperatorRecord};
use crate::fleet::{OperatorRole, keys};
use crate::sessions::Live;
use crate::store::forward::{Fault, Forward};
use crate::store::{BoxFuture, Commit, CommitError, Key, Op, OpId, Rev, SqliteStore, Store, Unavailable};

pub(super) struct Bench {
    pub(super) tunnels: Arc<Tunnels>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) relay: RelayHandle,
    pub(super) disk: Arc<Disk>,
    pub(super) admin: Caller,
    _folder: TempDir,
}

/// A device whose session is a queue.
pub(super) struct Device {
    pub(super) id: DeviceId,
    pub(super) key: SigningKey,
    told: mpsc::Receiver<Box<Command>>,
}

impl Bench {
    pub(super) async fn new() -> Self {
        Self::configured("").await
    }

    /// With this `server.toml`.
    pub(super) async fn configured(settings: &str) -> Self {
        let config = Arc::new(Config::parse(settings).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let fabric = Arc::new(Fabric::init(folder.path(), SystemTime::now()).unwrap());
        let store = SqliteStore::open(&folder.path().join("state.db")).unwrap();
        let disk = Arc::new(Disk::default());
        let announced = Announced {
            hosts: vec!["localhost".into()],
            https_port: 8443,
            agent_ports: vec![23_100],
            tunnel_ports: vec![29_200],
            reconnect_window: Duration::from_secs(2),
        };
        let directory = Arc::new(Directory::new(Arc::clone(&fabric), Arc::default(), announced));
        let store = Arc::new(Forward { sound: Arc::new(store), fault: Arc::clone(&disk) });
        let fleet = Fleet::load(store, Arc::clone(&fabric), Arc::clone(&directory)).await.unwrap();
        let core = klnet_tunnel::relay::Config {
            secret: [5; 32],
            audience: fabric.server(),
            limits: config.limits.relay(),
        };
        let (relay, events) = relay::start(relay::Config::new(core));
        let tenant = fabric.tenant();
        let parts = Parts {
            fleet: Arc::clone(&fleet),
            fabric,
            directory,
            sessions: Arc::default(),
            relay: relay.clone(),
            metrics: Arc::default(),
            config,
        };
        let tunnels = Tunnels::start(parts, events, Vec::new());
        let admin = operator(&fleet, tenant, "root", OperatorRole::Administrator).await;
        Self { tunnels, fleet, relay, disk, admin, _folder: folder }
    }

    pub(super) async fn operator(&self, name: &str, role: OperatorRole) -> Caller {
        operator(&self.fleet, self.admin.tenant, name, role).await
    }

    /// A device that is known and connected.
    pub(super) async fn device(&self, name: &str) -> Device {
        let (id, key, tenant) = (DeviceId::random(), SigningKey::generate_p256(), self.admin.tenant);
        let public = key.public().as_bytes().to_vec();
        let record = DeviceRecord { name: name.into(), key: public, enrolled: 1, ..DeviceRecord::default() };
        put(&self.fleet, tenant, "device", &id.to_string(), &record).await;
        let (commands, told) = mpsc::channel(64);
        let (boot_id, pongs, cut) = Default::default();
        let live = Live { tenant, serial: 0, epoch: EPOCH, boot_id, pongs, commands, cut };
        self.tunnels.sessions.insert(id, live);
        self.relay.online(id, EPOCH).await.unwrap();
        Device { id, key, told }
    }

    /// What the intent of a grant leaves in the store.
    pub(super) async fn granted(&self, device: &Device) -> GrantId {
        let (grant, tenant) = (GrantId::random(), self.admin.tenant);
        let change = Change::new(tenant, "root", "tunnel.grant", "a device")
            .put(keys::grant(tenant, grant), &GrantRecord { device: device.id.to_vec(), killed: false });
        self.fleet.note(change).await.unwrap();
        grant
    }

    /// Grants a tunnel to a device that takes it.
    pub(super) async fn grant(&self, by: &Caller, device: &mut Device) -> GrantReply {
        let asked = request(device);
        let granting = self.tunnels.grant(by, &asked);
        let (granted, ()) = tokio::join!(granting, async {
            let grant = device.grant().await;
            self.accept(device, grant).await;
        });
        granted.unwrap()
    }

    pub(super) async fn accept(&self, device: &Device, grant: GrantId) {
        let state = State::GrantAccepted.into();
        let state = TunnelState { grant: grant.to_vec().into(), state, ..TunnelState::default() };
        self.tunnels.state(self.admin.tenant, device.id, state).await;
    }

    /// The relay's record of a connection, stored.
    pub(super) async fn relay_tells(&self, device: &Device, grant: GrantId, cookie: Cookie) {
        let record = self.relayed(device, grant, cookie);
        self.tunnels.store(&[Ended::Relay(record)]).await.unwrap();
    }

    pub(super) fn relayed(&self, device: &Device, grant: GrantId, cookie: Cookie) -> RelayRecord {
        RelayRecord {
            grant,
            cookie,
            tenant: self.admin.tenant,
            device: device.id,
            operator: self.admin.operator,
            initiator: "[::ffff:198.18.0.1]:4444".parse().unwrap(),
            opened: Instant::now(),
            closed: Instant::now(),
            end: PairEnd { to_target: 1, to_initiator: 2, reason: EndReason::Finished },
        }
    }

    pub(super) async fn agent_tells(&self, device: &Device, grant: GrantId, cookie: Cookie) {
        let signed = device.record(grant, cookie);
        self.tunnels.agent_record(self.admin.tenant, device.id, signed).await;
    }

    /// Waits for an entry of this action.
    pub(super) async fn audited(&self, action: &str) -> crate::audit::AuditEntry {
        loop {
            let entries = self.fleet.audit(self.admin.tenant, None, 1000).await.unwrap();
            if let Some(entry) = entries.into_iter().find(|entry| entry.action == action) {
                return entry;
            }
            tokio::task::yield_now().await;
        }
    }

    /// How many grants are open in the store.
    pub(super) async fn open(&self) -> usize {
        let prefix = keys::opens(self.admin.tenant);
        self.fleet.store().scan(&prefix, None, 1000, None).await.unwrap().entries.len()
    }

    /// Who told of an ended connection of a device, with what became of it, in the order in which they told.
    pub(super) async fn ends(&self, device: &Device) -> Vec<(String, String)> {
        let entries = self.fleet.audit(self.admin.tenant, None, 1000).await.unwrap();
        let id = device.id.to_string();
        let ours = |entry: &&crate::audit::AuditEntry| {
            entry.action == "tunnel.closed" && entry.detail["device"] == id
        };
        entries
            .iter()
            .rev()
            .filter(ours)
            .map(|entry| (entry.actor.clone(), entry.detail["confirmed"].clone()))
            .collect()
    }
}

impl Device {
    /// The next message of its session.
    pub(super) async fn told(&mut self) -> Message {
        match self.told.recv().await.map(|command| *command) {
            Some(Command::Send(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for a GRANT and gives its id.
    pub(super) async fn grant(&mut self) -> GrantId {
        loop {
            if let Message::Grant(signed) = self.told().await {
                return Grant::read(&signed.bytes).unwrap().id;
            }
        }
    }

    /// Waits for a REVOKE and gives its first grant.
    pub(super) async fn revoked(&mut self) -> GrantId {
        loop {
            if let Message::Revoke(revoke) = self.told().await {
                return GrantId::try_from(&revoke.grants[0][..]).unwrap();
            }
        }
    }

    /// Waits until a record of it is acknowledged.
    pub(super) async fn acknowledged(&mut self) {
        while !matches!(self.told().await, Message::Recorded(_)) {}
    }

    pub(super) fn unsigned(&self, grant: GrantId, cookie: Cookie) -> TunnelRecord {
        told_by_agent(self.id, grant, cookie)
    }

    fn record(&self, grant: GrantId, cookie: Cookie) -> Signed {
        self.key.sign(Context::TunnelRecord, self.unsigned(grant, cookie).encode())
    }
}

/// A disk that can be full.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) full: AtomicBool,
    /// Told of each commit that was refused for that.
    pub(super) refused: Notify,
}

impl Fault for Disk {
    fn apply<'a>(&'a self, sound: &'a dyn Store, commit: Commit) -> BoxFuture<'a, Result<Rev, CommitError>> {
        if self.full.load(Ordering::SeqCst) {
            self.refused.notify_one();
            return Box::pin(async { Err(Unavailable::DiskFull.into()) });
        }
        sound.apply(commit)
    }
}

pub(super) fn request(device: &Device) -> GrantRequest {
    GrantRequest { device: device.id.to_string(), port: 22, host: None, r#for: None, cnf: None }
}

/// A grant of nobody in particular.
pub(in crate::tunnels) fn sample_grant() -> Grant {
    Grant {
        id: GrantId::random(),
        tenant: TenantId::random(),
        device: DeviceId::random(),
        host: Host::Device,
        port: NonZeroU16::new(22).unwrap(),
        cnf: SigningKey::generate_p256().public().clone(),
        operator: OperatorId::random(),
        audience: ServerId::random(),
        route: Vec::new(),
        epoch: EPOCH,
        start: START_LIMIT,
        session: Duration::from_secs(60),
        idle: Duration::from_secs(60),
        orphan: ORPHAN_LIMIT,
        rate: None,
        connections: DEFAULT_CONNECTIONS,
        issued: 1,
    }
}

pub(in crate::tunnels) fn told_by_agent(device: DeviceId, grant: GrantId, cookie: Cookie) -> TunnelRecord {
    let (reason, resolved) = (EndReason::Finished, None);
    let (opened, closed, to_target, to_initiator) = (10, 20, 30, 40);
    TunnelRecord { grant, cookie, device, resolved, opened, closed, to_target, to_initiator, reason }
}

pub(in crate::tunnels) fn cookie(n: u32) -> Cookie {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    Cookie::new(bytes)
}

async fn operator(fleet: &Fleet, tenant: TenantId, name: &str, role: OperatorRole) -> Caller {
    let operator = OperatorId::random();
    let record = OperatorRecord {
        name: name.into(),
        roles: vec![role.name().into()],
        created: 1,
        key: SigningKey::generate_p256().public().as_bytes().to_vec(),
        ..OperatorRecord::default()
    };
    put(fleet, tenant, "operator", &operator.to_string(), &record).await;
    Caller { operator, name: name.into(), tenant, roles: [role].into_iter().collect() }
}

async fn put(fleet: &Fleet, tenant: TenantId, table: &str, id: &str, record: &impl prost::Message) {
    let key = Key::join(&["t", &tenant.to_string(), table, id]).unwrap();
    let op = Op::put(key, record.encode_to_vec());
    fleet.store().commit(OpId::random(), Vec::new(), vec![op]).await.unwrap();
    // An audit entry comes after it: once the model has followed that far, it knows the record.
    fleet.note(Change::new(tenant, "a test", "test.put", id)).await.unwrap();
}

const EPOCH: u64 = 7;
