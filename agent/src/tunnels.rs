//! The agent's part in tunnels: the target's driver, fed by the control connection.

use std::collections::{BTreeSet, HashMap};
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
    servers: ServerAddresses,
}

/// Where the names of the fabric's servers led, each at its last good look-up.
#[derive(Debug, Default)]
struct ServerAddresses(HashMap<String, Vec<IpAddr>>);

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
        let (key, own_addresses) = (device.identity.key.clone(), crate::platform::own_addresses);
        let (target, messages) = target::start(target::Config { core, key, own_addresses });
        Self { target, messages, live: BTreeSet::new(), servers: ServerAddresses::default() }
    }

    /// Grants are checked with these keys from now on.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn keys(&self, keys: Arc<KeySet>) -> Result<(), Stopped> {
        self.target.keys(keys).await
    }

    /// Addresses of the fabric's servers, which no tunnel to another host may reach: where the control connection
    /// leads, and where the names of the others do. The device's own the target asks for itself.
    pub async fn forbidden(
        &mut self,
        control: SocketAddr,
        hosts: impl IntoIterator<Item = String>,
    ) -> Vec<IpAddr> {
        let mut addresses = self.servers.of(hosts).await;
        addresses.push(control.ip());
        addresses
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

impl ServerAddresses {
    /// Looks every name up, for at most [`LOOKUP_TIMEOUT`]; of a name that does not resolve now the last good answer
    /// stays, so that a slow resolver opens no way to a server.
    async fn of(&mut self, hosts: impl IntoIterator<Item = String>) -> Vec<IpAddr> {
        let hosts: Vec<_> = hosts.into_iter().take(HOST_LIMIT).collect();
        self.0.retain(|host, _| hosts.contains(host));
        let mut lookups: JoinSet<_> = hosts.into_iter().map(addresses_of).collect();
        let deadline = Instant::now() + LOOKUP_TIMEOUT;
        while let Ok(Some(found)) = timeout_at(deadline, lookups.join_next()).await {
            if let Ok((host, addresses)) = found
                && !addresses.is_empty()
            {
                self.0.insert(host, addresses);
            }
        }
        self.0.values().flatten().copied().collect()
    }
}

async fn addresses_of(host: String) -> (String, Vec<IpAddr>) {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = lookup_host((bare, 0)).await;
    let addresses = found.map(|found| found.map(|address| address.ip()).collect()).unwrap_or_default();
    (host, addresses)
}

/// Servers whose names are looked up.
const HOST_LIMIT: usize = 16;
/// How long that may take: grants that come meanwhile wait for it.
const LOOKUP_TIMEOUT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_whose_name_does_not_resolve_now_keeps_its_last_addresses() {
        let mut servers = ServerAddresses::default();
        let (literal, slow) = ("[2001:db8::8]".to_owned(), "no..name".to_owned());
        let address: IpAddr = "2001:db8::8".parse().expect("an address");
        let before: IpAddr = "192.0.2.8".parse().expect("an address");
        assert_eq!(servers.of([literal.clone(), slow.clone()]).await, [address]);
        servers.0.insert(slow.clone(), vec![before]);
        let mut both = servers.of([literal.clone(), slow]).await;
        both.sort_unstable();
        assert_eq!(both, [before, address]);
        assert_eq!(servers.of([literal]).await, [address], "a server that left the list is forgotten");
    }
}
