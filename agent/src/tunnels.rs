//! The agent's part in tunnels: the target's driver, fed by the control connection.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use klnet_tunnel::net::target::{self, Session, Stopped, TargetHandle};
use klnet_tunnel::policy::TargetPolicy;
use klnet_tunnel::record::TunnelRecord;
use klnet_wire::keyset::KeySet;
use klnet_wire::message::{Message, tunnel::State};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::lookup_host;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

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
    let mut lookups: JoinSet<_> = hosts.into_iter().take(HOST_LIMIT).map(addresses_of).collect();
    let deadline = Instant::now() + LOOKUP_TIMEOUT;
    while let Ok(Some(found)) = timeout_at(deadline, lookups.join_next()).await {
        addresses.extend(found.unwrap_or_default());
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

async fn addresses_of(host: String) -> Vec<IpAddr> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = lookup_host((bare, 0)).await;
    found.map(|found| found.map(|address| address.ip()).collect()).unwrap_or_default()
}

/// Servers whose names are looked up.
const HOST_LIMIT: usize = 16;
/// How long that may take: grants that come meanwhile wait for it.
const LOOKUP_TIMEOUT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn device_relay_and_servers_are_all_forbidden() {
        let control = "192.0.2.7:23100".parse().expect("an address");
        let hosts = ["192.0.2.8".to_owned(), "[2001:db8::8]".to_owned(), "no..name".to_owned()];
        let forbidden = forbidden(control, hosts).await;
        for address in ["127.0.0.1", "192.0.2.7", "192.0.2.8", "2001:db8::8"] {
            let address = address.parse().expect("an address");
            assert!(forbidden.contains(&address), "{address} is missing in {forbidden:?}");
        }
    }
}
