//! Who a proxy is and whose certificates it takes. Both may change while it runs: another identity takes the place of the one
//! before, and a list revokes whoever was let in.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use klnet_wire::id::{DeviceId, FabricId};
use klnet_wire::identity::crl::{Crls, Freshness};
use klnet_wire::identity::enroll::unix;
use klnet_wire::identity::tls::{
    Clients, Identity, Shown, checking_config, client_config, device_config, server_config,
};
use klnet_wire::identity::{ChainError, Role, Trust};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// TLS as each port has it, as of now.
pub(super) struct Credentials {
    current: ArcSwap<Current>,
    crls: Option<Arc<Crls>>,
    /// Told whenever somebody who was let in may be refused.
    changes: watch::Sender<()>,
}

struct Current {
    trust: Trust,
    devices: Arc<ServerConfig>,
    https: Arc<ServerConfig>,
    /// For reputation servers that are servers of the fabric.
    servers: Arc<ClientConfig>,
    identity: Identity,
}

/// What decides about those who were let in.
#[derive(PartialEq, Eq)]
struct Standing {
    fabric: FabricId,
    lists: Vec<u64>,
}

impl Credentials {
    /// # Errors
    /// The rustls error when the identity is not usable.
    pub(super) fn new(
        identity: &Identity,
        trust: &Trust,
        crls: Option<Arc<Crls>>,
    ) -> Result<Self, rustls::Error> {
        let current = ArcSwap::from_pointee(Current::new(identity, trust, crls.as_ref())?);
        Ok(Self { current, crls, changes: watch::Sender::new(()) })
    }

    /// Has every handshake from now on be that of `identity`, with holders of certificates under `trust`.
    ///
    /// # Errors
    /// The rustls error when the identity is not usable; the one before stays.
    pub(super) fn identify(&self, identity: &Identity, trust: &Trust) -> Result<(), rustls::Error> {
        self.current.store(Arc::new(Current::new(identity, trust, self.crls.as_ref())?));
        self.changes.send_replace(());
        Ok(())
    }

    /// For TLS on the port of the codec.
    pub(super) fn devices(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().devices)
    }

    /// For HTTPS.
    pub(super) fn https(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().https)
    }

    /// For a reputation server, which is this device or a server of the fabric.
    pub(super) fn upstream(&self, device: Option<DeviceId>) -> Arc<ClientConfig> {
        let current = self.current.load();
        let Some(device) = device else { return Arc::clone(&current.servers) };
        let config = device_config(&current.identity, current.trust.clone(), self.crls.clone(), device, &[]);
        config.expect("an identity that is usable towards servers is so towards devices")
    }

    /// What happens from now on, for [`Self::until_refused`]: to be taken before the handshake.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Waits for a change after which this chain, which was let in, is not let in any more.
    pub(super) async fn until_refused(
        &self,
        chain: &[CertificateDer<'_>],
        mut changes: watch::Receiver<()>,
    ) -> ChainError {
        while !chain.is_empty() && changes.changed().await.is_ok() {
            if let Err(error) = self.check(chain) {
                return error;
            }
        }
        // Who came without a certificate is refused nothing.
        std::future::pending().await
    }

    /// Ends, until shutdown, the connections of whoever is revoked, and the tickets by `end_tickets`, which is told of whom and
    /// says how many those were: lists change where they are.
    pub(super) async fn follow(
        self: Arc<Self>,
        end_tickets: impl Fn(&dyn Fn(&[u8]) -> bool) -> usize,
        shutdown: CancellationToken,
    ) {
        let mut standing = self.standing();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EACH) => {}
                () = shutdown.cancelled() => return,
            }
            let before = std::mem::replace(&mut standing, self.standing());
            if standing == before {
                continue;
            }
            let is_moved = standing.fabric != before.fabric;
            let ended = end_tickets(&|serial| is_moved || self.is_revoked(serial));
            if ended > 0 {
                tracing::info!(
                    ended,
                    "tickets of devices that were revoked, or of another fabric, are ended"
                );
            }
            self.changes.send_replace(());
        }
    }

    /// A list that is too old lets nobody in, and puts nobody out.
    fn check(&self, chain: &[CertificateDer<'_>]) -> Result<(), ChainError> {
        let (current, now) = (self.current.load(), unix(SystemTime::now()));
        let verified = match &self.crls {
            Some(crls) => current.trust.verify_unrevoked(chain, DEVICES, now, crls, Freshness::Waived),
            None => current.trust.verify(chain, DEVICES, now),
        };
        verified.map(drop)
    }

    fn is_revoked(&self, serial: &[u8]) -> bool {
        let check = |crls: &Arc<Crls>| crls.check_all(serial, unix(SystemTime::now()));
        matches!(self.crls.as_ref().map(check), Some(Err(ChainError::Revoked)))
    }

    fn standing(&self) -> Standing {
        let lists = self.crls.iter().flat_map(|crls| crls.all()).map(|crl| crl.number()).collect();
        Standing { fabric: self.current.load().trust.fabric(), lists }
    }
}

impl Current {
    fn new(identity: &Identity, trust: &Trust, crls: Option<&Arc<Crls>>) -> Result<Self, rustls::Error> {
        let shown = Shown::new(identity);
        let server =
            |clients, alpn: &[&[u8]]| server_config(&shown, trust.clone(), crls.cloned(), clients, alpn);
        let servers = match crls.cloned() {
            Some(crls) => checking_config(Some(identity), trust.clone(), crls, Freshness::Enforced, &[]),
            None => client_config(Some(identity), trust.clone(), &[]),
        };
        Ok(Self {
            trust: trust.clone(),
            devices: server(Clients::Required(DEVICES), &[])?,
            https: server(Clients::Optional(DEVICES), ALPN_HTTPS)?,
            servers: servers?,
            identity: identity.clone(),
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials([redacted])")
    }
}

/// Whose certificates a proxy takes.
const DEVICES: &[Role] = &[Role::Agent, Role::Server];

/// The protocols that HTTPS offers.
const ALPN_HTTPS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// How soon whoever was revoked is put out.
const LOOK_EACH: Duration = Duration::from_secs(2);
