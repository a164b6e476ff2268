//! The discovery service: which hosts and ports serve agents and tunnels, as a list signed anew while the server runs.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use klnet_wire::identity::ChainError;
use klnet_wire::identity::crl::Crls;
use klnet_wire::identity::enroll::{encode_lineage, encode_signed, unix};
use klnet_wire::identity::pem::chain_to_pem;
use klnet_wire::servers::{Server, ServerList};
use klnet_wire::signed::Signed;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::fabric::Fabric;
use crate::unix::seconds;

/// What `GET /api/v1/discovery` answers.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DiscoveryReply {
    /// The signed key set, base64url.
    pub keys: String,
    /// The signed server list, base64url.
    pub servers: String,
    /// The newest revocation list of each issuing authority: DER, base64url.
    pub crls: Vec<String>,
}

/// What `GET /api/v1/trust` answers.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TrustReply {
    /// How the fabric's first root led to the newest, base64url; it proves itself.
    pub lineage: String,
}

/// What is announced: filled in once the listeners are bound.
#[derive(Debug, Clone)]
pub struct Announced {
    /// Host names or addresses of this server, the first one for tools to connect to.
    pub hosts: Vec<String>,
    /// Port of the API.
    pub https_port: u16,
    /// Ports agents dial.
    pub agent_ports: Vec<u16>,
    /// Ports `klsctunnel` dials.
    pub tunnel_ports: Vec<u16>,
    /// How agents spread their return.
    pub reconnect_window: Duration,
}

/// Signs and gives out the server list.
#[derive(Debug)]
pub struct Directory {
    fabric: Arc<Fabric>,
    crls: Arc<Crls>,
    announced: Announced,
    url: String,
    /// The newest list and when it was signed.
    newest: Mutex<Option<(SystemTime, Signed)>>,
}

impl Directory {
    /// A directory of this one server.
    pub fn new(fabric: Arc<Fabric>, crls: Arc<Crls>, announced: Announced) -> Self {
        let host = announced.hosts.first().map_or("localhost", String::as_str);
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let url = match announced.https_port {
            443 => format!("https://{host}"),
            port => format!("https://{host}:{port}"),
        };
        Self { fabric, crls, announced, url, newest: Mutex::new(None) }
    }

    /// What a caller of the discovery service is told.
    pub fn reply(&self) -> DiscoveryReply {
        DiscoveryReply {
            keys: encode_signed(self.fabric.signed_keys()),
            servers: encode_signed(&self.signed()),
            crls: self.crls.all().iter().map(|crl| BASE64URL_NOPAD.encode(crl.der())).collect(),
        }
    }

    /// What the revocation lists say of this serial number.
    ///
    /// # Errors
    /// [`ChainError::Revoked`]; [`ChainError::StaleList`] when no new list could be signed in time.
    pub fn check_lists(&self, serial: &[u8]) -> Result<(), ChainError> {
        self.crls.check_all(serial, unix(SystemTime::now()))
    }

    /// What anyone is told whose roots are old.
    pub fn trust(&self) -> TrustReply {
        TrustReply { lineage: encode_lineage(self.fabric.lineage()) }
    }

    /// The newest signed server list; a new one is signed each hour.
    pub fn signed(&self) -> Signed {
        let now = SystemTime::now();
        let mut newest = self.newest.lock().expect("signing does not panic");
        // A clock that was set back makes the age unknown: sign anew then, too.
        let fresh = |at: &SystemTime| now.duration_since(*at).is_ok_and(|age| age < SIGNED_EACH);
        if let Some((_, signed)) = newest.as_ref().filter(|(at, _)| fresh(at)) {
            return signed.clone();
        }
        let signed = self.fabric.sign_servers(self.list(now).encode_to_vec().into());
        *newest = Some((now, signed.clone()));
        signed
    }

    fn list(&self, now: SystemTime) -> ServerList {
        let Announced { hosts, agent_ports, tunnel_ports, reconnect_window, .. } = &self.announced;
        let server = |host: &String| Server {
            host: host.clone(),
            agent_ports: listed(agent_ports),
            tunnel_ports: listed(tunnel_ports),
            weight: 1,
            id: Bytes::copy_from_slice(self.fabric.server().as_bytes()),
        };
        ServerList {
            fabric: Bytes::copy_from_slice(self.fabric.trust().fabric().as_bytes()),
            servers: hosts.iter().map(server).collect(),
            issued: seconds(now),
            expires: seconds(now + LIST_LIFE),
            reconnect_window_ms: u32::try_from(reconnect_window.as_millis()).unwrap_or(u32::MAX),
        }
    }

    /// The root certificate in PEM.
    pub fn root_pem(&self) -> String {
        chain_to_pem(std::slice::from_ref(self.fabric.trust().root()))
    }

    /// What is announced.
    pub const fn announced(&self) -> &Announced {
        &self.announced
    }

    /// Base of the API, as it is printed for people to paste.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// The ports as a list has them. Port 0, which the system will choose, is nobody's to dial yet.
fn listed(ports: &[u16]) -> Vec<u32> {
    ports.iter().copied().filter(|port| *port != 0).map(u32::from).collect()
}

/// A list is signed anew when it is this old.
const SIGNED_EACH: Duration = Duration::from_secs(3600);
/// A list is good for this long: an agent that cannot reach discovery uses the stored one.
const LIST_LIFE: Duration = Duration::from_secs(30 * 86_400);
