//! The agent's configuration file: TOML, every key optional, every mistake reported at once.
//!
//! ```toml
//! state = "/var/lib/klnet/agent"
//! device_key = "file"                 # or where the next enrolment makes its private key, which never leaves there:
//! # device_key = "pkcs11:token=klnet;object=device?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/klnet/pin"
//!
//! [ports]                             # of the device's roles, should it have them
//! listen = "::"                       # every address
//! files = 13000                       # distribution point, TCP
//! ksn_tcp = 13111                     # KSN proxy
//! ksn_udp = 15111
//! ksn_https = 17111
//! neighbours = 15000                  # UDP; 0: other agents of its networks do not hear of this device, nor it of them
//!
//! [tunnel]                            # may forbid what the server would allow, never the other way round
//! deny_ports = [23, "8000-8100"]      # wins over allow_ports
//! allow_ports = []                    # empty: every port
//! hosts_allowed = true                # whether other hosts than this device are reached at all
//! allow_hosts = ["db.lan", ".branch.example"]   # empty: every host
//! ```
//! A TPM is reached through its PKCS #11 module, libtpm2_pkcs11.so. The PIN's file is read by its owner alone, the account
//! that the agent runs under.

mod ports;

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use klnet_tunnel::policy::TargetPolicy;
#[cfg(feature = "pkcs11")]
use klnet_wire::pkcs11::{KeyUri, Token};
use serde::Deserialize;

use crate::state::{Folder, Keys};
pub use ports::Ports;

/// What the agent is run with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The state folder.
    pub state: PathBuf,
    /// Where enrolment makes the device's private key.
    pub device_key: DeviceKey,
    /// Where it listens in its roles.
    pub ports: Ports,
    /// The device's own rules for tunnels.
    pub tunnel: TargetPolicy,
}

/// Where a private key is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DeviceKey {
    /// In a file of the state folder.
    #[default]
    File,
    /// In a token.
    #[cfg(feature = "pkcs11")]
    Token(KeyUri),
}

/// A configuration file that is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}: {error}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is no TOML, or has keys that mean nothing.
    #[error("{}: {error}", .path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        error: toml::de::Error,
    },
    /// Values that cannot be meant; all of them.
    #[error("{}: {}", .path.display(), .mistakes.join("; "))]
    Mistakes {
        /// Which file.
        path: PathBuf,
        /// Each with its key.
        mistakes: Vec<String>,
    },
}

impl Config {
    /// Reads `path`. Without a path reads [`DEFAULT_PATH`], which may be missing.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let (file, named) = (path.unwrap_or(Path::new(DEFAULT_PATH)), path.is_some());
        match std::fs::read_to_string(file) {
            Ok(text) => Self::parse(file, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !named => Ok(Self::default()),
            Err(error) => Err(ConfigError::Io { path: file.to_owned(), error }),
        }
    }

    /// The state folder, whose keys are where the configuration says.
    pub fn folder(&self) -> Folder {
        let keys = match &self.device_key {
            DeviceKey::File => Keys::Files,
            #[cfg(feature = "pkcs11")]
            DeviceKey::Token(uri) => Keys::Token(Token::new(uri.clone(), self.state.join(PIN_REFUSED))),
        };
        Folder::with_keys(&self.state, keys)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let path = path.to_owned();
        match toml::from_str::<Raw>(text) {
            Err(error) => Err(ConfigError::Syntax { path, error }),
            Ok(raw) => raw.check().map_err(|mistakes| ConfigError::Mistakes { path, mistakes }),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let (device_key, ports, tunnel) = Default::default();
        Self { state: PathBuf::from(DEFAULT_STATE), device_key, ports, tunnel }
    }
}

impl DeviceKey {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "file" => Ok(Self::File),
            #[cfg(feature = "pkcs11")]
            uri => uri.parse().map(Self::Token).map_err(|error| error.to_string()),
            #[cfg(not(feature = "pkcs11"))]
            _ => Err("this program was built without PKCS #11, it knows \"file\" alone".to_owned()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    state: PathBuf,
    device_key: String,
    ports: Ports,
    tunnel: RawTunnel,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTunnel {
    deny_ports: Vec<RawPorts>,
    allow_ports: Vec<RawPorts>,
    hosts_allowed: bool,
    allow_hosts: Vec<String>,
}

/// `22` or `"8000-8100"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawPorts {
    One(i64),
    Range(String),
}

impl Default for Raw {
    fn default() -> Self {
        let (state, device_key) = (PathBuf::from(DEFAULT_STATE), "file".to_owned());
        Self { state, device_key, ports: Ports::default(), tunnel: RawTunnel::default() }
    }
}

impl Default for RawTunnel {
    fn default() -> Self {
        let (deny_ports, allow_ports, allow_hosts) = Default::default();
        Self { deny_ports, allow_ports, hosts_allowed: true, allow_hosts }
    }
}

impl Raw {
    fn check(self) -> Result<Config, Vec<String>> {
        let mut mistakes = Vec::new();
        if !self.state.is_absolute() {
            mistakes.push(format!("state: {} is not an absolute path", self.state.display()));
        }
        mistakes.extend(self.ports.mistakes());
        let device_key = DeviceKey::parse(&self.device_key).unwrap_or_else(|reason| {
            mistakes.push(format!("device_key: {reason}"));
            DeviceKey::File
        });
        let tunnel = TargetPolicy {
            deny_ports: ports("tunnel.deny_ports", &self.tunnel.deny_ports, &mut mistakes),
            allow_ports: ports("tunnel.allow_ports", &self.tunnel.allow_ports, &mut mistakes),
            hosts_allowed: self.tunnel.hosts_allowed,
            allow_hosts: hosts(self.tunnel.allow_hosts, &mut mistakes),
        };
        match mistakes.is_empty() {
            true => Ok(Config { state: self.state, device_key, ports: self.ports, tunnel }),
            false => Err(mistakes),
        }
    }
}

fn ports(key: &str, raw: &[RawPorts], mistakes: &mut Vec<String>) -> Vec<RangeInclusive<u16>> {
    let mut ranges = Vec::new();
    for (index, raw) in raw.iter().enumerate() {
        match raw.range() {
            Some(range) => ranges.push(range),
            None => mistakes
                .push(format!("{key}[{index}]: {raw} is neither a port (1-65535) nor a range \"8000-8100\"")),
        }
    }
    ranges
}

/// Host names compare in lower case, as a grant has them.
fn hosts(raw: Vec<String>, mistakes: &mut Vec<String>) -> Vec<String> {
    let allowed = |host: &str| !host.is_empty() && !host.contains([' ', '*', '/']);
    for (index, host) in raw.iter().enumerate().filter(|(_, host)| !allowed(host)) {
        let what = "is neither a name, an address, nor a \".suffix\"";
        mistakes.push(format!("tunnel.allow_hosts[{index}]: {host:?} {what}"));
    }
    raw.into_iter().map(|host| host.to_ascii_lowercase()).collect()
}

impl RawPorts {
    fn range(&self) -> Option<RangeInclusive<u16>> {
        let port = |text: &str| text.trim().parse().ok().filter(|port| *port > 0);
        let (first, last) = match self {
            Self::One(number) => (u16::try_from(*number).ok().filter(|port| *port > 0)?, None),
            Self::Range(text) => match text.split_once('-') {
                Some((first, last)) => (port(first)?, Some(port(last)?)),
                None => (port(text)?, None),
            },
        };
        let last = last.unwrap_or(first);
        (first <= last).then_some(first..=last)
    }
}

impl std::fmt::Display for RawPorts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(number) => write!(f, "{number}"),
            Self::Range(text) => write!(f, "{text:?}"),
        }
    }
}

/// Where the configuration is, unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/klnet/agent.toml";
/// Where the state is, unless `--state` or the configuration says otherwise: systemd's `StateDirectory`.
pub const DEFAULT_STATE: &str = "/var/lib/klnet/agent";
/// Where in the state folder it is written down which PIN a token has refused.
#[cfg(feature = "pkcs11")]
const PIN_REFUSED: &str = "pin.refused";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(parse("").unwrap(), Config::default());
    }

    #[test]
    fn the_documented_file_means_what_it_says() {
        let text = r#"
            state = "/srv/agent"
            device_key = "file"
            [ports]
            files = 13001
            [tunnel]
            deny_ports = [23, "8000-8100", "25"]
            hosts_allowed = false
            allow_hosts = ["DB.lan"]
        "#;
        let config = parse(text).unwrap();
        assert_eq!(config.state, Path::new("/srv/agent"));
        assert_eq!((config.device_key, config.ports.files), (DeviceKey::File, 13_001));
        assert_eq!(config.ports.ksn_tcp, 13_111);
        assert_eq!(config.tunnel.deny_ports, [23..=23, 8000..=8100, 25..=25]);
        assert_eq!((config.tunnel.hosts_allowed, config.tunnel.allow_ports), (false, vec![]));
        assert_eq!(config.tunnel.allow_hosts, ["db.lan"]);
    }

    #[test]
    fn every_mistake_is_reported_with_its_key() {
        let text = r#"
            state = "here"
            device_key = "tpm"
            [ports]
            files = 0
            [tunnel]
            deny_ports = [0, "9-3", 70000]
            allow_ports = ["ssh"]
            allow_hosts = ["*.lan"]
        "#;
        let error = parse(text).unwrap_err().to_string();
        for key in [
            "state",
            "device_key",
            "ports.files",
            "deny_ports[0]",
            "deny_ports[1]",
            "deny_ports[2]",
            "allow_ports[0]",
            "allow_hosts[0]",
        ] {
            assert!(error.contains(key), "{key} is missing in: {error}");
        }
    }

    #[cfg(feature = "pkcs11")]
    #[test]
    fn a_token_is_a_uri_that_is_understood_whole() {
        let key = "pkcs11:token=klnet;object=device?module-path=/m.so&pin-source=file:/pin";
        let config = parse(&format!("device_key = {key:?}")).unwrap();
        assert_eq!(config.device_key, DeviceKey::Token(key.parse().unwrap()));
        assert!(config.folder().keys().are_in_token());
        for (more, word) in
            [("&pin-value=canary", "pin-source=file:"), ("&module-name=softhsm2", "module-name")]
        {
            let error = parse(&format!("device_key = \"{key}{more}\"")).unwrap_err().to_string();
            assert!(error.contains("device_key: ") && error.contains(word), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_key_that_means_nothing_is_named() {
        let error = parse("[tunnel]\nallow_port = [22]").unwrap_err().to_string();
        assert!(error.contains("allow_port"), "{error}");
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let error = Config::load(Some(&folder.path().join("no.toml"))).unwrap_err();
        assert!(matches!(error, ConfigError::Io { .. }));
    }

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("agent.toml"), text)
    }
}
