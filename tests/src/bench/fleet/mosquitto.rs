//! mosquitto as a server of connected devices: TLS 1.3, every client with a certificate.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Result, ensure};
use klnet_server::fabric::Fabric;
use klnet_wire::id::DeviceId;
use klnet_wire::identity::authority::{AGENT_LIFE, Leaf};
use klnet_wire::identity::pem::{chain_to_pem, key_to_pem};
use klnet_wire::identity::tls::{Identity, client_config};
use klnet_wire::identity::{Principal, Role, Trust};
use klnet_wire::signing::SigningKey;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::fleet::PATIENCE;
use crate::lab::{Host, Process};

/// A running broker.
#[derive(Debug)]
pub(super) struct Broker {
    process: Process,
    trust: Trust,
}

impl Broker {
    /// Starts one with a certificate of the fabric.
    pub(super) fn start(host: &Host, fabric: &Fabric, folder: &Path) -> Result<Self> {
        let identity = fabric.server_identity(&["localhost".into()], SystemTime::now())?;
        let write = |name: &str, text: String| std::fs::write(folder.join(name), text);
        write("broker.pem", chain_to_pem(&identity.chain))?;
        write("broker.key", key_to_pem(&identity.key).to_string())?;
        write("ca.pem", chain_to_pem(std::slice::from_ref(fabric.trust().root())))?;
        let at = folder.display();
        write(
            "mosquitto.conf",
            format!(
                "user root\nlistener {PORT} 127.0.0.1\ncafile {at}/ca.pem\ncertfile {at}/broker.pem\n\
                 keyfile {at}/broker.key\ntls_version tlsv1.3\nrequire_certificate true\nallow_anonymous true\n\
                 max_connections -1\npersistence false\nlog_dest stdout\nlog_type error\n"
            ),
        )?;
        let mut command = Command::new("mosquitto");
        command.env("PATH", "/usr/sbin:/usr/bin:/bin").arg("-c").arg(folder.join("mosquitto.conf"));
        let process = Process::spawn("mosquitto", &mut host.place(command))?.tolerating_errors();
        host.wait_for_listener(PORT, PATIENCE)?;
        Ok(Self { process, trust: fabric.trust().clone() })
    }

    pub(super) fn process(&self) -> u32 {
        self.process.id()
    }

    /// Certificates of devices.
    pub(super) fn identities(&self, fabric: &Fabric, count: usize) -> Result<Vec<Identity>> {
        let identity = |_| {
            let (key, id, tenant) =
                (SigningKey::generate_p256(), *DeviceId::random().as_bytes(), fabric.tenant());
            let (fabric_id, role) = (fabric.trust().fabric(), Role::Agent);
            let principal = Principal { fabric: fabric_id, tenant, role, id, serial: Vec::new() };
            let leaf = Leaf::new(principal, Vec::new(), SystemTime::now(), AGENT_LIFE);
            Ok(Identity { chain: fabric.authority().issue(key.public(), &leaf)?, key })
        };
        (0..count).map(identity).collect()
    }

    /// Connects devices, which have nothing to say.
    pub(super) async fn connect(&self, devices: &[Identity]) -> Result<Vec<TlsStream<TcpStream>>> {
        let (seats, mut connecting) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
        for identity in devices {
            let tls = client_config(Some(identity), self.trust.clone(), &[])?;
            let seat = Arc::clone(&seats).acquire_owned().await?;
            connecting.spawn(async move {
                let stream = TcpStream::connect(("127.0.0.1", PORT)).await?;
                let name = ServerName::try_from("localhost")?;
                let session = subscribe(TlsConnector::from(tls).connect(name, stream).await?).await;
                drop(seat);
                session
            });
        }
        let mut sessions = Vec::new();
        while let Some(session) = connecting.join_next().await {
            sessions.push(session??);
        }
        Ok(sessions)
    }
}

/// CONNECT and CONNACK (MQTT 3.1.1, 3.1 and 3.2), with a clean session and no keep-alive.
async fn subscribe(mut stream: TlsStream<TcpStream>) -> Result<TlsStream<TcpStream>> {
    let id = DeviceId::random().to_string();
    let mut connect = vec![0x10, 12 + u8::try_from(id.len())?, 0, 4];
    connect.extend(b"MQTT");
    connect.extend([4, 2, 0, 0, 0, u8::try_from(id.len())?]);
    connect.extend(id.as_bytes());
    stream.write_all(&connect).await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    ensure!(answer == [0x20, 2, 0, 0], "the broker refuses: {answer:?}");
    Ok(stream)
}

const PORT: u16 = 8883;
/// Handshakes under way.
const AT_ONCE: usize = 32;
