//! The agent's part in tunnels: the target's driver, fed by the control connection.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use klnet_tunnel::net::target::{self, Session, Stopped, TargetHandle};
use klnet_tunnel::policy::TargetPolicy;
use klnet_tunnel::record::TunnelRecord;
use klnet_wire::keyset::KeySet;
use klnet_wire::message::{Message, tunnel::State};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::mpsc;

use crate::state::Device;

/// The tunnels to this device. They outlive the control connection; the target ends them in time.
#[derive(Debug)]
pub struct Tunnels {
    target: TargetHandle,
    messages: mpsc::Receiver<Message>,
    /// Cookies of the connections carried now, for the status.
    live: BTreeSet<Vec<u8>>,
}

impl Tunnels {
    /// Starts a target on the current runtime.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    pub fn start(device: &Device, policy: TargetPolicy) -> Self {
        let mut secret = [0; 32];
        SystemRandom::new().fill(&mut secret).expect("the operating system gives randomness");
        let core = klnet_tunnel::target::Config {
            device: device.principal.id(),
            tenant: device.principal.tenant,
            policy,
            limits: klnet_tunnel::target::Limits::default(),
            secret,
        };
        let (target, messages) = target::start(target::Config { core, key: device.identity.key.clone() });
        Self { target, messages, live: BTreeSet::new() }
    }

    /// Grants are checked with these keys from now on.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn keys(&self, keys: Arc<KeySet>) -> Result<(), Stopped> {
        self.target.keys(keys).await
    }

    /// The control connection has a session.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn connected(&self, session: Session) -> Result<(), Stopped> {
        self.target.connected(session).await
    }

    /// The control connection is gone.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn disconnected(&self) -> Result<(), Stopped> {
        self.target.disconnected().await
    }

    /// Takes a message from the server; gives it back when it is not about tunnels.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn receive(&self, message: Message) -> Result<Option<Message>, Stopped> {
        self.target.receive(message).await
    }

    /// The next message for the server. Without a session it may be dropped: what matters is told again.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn message(&mut self) -> Result<Message, Stopped> {
        let message = self.messages.recv().await.ok_or(Stopped)?;
        self.count(&message);
        Ok(message)
    }

    /// Connections carried now.
    pub fn connections(&self) -> usize {
        self.live.len()
    }

    fn count(&mut self, message: &Message) {
        match message {
            Message::TunnelState(state) if state.state() == State::Verified => {
                self.live.insert(state.cookie.to_vec());
            }
            Message::TunnelRecord(signed) => {
                if let Ok(record) = TunnelRecord::read(&signed.bytes) {
                    self.live.remove(record.cookie.as_bytes().as_slice());
                }
            }
            _ => {}
        }
    }
}

/// Addresses no tunnel to another host may reach: the device's own, and those of every server of the fabric.
///
/// Names of servers are looked up once for each session; one that does not resolve in time is left out, and a
/// tunnel to it would meet a port that asks for a certificate.
pub async fn forbidden(control: SocketAddr, hosts: impl IntoIterator<Item = String>) -> Vec<IpAddr> {
    let mut addresses = crate::platform::own_addresses();
    addresses.push(control.ip());
    for host in hosts.into_iter().take(HOST_LIMIT) {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((bare, 0))).await;
        if let Ok(Ok(found)) = found {
            addresses.extend(found.map(|address| address.ip()));
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Servers whose names are looked up.
const HOST_LIMIT: usize = 16;
/// How long one of them may take: the session waits for it.
const LOOKUP_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(500);
