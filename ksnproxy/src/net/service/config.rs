//! What a proxy is run with, and what holds where nothing else is said.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use klnet_wire::identity::Trust;
use klnet_wire::identity::crl::Crls;
use klnet_wire::identity::tls::Identity;
use klnet_wire::place::Place;

use crate::limiter::Rate;
use crate::net::snapshot_file::SnapshotFile;
use crate::policy::Policy;
use crate::proxy;

/// What a proxy is run with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address of all ports.
    pub listen: IpAddr,
    /// Port of sealed and plain datagrams.
    pub udp_port: u16,
    /// Port of the codec on TCP, and of TLS.
    pub tcp_port: u16,
    /// Port of HTTPS; none without one or without an identity.
    pub https_port: Option<u16>,
    /// Who the proxy is, and whose certificates it takes: there is no TLS without.
    pub identity: Option<(Identity, Trust)>,
    /// Lists of revoked certificates: with them nobody is let in, nor taken for a reputation server, who is on one, or whose
    /// issuer has no fresh one. Whoever comes onto one is put out within seconds.
    pub crls: Option<Arc<Crls>>,
    /// Reputation servers, the best first.
    pub upstreams: Vec<Place>,
    /// A snapshot to answer from.
    pub snapshot: Option<SnapshotFile>,
    /// How many bits of a key an upstream learns; the whole key with 0.
    pub prefix_bits: u8,
    /// Whether who shows neither ticket nor certificate is answered.
    pub allow_plain: bool,
    /// Bytes of the cache.
    pub cache: usize,
    /// Threads; one for each processor that may be used with 0.
    pub workers: usize,
    /// Most TCP connections of the codec.
    pub connections: usize,
    /// Most tickets at once.
    pub tickets: usize,
    /// Seconds a ticket is good for.
    pub ticket_lifetime: u32,
    /// Most keys a device may ask about.
    pub rate: Rate,
    /// How long verdicts are used.
    pub policy: Policy,
    /// Limits of the core.
    pub proxy: proxy::Config,
}

impl Default for Config {
    /// A proxy on the product's ports that knows nothing and has no identity. A scan of a whole disk asks about some hundred
    /// files a second; a branch office has less than ten thousand devices, whose tickets overlap when they are renewed.
    fn default() -> Self {
        Self {
            listen: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            udp_port: 15111,
            tcp_port: 13111,
            https_port: Some(17111),
            identity: None,
            crls: None,
            upstreams: Vec::new(),
            snapshot: None,
            prefix_bits: 0,
            allow_plain: false,
            cache: 64 << 20,
            workers: 0,
            connections: 4096,
            tickets: 65_536,
            ticket_lifetime: 12 * 3600,
            rate: Rate { keys: 2000, burst: 10_000 },
            policy: Policy::default(),
            proxy: proxy::Config::default(),
        }
    }
}
