//! Devices that nobody enrolled over the network: their certificates are made with the server's keys, and their records put
//! into its store before it starts.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use klnet_agent::control::dial;
use klnet_agent::directory::Candidate;
use klnet_server::fabric::Fabric;
use klnet_server::fleet::record::DeviceRecord;
use klnet_server::service::open_store;
use klnet_server::store::{Key, Op, OpId, Store};
use klnet_wire::id::DeviceId;
use klnet_wire::identity::authority::{AGENT_LIFE, Leaf};
use klnet_wire::identity::tls::{ALPN_AGENT, Identity, client_config};
use klnet_wire::identity::{Principal, Role, Trust};
use klnet_wire::message::Hello;
use klnet_wire::session::{Event, FEATURES, MINOR_MAX, MINOR_MIN};
use klnet_wire::signing::SigningKey;
use prost::Message;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::bench::server::block_on;

/// Registered devices.
#[derive(Debug)]
pub(super) struct Crowd {
    pub(super) devices: Vec<(DeviceId, Identity)>,
    pub(super) trust: Trust,
}

/// The moment at which a device saw its session end.
pub(super) type Ended = (DeviceId, Instant);

impl Crowd {
    /// Registers devices with the server that has its state here and does not run.
    pub(super) fn register(state: &Path, devices: usize) -> Result<Self> {
        let fabric = Fabric::load(state)?;
        let made = (0..devices).map(|number| member(&fabric, number)).collect::<Result<Vec<_>>>()?;
        block_on(async {
            let store = open_store(state)?;
            for members in made.chunks(store.limits().ops) {
                let put = |(id, record, _): &(DeviceId, DeviceRecord, Identity)| -> Result<Op> {
                    let key = Key::join(&["t", &fabric.tenant().to_string(), "device", &id.to_string()])?;
                    Ok(Op::put(key, record.encode_to_vec()))
                };
                let ops = members.iter().map(put).collect::<Result<_>>()?;
                store.commit(OpId::random(), Vec::new(), ops).await?;
            }
            store.close().await;
            Ok(())
        })?;
        let devices = made.into_iter().map(|(id, _, identity)| (id, identity)).collect();
        Ok(Self { devices, trust: fabric.trust().clone() })
    }

    /// Connects some of the devices; each answers from then on and says nothing else. Their ends are told.
    pub(super) async fn connect(
        &self,
        devices: &[(DeviceId, Identity)],
        server: SocketAddr,
        ended: &mpsc::UnboundedSender<Ended>,
    ) -> Result<()> {
        let (seats, mut welcomes) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
        for (device, identity) in devices {
            let tls = client_config(Some(identity), self.trust.clone(), &[ALPN_AGENT])?;
            let (seat, device, ended) = (Arc::clone(&seats).acquire_owned().await?, *device, ended.clone());
            welcomes.spawn(async move {
                let candidate = Candidate { host: server.ip().to_string(), port: server.port() };
                let mut control = dial(&[candidate], &tls).await?.greet(hello(), 1)?;
                while !matches!(control.event().await.context("not welcome")?, Event::Welcome(_)) {}
                drop(seat);
                tokio::spawn(async move {
                    while control.event().await.is_some() {}
                    // Whoever measures may have seen enough.
                    let _ = ended.send((device, Instant::now()));
                });
                anyhow::Ok(())
            });
        }
        while let Some(welcome) = welcomes.join_next().await {
            welcome??;
        }
        Ok(())
    }
}

fn member(fabric: &Fabric, number: usize) -> Result<(DeviceId, DeviceRecord, Identity)> {
    let (key, id) = (SigningKey::generate_p256(), DeviceId::random());
    let (fabric_id, tenant) = (fabric.trust().fabric(), fabric.tenant());
    let principal =
        Principal { fabric: fabric_id, tenant, role: Role::Agent, id: *id.as_bytes(), serial: Vec::new() };
    let leaf = Leaf::new(principal, Vec::new(), SystemTime::now(), AGENT_LIFE);
    let chain = fabric.authority().issue(key.public(), &leaf)?;
    let record = DeviceRecord {
        name: format!("desktop-{number:07}"),
        os: "Debian GNU/Linux 12 (bookworm)".into(),
        group: vec![0; 16],
        key: key.public().as_bytes().to_vec(),
        enrolled: 1_790_000_000,
        serial: leaf.principal.serial,
        ..DeviceRecord::default()
    };
    Ok((id, record, Identity { chain, key }))
}

fn hello() -> Hello {
    let (minor_min, minor_max, features) = (MINOR_MIN, MINOR_MAX, FEATURES);
    let epoch = u64::from_be_bytes(DeviceId::random().as_bytes()[..8].try_into().expect("8 bytes"));
    Hello { minor_min, minor_max, features, epoch, ..Hello::default() }
}

/// Handshakes under way.
const AT_ONCE: usize = 32;
