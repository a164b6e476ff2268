//! The proxy's configuration file: TOML, every key optional, every mistake reported at once.
//!
//! ```toml
//! listen = "0.0.0.0"                  # the address of all ports; "::" for both families
//! udp_port = 15111
//! tcp_port = 13111                    # the codec, and TLS
//! https_port = 17111                  # 0: none
//! identity = "/var/lib/klnet/agent"   # state folder of klnagent on this machine, or a PEM file with key and chain; without
//!                                     # one there is no TLS: no tickets, no HTTPS, no upstream
//! upstreams = ["ksn.example.org:1443"]                # the best first; "DEVICE@HOST:PORT" has to be this managed device
//! snapshot = "/var/lib/klnet/ksn/current"             # what is known here, see `ksnserver import`
//! trusted = ["d75a9801…"]             # keys that sign snapshots, see `ksnserver snapshot key`
//! prefix_bits = 0                     # 16 to 64: an upstream learns so many bits of what is asked about
//! allow_plain = false                 # answer whoever shows neither ticket nor certificate
//! cache = "64MiB"
//! workers = 0                         # 0: one for each processor
//! metrics = "127.0.0.1:9465"          # "": nowhere
//!
//! [limits]
//! keys_per_second = 2000              # of one device, or one address where queries are plain; 0: no limit
//! burst = 10000
//! connections = 4096
//! tickets = 65536
//! ticket_lifetime = "12h"
//!
//! [ttl]
//! malicious = "24h"
//! clean = "6h"
//! unknown = "5min"
//! stale = "15min"                     # how long beyond its time what does no harm is still told, marked, without upstream
//!
//! [upstream]
//! timeout = "900ms"
//! patience = "2s"                     # when a device is told that nobody could be asked
//!
//! [replicate]                         # have `snapshot` follow those of reputation servers
//! from = ["ksn.example.org:1443"]     # the best first
//! kinds = []                          # of file, section, url, domain, network, certificate; all of them with none
//! every = "5min"                      # how often another one is asked for
//! limit = "2GiB"                      # a longer snapshot is not taken; twice as much memory is used while it changes
//! ```

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;
use klnet_wire::place::Place;
use klnet_wire::signed::PublicKey;
use serde::Deserialize;

use super::args::DEFAULT_METRICS;
use crate::cli::identity::Source;
use crate::cli::units::{bytes, duration};
use crate::limiter::Rate;
use crate::net::SERVER_PORT;
use crate::net::service::{self, Replication, SnapshotFile};
use crate::policy::Policy;
use crate::proxy;
use crate::snapshot::Wanted;
use crate::subject::Kind;

/// What the command is run with.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) service: service::Config,
    /// Where the identity of the service was read.
    pub(super) source: Option<Source>,
    pub(super) metrics: Option<SocketAddr>,
}

/// A configuration that is not usable.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    #[error("cannot read {}: {error}", .path.display())]
    Io { path: PathBuf, error: std::io::Error },
    #[error("{}: {error}", .path.display())]
    Syntax { path: PathBuf, error: toml::de::Error },
    #[error("{}: {}", .path.display(), .mistakes.join("; "))]
    Mistakes { path: PathBuf, mistakes: Vec<String> },
}

impl Config {
    /// Reads the file.
    pub(super) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Io { path: path.to_owned(), error })?;
        let raw: Raw =
            toml::from_str(&text).map_err(|error| ConfigError::Syntax { path: path.to_owned(), error })?;
        raw.check().map_err(|mistakes| ConfigError::Mistakes { path: path.to_owned(), mistakes })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    listen: String,
    udp_port: u16,
    tcp_port: u16,
    https_port: u16,
    identity: Option<PathBuf>,
    upstreams: Vec<String>,
    snapshot: Option<PathBuf>,
    trusted: Vec<String>,
    prefix_bits: u8,
    allow_plain: bool,
    cache: Option<String>,
    workers: usize,
    metrics: String,
    limits: RawLimits,
    ttl: RawTtl,
    upstream: RawUpstream,
    replicate: RawReplicate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLimits {
    keys_per_second: u32,
    burst: u32,
    connections: usize,
    tickets: usize,
    ticket_lifetime: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawTtl {
    malicious: Option<String>,
    clean: Option<String>,
    unknown: Option<String>,
    stale: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawUpstream {
    timeout: Option<String>,
    patience: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawReplicate {
    from: Vec<String>,
    kinds: Vec<String>,
    every: Option<String>,
    limit: Option<String>,
}

impl Default for Raw {
    fn default() -> Self {
        let service::Config {
            listen, udp_port, tcp_port, https_port, prefix_bits, allow_plain, workers, ..
        } = service::Config::default();
        Self {
            listen: listen.to_string(),
            udp_port,
            tcp_port,
            https_port: https_port.unwrap_or_default(),
            identity: None,
            upstreams: Vec::new(),
            snapshot: None,
            trusted: Vec::new(),
            prefix_bits,
            allow_plain,
            cache: None,
            workers,
            metrics: DEFAULT_METRICS.to_owned(),
            limits: RawLimits::default(),
            ttl: RawTtl::default(),
            upstream: RawUpstream::default(),
            replicate: RawReplicate::default(),
        }
    }
}

impl Default for RawLimits {
    fn default() -> Self {
        let service::Config { rate, connections, tickets, .. } = service::Config::default();
        let (keys_per_second, burst) = (rate.keys, rate.burst);
        Self { keys_per_second, burst, connections, tickets, ticket_lifetime: None }
    }
}

impl Raw {
    /// Everything that is wrong, each with its key.
    fn check(self) -> Result<Config, Vec<String>> {
        let (mut mistakes, default) = (Mistakes(Vec::new()), service::Config::default());
        let policy = self.ttl.policy(&mut mistakes);
        let proxy = self.upstream.proxy(&mut mistakes);
        let upstreams = mistakes.each("upstreams", &self.upstreams, |text| Place::parse(text, SERVER_PORT));
        let trusted = mistakes.each("trusted", &self.trusted, public_key);
        mistakes.expect("trusted", self.snapshot.is_none() || !trusted.is_empty(), "names no key");
        let replicated = self.replicate.replication(&mut mistakes);
        mistakes.expect(
            "replicate",
            replicated.is_none() || self.snapshot.is_some(),
            "needs a snapshot to follow",
        );
        let listen = mistakes.take("listen", self.listen.parse::<IpAddr>());
        let cache = self.cache.and_then(|text| mistakes.take("cache", bytes(&text)));
        let lifetime = Duration::from_secs(default.ticket_lifetime.into());
        let lifetime = mistakes.or("limits.ticket_lifetime", self.limits.ticket_lifetime.as_ref(), lifetime);
        let lifetime = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        let metrics = Some(self.metrics).filter(|metrics| !metrics.is_empty());
        let metrics = metrics.and_then(|metrics| mistakes.take("metrics", metrics.parse::<SocketAddr>()));
        let opened = self.identity.and_then(|path| mistakes.take("identity", Source::open(&path)));
        let (source, identity) = opened.unzip();
        mistakes.expect("upstreams", upstreams.is_empty() || identity.is_some(), "need an identity");
        mistakes.expect("replicate", replicated.is_none() || identity.is_some(), "needs an identity");
        mistakes.expect(
            "prefix_bits",
            matches!(self.prefix_bits, 0 | 16..=64),
            "is neither 0 nor from 16 to 64",
        );
        mistakes.expect("workers", self.workers <= WORKERS, "is more than 256");
        mistakes.expect("limits.ticket_lifetime", lifetime >= 60, "is less than a minute");
        mistakes.expect("limits.tickets", self.limits.tickets > 0, "leaves no device a ticket");
        let service = service::Config {
            listen: listen.unwrap_or(default.listen),
            udp_port: self.udp_port,
            tcp_port: self.tcp_port,
            https_port: Some(self.https_port).filter(|port| *port != 0),
            identity,
            crls: source.as_ref().and_then(Source::crls),
            upstreams,
            snapshot: self.snapshot.map(|path| SnapshotFile { path, trusted, replicated }),
            prefix_bits: self.prefix_bits,
            allow_plain: self.allow_plain,
            cache: cache.unwrap_or(default.cache),
            workers: self.workers,
            connections: self.limits.connections,
            tickets: self.limits.tickets,
            ticket_lifetime: lifetime,
            rate: Rate { keys: self.limits.keys_per_second, burst: self.limits.burst },
            policy,
            proxy,
        };
        if mistakes.0.is_empty() { Ok(Config { service, source, metrics }) } else { Err(mistakes.0) }
    }
}

impl RawTtl {
    fn policy(&self, mistakes: &mut Mistakes) -> Policy {
        let Policy { malicious, clean, unknown, stale, retry_after } = Policy::default();
        Policy {
            malicious: mistakes.or("ttl.malicious", self.malicious.as_ref(), malicious),
            clean: mistakes.or("ttl.clean", self.clean.as_ref(), clean),
            unknown: mistakes.or("ttl.unknown", self.unknown.as_ref(), unknown),
            stale: mistakes.or("ttl.stale", self.stale.as_ref(), stale),
            retry_after,
        }
    }
}

impl RawUpstream {
    fn proxy(&self, mistakes: &mut Mistakes) -> proxy::Config {
        let default = proxy::Config::default();
        let timeout = mistakes.or("upstream.timeout", self.timeout.as_ref(), default.timeout);
        let patience = mistakes.or("upstream.patience", self.patience.as_ref(), default.patience);
        let limits = Duration::from_millis(10)..=Duration::from_secs(10);
        mistakes.expect("upstream.timeout", limits.contains(&timeout), "is not between 10ms and 10s");
        mistakes.expect("upstream.patience", patience >= timeout, "is less than upstream.timeout");
        proxy::Config { timeout, patience, ..default }
    }
}

impl RawReplicate {
    fn replication(&self, mistakes: &mut Mistakes) -> Option<Replication> {
        let servers = mistakes.each("replicate.from", &self.from, |text| Place::parse(text, SERVER_PORT));
        let kinds = mistakes.each("replicate.kinds", &self.kinds, kinds).concat();
        let every = mistakes.or("replicate.every", self.every.as_ref(), EVERY);
        mistakes.expect("replicate.every", every >= LEAST, "is less than 10s");
        let limit = self.limit.as_ref().and_then(|text| mistakes.take("replicate.limit", bytes(text)));
        let wanted = Wanted { kinds, limit: limit.map_or(LIMIT, |limit| limit as u64) };
        (!self.from.is_empty()).then_some(Replication { servers, wanted, every })
    }
}

/// The key spaces of what a word names.
fn kinds(text: &str) -> Result<Vec<Kind>, String> {
    let kinds: Vec<_> = Kind::ALL.into_iter().filter(|kind| kind.subject() == text).collect();
    if kinds.is_empty() { Err(format!("{text:?} is nothing that can be asked about")) } else { Ok(kinds) }
}

/// Reads a public key as `ksnserver snapshot key` prints it.
fn public_key(text: &str) -> Result<PublicKey, String> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    let key = bytes.and_then(|bytes| PublicKey::try_from(&bytes[..]).ok());
    key.ok_or_else(|| format!("{text:?} is not a public key in hexadecimal digits"))
}

/// What is wrong, each with its key.
struct Mistakes(Vec<String>);

impl Mistakes {
    fn take<T, E: Display>(&mut self, key: &str, value: Result<T, E>) -> Option<T> {
        value.map_err(|error| self.0.push(format!("{key}: {error}"))).ok()
    }

    fn each<T, E: Display>(
        &mut self,
        key: &str,
        texts: &[String],
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        texts.iter().filter_map(|text| self.take(key, read(text))).collect()
    }

    fn or(&mut self, key: &str, text: Option<&String>, default: Duration) -> Duration {
        text.and_then(|text| self.take(key, duration(text))).unwrap_or(default)
    }

    fn expect(&mut self, key: &str, holds: bool, otherwise: &str) {
        if !holds {
            self.0.push(format!("{key} {otherwise}"));
        }
    }
}

const WORKERS: usize = 256;

/// How often another snapshot is asked for: as often as the quickest of the published lists change.
const EVERY: Duration = Duration::from_mins(5);

/// No more often: a server would do nothing else.
const LEAST: Duration = Duration::from_secs(10);

/// Bytes of 64 million records.
const LIMIT: u64 = 2 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_a_configuration() {
        let config = parse("").unwrap();
        assert_eq!((config.service.udp_port, config.service.cache), (15111, 64 << 20));
        assert_eq!(config.metrics, Some(DEFAULT_METRICS.parse().unwrap()));
        assert!(!config.service.allow_plain);
    }

    #[test]
    fn every_mistake_is_told_at_once_with_its_key() {
        let mistakes = parse(
            r#"
            listen = "here"
            cache = "64 MB"
            upstreams = ["a:b"]
            prefix_bits = 8
            metrics = "9465"
            identity = "/nowhere/identity.pem"
            [limits]
            ticket_lifetime = "5s"
            [ttl]
            clean = "6 hours"
            [upstream]
            timeout = "1h"
            [replicate]
            from = [":1"]
            kinds = ["files"]
            every = "1s"
            limit = "2GB"
            "#,
        )
        .unwrap_err();
        for key in [
            "listen",
            "cache",
            "upstreams",
            "prefix_bits",
            "metrics",
            "identity",
            "limits.ticket_lifetime",
            "ttl.clean",
            "upstream.timeout",
            "upstream.patience",
            "replicate ",
            "replicate.from",
            "replicate.kinds",
            "replicate.every",
            "replicate.limit",
        ] {
            assert!(mistakes.iter().any(|mistake| mistake.starts_with(key)), "{key} in {mistakes:?}");
        }
    }

    #[test]
    fn the_example_above_is_what_holds_without_a_file() {
        let example: Vec<_> = include_str!("config.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! "))
            .skip_while(|line| *line != "```toml")
            .skip(1)
            .take_while(|line| *line != "```")
            .filter(|line| {
                !["identity", "upstreams", "snapshot", "trusted", "from"]
                    .iter()
                    .any(|key| line.starts_with(key))
            })
            .collect();
        let (written, default) = (parse(&example.join("\n")).unwrap(), parse("").unwrap());
        assert_eq!(format!("{written:?}"), format!("{default:?}"));
    }

    #[test]
    fn a_key_that_means_nothing_is_told() {
        assert!(toml::from_str::<Raw>("cash = 5").is_err());
    }

    fn parse(text: &str) -> Result<Config, Vec<String>> {
        toml::from_str::<Raw>(text).unwrap().check()
    }
}
