//! The server's configuration: `server.toml`, every mistake in it reported at once.

mod limits;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use klnet_tunnel::grant::Host;
use serde::Deserialize;

use crate::units::{duration, ports, print_duration};
pub use limits::Limits;

/// What a server runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Folder of keys, certificates and store.
    pub state: PathBuf,
    /// Names or addresses by which agents and operators reach this server, the best first.
    pub hosts: Vec<String>,
    /// The address every listener binds.
    pub bind: IpAddr,
    /// Port of discovery, enrolment and API.
    pub https_port: u16,
    /// Ports for agents.
    pub agent_ports: Vec<u16>,
    /// Ports for tunnels.
    pub tunnel_ports: Vec<u16>,
    /// Where Prometheus metrics are served in clear; nowhere unless set.
    pub metrics: Option<SocketAddr>,
    /// Where revocation lists are served in clear (HTTP) to third parties, port 80 by convention; nowhere unless set.
    pub crl_http: Option<SocketAddr>,
    /// Shortest and longest heartbeat; between them the number of devices decides.
    pub heartbeat: (Duration, Duration),
    /// How agents spread their return after the server was away.
    pub reconnect_window: Duration,
    /// How long a tunnel session may last.
    pub tunnel_session: Duration,
    /// How long a tunnel connection may be silent.
    pub tunnel_idle: Duration,
    /// How long tunnels may go on in a process whose successor could not take them.
    pub drain_timeout: Duration,
    /// Whether the relay moves bytes inside the kernel where it can (splice(2)).
    pub splice: bool,
    /// How much one device, operator or tenant may have at once.
    pub limits: Limits,
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    state: Option<PathBuf>,
    hosts: Option<Vec<String>>,
    bind: Option<String>,
    https_port: Option<u16>,
    agent_ports: Option<String>,
    tunnel_ports: Option<String>,
    metrics: Option<String>,
    crl_http: Option<String>,
    heartbeat_min: Option<String>,
    heartbeat_max: Option<String>,
    reconnect_window: Option<String>,
    tunnel_session: Option<String>,
    tunnel_idle: Option<String>,
    drain_timeout: Option<String>,
    splice: Option<bool>,
    limits: Option<limits::Raw>,
}

/// Everything wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(Vec<String>);

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake and its key.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let named = |error: &dyn std::fmt::Display| ConfigError(vec![format!("{}: {error}", path.display())]);
        let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
        Self::parse(&text).map_err(|ConfigError(mistakes)| {
            ConfigError(
                mistakes.into_iter().map(|mistake| format!("{}: {mistake}", path.display())).collect(),
            )
        })
    }

    /// Reads a configuration from TOML; what it leaves out has its default.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake and its key.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let raw: Raw = toml::from_str(text).map_err(|error| ConfigError(vec![error.to_string()]))?;
        let mut mistakes = Mistakes::default();
        let heartbeat = (
            mistakes.or("heartbeat_min", raw.heartbeat_min, HEARTBEAT_MIN, duration),
            mistakes.or("heartbeat_max", raw.heartbeat_max, HEARTBEAT_MAX, duration),
        );
        let limits = klnet_wire::session::HEARTBEAT_MIN..=klnet_wire::session::HEARTBEAT_MAX;
        mistakes.expect("heartbeat_min", heartbeat.0 <= heartbeat.1, "exceeds heartbeat_max");
        mistakes.expect("heartbeat_min", limits.contains(&heartbeat.0), "is not between 100ms and 1h");
        mistakes.expect("heartbeat_max", limits.contains(&heartbeat.1), "is not between 100ms and 1h");
        let config = Self {
            state: raw.state.unwrap_or_else(|| STATE.into()),
            hosts: raw.hosts.unwrap_or_else(|| vec![host_name()]),
            bind: mistakes.or("bind", raw.bind, BIND, str::parse),
            https_port: raw.https_port.unwrap_or(HTTPS_PORT),
            agent_ports: mistakes.or("agent_ports", raw.agent_ports, AGENT_PORTS, ports),
            tunnel_ports: mistakes.or("tunnel_ports", raw.tunnel_ports, TUNNEL_PORTS, ports),
            metrics: raw.metrics.and_then(|text| mistakes.take("metrics", &text, str::parse)),
            crl_http: raw.crl_http.and_then(|text| mistakes.take("crl_http", &text, str::parse)),
            heartbeat,
            reconnect_window: mistakes.or(
                "reconnect_window",
                raw.reconnect_window,
                RECONNECT_WINDOW,
                duration,
            ),
            tunnel_session: mistakes.or("tunnel_session", raw.tunnel_session, TUNNEL_SESSION, duration),
            tunnel_idle: mistakes.or("tunnel_idle", raw.tunnel_idle, TUNNEL_IDLE, duration),
            drain_timeout: mistakes.or("drain_timeout", raw.drain_timeout, DRAIN_TIMEOUT, duration),
            splice: raw.splice.unwrap_or(true),
            limits: Limits::new(raw.limits.unwrap_or_default(), &mut mistakes),
        };
        mistakes.expect("hosts", !config.hosts.is_empty(), "names no host");
        for host in config.hosts.iter().filter(|host| Host::parse(host).is_err()) {
            mistakes
                .0
                .push(format!("hosts: {host:?} is neither a DNS name nor an address (without brackets)"));
        }
        let session = Duration::from_secs(1)..=klnet_tunnel::grant::SESSION_LIMIT;
        mistakes.expect(
            "tunnel_session",
            session.contains(&config.tunnel_session),
            "is not between 1s and 7d",
        );
        mistakes.expect("tunnel_idle", session.contains(&config.tunnel_idle), "is not between 1s and 7d");
        let drain = Duration::ZERO..=DRAIN_LIMIT;
        mistakes.expect("drain_timeout", drain.contains(&config.drain_timeout), "is longer than 1h");
        match mistakes.0.is_empty() {
            true => Ok(config),
            false => Err(ConfigError(mistakes.0)),
        }
    }

    /// The configuration as a file would say it, every key with its value.
    pub fn to_toml(&self) -> String {
        let ports = |ports: &[u16]| match ports {
            [first, .., last] => format!("{first}-{last}"),
            [only] => only.to_string(),
            [] => String::new(),
        };
        let metrics =
            self.metrics.map_or("# metrics = \"127.0.0.1:9464\"".into(), |at| format!("metrics = \"{at}\""));
        let crl_http =
            self.crl_http.map_or("# crl_http = \"[::]:80\"".into(), |at| format!("crl_http = \"{at}\""));
        format!(
            "state = {:?}\nhosts = {:?}\nbind = \"{}\"\nhttps_port = {}\nagent_ports = \"{}\"\ntunnel_ports = \"{}\"\n\
             {metrics}\n{crl_http}\nheartbeat_min = \"{}\"\nheartbeat_max = \"{}\"\nreconnect_window = \"{}\"\n\
             tunnel_session = \"{}\"\ntunnel_idle = \"{}\"\ndrain_timeout = \"{}\"\nsplice = {}\n{}",
            self.state,
            self.hosts,
            self.bind,
            self.https_port,
            ports(&self.agent_ports),
            ports(&self.tunnel_ports),
            print_duration(self.heartbeat.0),
            print_duration(self.heartbeat.1),
            print_duration(self.reconnect_window),
            print_duration(self.tunnel_session),
            print_duration(self.tunnel_idle),
            print_duration(self.drain_timeout),
            self.splice,
            self.limits.to_toml(),
        )
    }

    /// The heartbeat for a fleet of this size: about 600 a second reach the server.
    pub fn heartbeat_for(&self, devices: usize) -> Duration {
        let spread = Duration::from_secs(u64::try_from(devices).unwrap_or(u64::MAX) / HEARTBEATS_PER_SECOND);
        spread.clamp(self.heartbeat.0, self.heartbeat.1)
    }

    /// The reconnect window for a fleet of this size: as configured, and wider when more than about 500 devices a
    /// second would come back in it.
    pub fn reconnect_window_for(&self, devices: usize) -> Duration {
        let spread = Duration::from_secs(u64::try_from(devices).unwrap_or(u64::MAX) / RETURNS_PER_SECOND);
        spread.clamp(self.reconnect_window, self.reconnect_window.max(RECONNECT_WINDOW_LIMIT))
    }
}

/// Collects what is wrong, so that one run of the server tells it all.
#[derive(Default)]
struct Mistakes(Vec<String>);

impl Mistakes {
    fn or<T, E: std::fmt::Display>(
        &mut self,
        key: &str,
        value: Option<String>,
        default: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> T {
        let given = value.and_then(|text| self.take(key, &text, &parse));
        given.unwrap_or_else(|| {
            parse(default).unwrap_or_else(|error| unreachable!("default of {key}: {error}"))
        })
    }

    fn take<T, E: std::fmt::Display>(
        &mut self,
        key: &str,
        text: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        parse(text).map_err(|error| self.0.push(format!("{key}: {error}"))).ok()
    }

    fn expect(&mut self, key: &str, holds: bool, otherwise: &str) {
        if !holds {
            self.0.push(format!("{key}: {otherwise}"));
        }
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Debian's place for the state of a service.
pub const STATE: &str = "/var/lib/klnet/server";
const BIND: &str = "::";
/// HTTPS (RFC 9110); without the privilege to bind it, 8443 is the documented alternative.
const HTTPS_PORT: u16 = 443;
/// First port of the product's range 23100-23199.
const AGENT_PORTS: &str = "23100";
/// First port of the product's range 29200-29299.
const TUNNEL_PORTS: &str = "29200";
/// An agent behind NAT must be heard more often than most routers forget a TCP flow.
const HEARTBEAT_MIN: &str = "30s";
/// The product's synchronisation interval for up to 10,000 devices.
const HEARTBEAT_MAX: &str = "15m";
const RECONNECT_WINDOW: &str = "2s";
/// A working day.
const TUNNEL_SESSION: &str = "8h";
const TUNNEL_IDLE: &str = "30m";
/// Who stops a server waits for it; systemd gives up after 90 s.
const DRAIN_TIMEOUT: &str = "30s";
const DRAIN_LIMIT: Duration = Duration::from_secs(3600);
/// Heartbeats that cost a server about one hundredth of a core.
const HEARTBEATS_PER_SECOND: u64 = 600;
/// Handshakes of returning devices that cost a server about half a core.
const RETURNS_PER_SECOND: u64 = 500;
/// The longest that a fleet's size makes its devices wait.
const RECONNECT_WINDOW_LIMIT: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_a_configuration() {
        let config = Config::parse("").unwrap();
        assert_eq!(
            (config.https_port, config.agent_ports, config.tunnel_ports),
            (443, vec![23_100], vec![29_200])
        );
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let wrong = "bind = 'x'\nagent_ports = '9-1'\nheartbeat_min = '5'\ntunnel_idle = '0s'\nhosts = ['[::1]']\ndrain_timeout = '2h'\n\
             [limits]\ngrants_per_device = 65\nconnections_per_tenant = 0\ntenant_rate = 'fast'";
        let error = Config::parse(wrong).unwrap_err().to_string();
        let keys = ["bind", "agent_ports", "heartbeat_min", "tunnel_idle", "hosts", "drain_timeout"];
        let limits = ["limits.grants_per_device", "limits.connections_per_tenant", "limits.tenant_rate"];
        for key in keys.into_iter().chain(limits) {
            assert!(error.contains(key), "{key} in {error}");
        }
    }

    #[test]
    fn what_is_printed_is_the_same_configuration() {
        let text = "agent_ports = '23100-23107'\nheartbeat_min = '1500ms'\nmetrics = '127.0.0.1:9464'\ncrl_http = '[::]:80'\ntunnel_session = '2h'";
        let limits = "splice = false\n[limits]\ngrants_per_operator = 7\ntenant_rate = '1Gbit/s'";
        for text in ["", text, limits] {
            let config = Config::parse(text).unwrap();
            assert_eq!(Config::parse(&config.to_toml()), Ok(config));
        }
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(Config::parse("prots = '1'").unwrap_err().to_string().contains("prots"));
    }

    #[test]
    fn the_heartbeat_grows_with_the_fleet() {
        let config = Config::parse("").unwrap();
        assert_eq!(config.heartbeat_for(10), Duration::from_secs(30));
        assert_eq!(config.heartbeat_for(60_000), Duration::from_secs(100));
        assert_eq!(config.heartbeat_for(10_000_000), Duration::from_secs(900));
    }

    #[test]
    fn a_large_fleet_comes_back_over_a_wider_window() {
        let config = Config::parse("").unwrap();
        let window = |devices| config.reconnect_window_for(devices).as_secs();
        assert_eq!([0, 1000, 10_000, 10_000_000].map(window), [2, 2, 20, 300]);
        let config = Config::parse("reconnect_window = '1h'").unwrap();
        assert_eq!(config.reconnect_window_for(10_000_000), Duration::from_secs(3600));
    }
}
