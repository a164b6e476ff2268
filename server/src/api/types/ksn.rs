//! KSN proxies.

use std::time::SystemTime;

use klnet_wire::duties::KsnProxy;
use klnet_wire::message::{KsnCounts, KsnState};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fleet;
use crate::unix::seconds;

/// What a KSN proxy is run with.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SetKsn {
    /// Reputation servers, the best first, each `HOST:PORT` or `DEVICE@HOST:PORT`.
    pub upstreams: Vec<String>,
    /// Whether it serves HTTPS, too.
    pub https: bool,
    /// Whether it answers who shows no certificate.
    pub allow_plain: bool,
    /// MiB of its cache; 0 for as many as it takes by itself.
    pub cache_mib: u32,
}

/// A device that is a KSN proxy.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Ksn {
    /// The device's id.
    pub device: String,
    /// Its name.
    pub name: String,
    /// Whether the server has a session with it now.
    pub online: bool,
    /// What it is run with.
    pub proxy: SetKsn,
    /// How it stands, once it has told.
    pub state: Option<KsnStanding>,
}

/// How a KSN proxy stands.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct KsnStanding {
    /// When it told so, Unix seconds.
    pub at: u64,
    /// Why it does not run; empty while it does.
    pub error: String,
    /// Its TCP port.
    pub tcp_port: u32,
    /// Its UDP port.
    pub udp_port: u32,
    /// Its HTTPS port; 0 without.
    pub https_port: u32,
    /// Records in its cache.
    pub records: u64,
    /// Keys that were asked about since it started.
    pub received: u64,
    /// Of them, answered from the cache.
    pub served: u64,
    /// Not asked upstream because too many were waiting.
    pub rejected_full: u64,
    /// Not answered in time.
    pub rejected_late: u64,
    /// Asked upstream.
    pub forwarded: u64,
    /// Of them, not answered.
    pub failed: u64,
    /// Of them, answered.
    pub succeeded: u64,
}

impl From<SetKsn> for KsnProxy {
    fn from(set: SetKsn) -> Self {
        let SetKsn { upstreams, https, allow_plain, cache_mib } = set;
        Self { upstreams, https, allow_plain, cache_mib }
    }
}

impl Ksn {
    /// A KSN proxy as the API shows it.
    pub fn new(ksn: fleet::Ksn, online: bool, told: Option<(SystemTime, KsnState)>) -> Self {
        let KsnProxy { upstreams, https, allow_plain, cache_mib } = ksn.proxy;
        Self {
            device: ksn.device.to_string(),
            name: ksn.name,
            online,
            proxy: SetKsn { upstreams, https, allow_plain, cache_mib },
            state: told.map(|(at, state)| KsnStanding::new(at, state)),
        }
    }
}

impl KsnStanding {
    fn new(at: SystemTime, state: KsnState) -> Self {
        let KsnState { error, tcp_port, udp_port, https_port, counts } = state;
        let counts = counts.unwrap_or_default();
        let KsnCounts { records, received, served, .. } = counts;
        let KsnCounts { rejected_full, rejected_late, forwarded, failed, succeeded, .. } = counts;
        Self {
            at: seconds(at),
            error,
            tcp_port,
            udp_port,
            https_port,
            records,
            received,
            served,
            rejected_full,
            rejected_late,
            forwarded,
            failed,
            succeeded,
        }
    }
}
