//! A relay, a target and a service in one process, on real loopback sockets, with a control channel in between.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use klnet_tunnel::blob::Blob;
use klnet_tunnel::grant::{DEFAULT_IDLE, DEFAULT_SESSION, Grant, Host, ORPHAN_LIMIT, START_LIMIT};
use klnet_tunnel::label::LabelSecret;
use klnet_tunnel::net::accept::Acceptor;
use klnet_tunnel::net::initiator::Initiator;
use klnet_tunnel::net::relay::{Arrival, RelayEvent, RelayHandle};
use klnet_tunnel::net::target::{Session, TargetHandle};
use klnet_tunnel::net::{relay, target};
use klnet_tunnel::policy::TargetPolicy;
use klnet_tunnel::record::TunnelRecord;
use klnet_tunnel::relay::{Limits, RefusedHello, RelayRecord};
use klnet_wire::id::{DeviceId, FabricId, GrantId, OperatorId, ServerId, TenantId};
use klnet_wire::keyset::{Key, KeySet, Purpose};
use klnet_wire::message::{Message, Recorded, Revoke};
use klnet_wire::signed::Context;
use klnet_wire::signing::SigningKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

pub(crate) const SERVER: ServerId = ServerId::new([1; 16]);
pub(crate) const DEVICE: DeviceId = DeviceId::new([2; 16]);
pub(crate) const TENANT: TenantId = TenantId::new([3; 16]);
pub(crate) const OPERATOR: OperatorId = OperatorId::new([4; 16]);
pub(crate) const EPOCH: u64 = 7;

pub(crate) struct World {
    pub(crate) relay: RelayHandle,
    pub(crate) target: TargetHandle,
    pub(crate) tunnel_port: u16,
    pub(crate) operator: SigningKey,
    pub(crate) records: mpsc::UnboundedReceiver<RelayRecord>,
    pub(crate) signed: mpsc::UnboundedReceiver<TunnelRecord>,
    pub(crate) refused: mpsc::UnboundedReceiver<RefusedHello>,
    device: SigningKey,
    signer: SigningKey,
    /// Whether the control channel carries anything.
    control: watch::Sender<bool>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A world whose relay is configured by `adjust`.
    pub(crate) async fn with(adjust: impl FnOnce(&mut relay::Config)) -> Self {
        let (signer, device) = (SigningKey::generate_ed25519(), SigningKey::generate_p256());
        let core =
            klnet_tunnel::relay::Config { secret: [5; 32], audience: SERVER, limits: Limits::default() };
        let mut config = relay::Config::new(core);
        adjust(&mut config);
        let (relay, events) = relay::start(config);
        let core = klnet_tunnel::target::Config {
            device: DEVICE,
            tenant: TENANT,
            policy: TargetPolicy::default(),
            limits: klnet_tunnel::target::Limits::default(),
            secret: [6; 32],
        };
        let (target, messages) =
            target::start(target::Config { core, key: device.clone(), own_addresses: Vec::new });
        let tunnel_port = serve_initiators(relay.clone()).await;
        let server = serve_agents(relay.clone()).await;
        let (record_sender, records) = mpsc::unbounded_channel();
        let (signed_sender, signed) = mpsc::unbounded_channel();
        let (refused_sender, refused) = mpsc::unbounded_channel();
        let (control, up) = watch::channel(true);
        tokio::spawn(down(events, target.clone(), record_sender, refused_sender, up.clone()));
        tokio::spawn(self::up(
            messages,
            relay.clone(),
            target.clone(),
            device.public().clone(),
            signed_sender,
            up,
        ));
        target.keys(keys(&signer)).await.unwrap();
        relay.online(DEVICE, EPOCH).await.unwrap();
        let session =
            Session { server, epoch: EPOCH, clock: now(), relay: Some(SERVER), forbidden: Vec::new() };
        target.connected(session).await.unwrap();
        let operator = SigningKey::generate_p256();
        Self { relay, target, tunnel_port, operator, records, signed, refused, device, signer, control }
    }

    /// A grant for a port of the device, admitted at both ends.
    pub(crate) async fn blob(&self, port: u16) -> Blob {
        self.mint(self.grant(port)).await
    }

    pub(crate) fn grant(&self, port: u16) -> Grant {
        Grant {
            id: GrantId::random(),
            tenant: TENANT,
            device: DEVICE,
            host: Host::Device,
            port: NonZeroU16::new(port).unwrap(),
            cnf: self.operator.public().clone(),
            operator: OPERATOR,
            audience: SERVER,
            route: Vec::new(),
            epoch: EPOCH,
            start: START_LIMIT,
            session: DEFAULT_SESSION,
            idle: DEFAULT_IDLE,
            orphan: ORPHAN_LIMIT,
            rate: None,
            connections: NonZeroU32::new(16).unwrap(),
            issued: now(),
        }
    }

    /// What a server does at mint: the agent has the grant before the relay can ask it to dial back.
    pub(crate) async fn mint(&self, grant: Grant) -> Blob {
        let signed = self.signer.sign(Context::Grant, grant.encode());
        let secret = LabelSecret::new(random());
        self.target.receive(Message::Grant(signed.clone())).await.unwrap();
        self.relay.admit(now(), Arc::new(grant.clone()), secret.clone()).await.unwrap();
        let relay = Host::Address(Ipv4Addr::LOCALHOST.into());
        let (ports, agent) = (vec![self.tunnel_port], self.device.public().clone());
        Blob { signed, relay, ports, secret, agent, expires: grant.issued + 60, grant }
    }

    pub(crate) fn initiator(&self, blob: Blob) -> Initiator {
        Initiator::new(blob, &self.operator)
    }

    /// Cuts the control channel: nothing passes any more, and the agent notices.
    pub(crate) async fn lose_control(&self) {
        self.control.send_replace(false);
        self.target.disconnected().await.unwrap();
    }
}

/// A service that sends everything back, and counts who came.
pub(crate) struct Echo {
    pub(crate) port: u16,
    accepted: Arc<AtomicUsize>,
}

impl Echo {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = accepted.clone();
        tokio::spawn(async move {
            let mut acceptor = Acceptor::new(listener);
            loop {
                let (mut stream, _) = acceptor.accept().await;
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                    let _ = writer.shutdown().await;
                });
            }
        });
        Self { port, accepted }
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Sends `bytes` to an echo and wants them back.
pub(crate) async fn echoes(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).await.unwrap();
    assert!(back == bytes, "the echo differs");
}

/// Waits for something to become true, for at most five seconds.
pub(crate) async fn eventually(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("it became true");
}

async fn serve_initiators(relay: RelayHandle) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut acceptor = Acceptor::new(listener);
        loop {
            let (stream, peer) = acceptor.accept().await;
            relay.initiator(stream, peer);
        }
    });
    port
}

async fn serve_agents(relay: RelayHandle) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut acceptor = Acceptor::new(listener);
        loop {
            let (stream, peer): (TcpStream, _) = acceptor.accept().await;
            let relay = relay.clone();
            tokio::spawn(async move {
                let arrival = relay.agent(stream, peer).await;
                assert!(matches!(arrival, Ok(Arrival::DialBack) | Err(_)), "no control connections here");
            });
        }
    });
    address
}

/// From the server to the agent.
async fn down(
    mut events: mpsc::Receiver<RelayEvent>,
    target: TargetHandle,
    records: mpsc::UnboundedSender<RelayRecord>,
    refused: mpsc::UnboundedSender<RefusedHello>,
    up: watch::Receiver<bool>,
) {
    while let Some(event) = events.recv().await {
        let message = match event {
            RelayEvent::Open { open, .. } => Message::Open(open),
            RelayEvent::RevokeAt { grants, reason, .. } => {
                let grants = grants.iter().map(|grant| grant.to_vec().into()).collect();
                Message::Revoke(Revoke { grants, reason: reason.into() })
            }
            RelayEvent::Refused { why, .. } => {
                let _ = refused.send(why);
                continue;
            }
            RelayEvent::Record(record) => {
                let _ = records.send(record);
                continue;
            }
        };
        if *up.borrow() {
            assert_eq!(target.receive(message).await, Ok(None));
        }
    }
}

/// From the agent to the server.
async fn up(
    mut messages: mpsc::Receiver<Message>,
    relay: RelayHandle,
    target: TargetHandle,
    key: klnet_wire::signed::PublicKey,
    records: mpsc::UnboundedSender<TunnelRecord>,
    up: watch::Receiver<bool>,
) {
    while let Some(message) = messages.recv().await {
        if !*up.borrow() {
            continue;
        }
        match message {
            Message::TunnelState(state) => relay.state(state, DEVICE).await.unwrap(),
            Message::Tunnels(tunnels) => relay.alive(tunnels, DEVICE).await.unwrap(),
            Message::TunnelRecord(signed) => {
                let record = TunnelRecord::verify(&signed, DEVICE, &key).unwrap();
                let cookie = Bytes::copy_from_slice(record.cookie.as_bytes());
                target.receive(Message::Recorded(Recorded { cookie })).await.unwrap();
                let _ = records.send(record);
            }
            other => panic!("an agent's target does not send {other:?}"),
        }
    }
}

fn keys(signer: &SigningKey) -> Arc<KeySet> {
    let public = Bytes::copy_from_slice(signer.public().as_bytes());
    let key = Key { purpose: Purpose::Grant.into(), public, not_before: 0, not_after: u64::MAX };
    Arc::new(KeySet { fabric: FabricId::new([9; 16]).to_vec().into(), version: 1, keys: vec![key] })
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(GrantId::random().as_bytes());
    bytes[16..].copy_from_slice(GrantId::random().as_bytes());
    bytes
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
