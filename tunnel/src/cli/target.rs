//! TARGET: what to reach, as a person writes it.

use std::fmt;
use std::str::FromStr;

use crate::blob::{Blob, BlobError, PREFIX};
use crate::grant::{Host, NotAHost};

/// What a TARGET says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A blob that somebody has made already.
    Blob(Box<Blob>),
    /// A blob that comes on standard input.
    StandardInput,
    /// A port for which a grant is asked for.
    Port(PortTarget),
}

/// A port of a device, or of a host the device can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PortTarget {
    /// Whom to log in as: for `ssh` only.
    pub(super) user: Option<String>,
    /// The device's name or id.
    pub(super) device: String,
    /// The host to reach from the device.
    pub(super) host: Host,
    /// The port; `ssh` has a default.
    pub(super) port: Option<u16>,
}

/// Text that is no TARGET.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TargetError {
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("TARGET has no device: write DEVICE:PORT or DEVICE:HOST:PORT")]
    Device,
    #[error("--socks takes a DEVICE alone: its name or id")]
    NotADevice,
    #[error("TARGET has no port between 1 and 65535: write DEVICE:PORT or DEVICE:HOST:PORT")]
    Port,
    #[error("the host in TARGET is {0}; an IPv6 address stands in brackets")]
    Host(#[from] NotAHost),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        match text.trim() {
            "-" => Ok(Self::StandardInput),
            blob if blob.starts_with(PREFIX) => Ok(Self::Blob(Box::new(blob.parse()?))),
            text => text.parse().map(Self::Port),
        }
    }
}

impl FromStr for PortTarget {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (user, rest) = match text.split_once('@') {
            Some((user, rest)) => (Some(user.to_owned()).filter(|user| !user.is_empty()), rest),
            None => (None, text),
        };
        let (device, place) = match rest.split_once(':') {
            Some((device, place)) => (device, Some(place)),
            None => (rest, None),
        };
        let (host, port) = match place.map(|place| place.rsplit_once(':').unwrap_or(("", place))) {
            Some((host, port)) => (host, Some(port)),
            None => ("", None),
        };
        // A dash in front would be an option to the program it is handed on to.
        let plain = |name: &str| !name.is_empty() && !name.starts_with('-');
        if !plain(device) || user.as_deref().is_some_and(|user| !plain(user)) {
            return Err(TargetError::Device);
        }
        let number = |digits: &str| digits.parse().ok().filter(|port| *port != 0).ok_or(TargetError::Port);
        let port = port.map(number).transpose()?;
        Ok(Self { user, device: device.to_owned(), host: host_of(host)?, port })
    }
}

fn host_of(text: &str) -> Result<Host, NotAHost> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    match (bare, Host::parse(bare.unwrap_or(text))?) {
        // Brackets hold an IPv6 address, and an IPv6 address stands in brackets.
        (bare, host @ Host::Address(address)) if address.is_ipv6() == bare.is_some() => Ok(host),
        (Some(_), _) | (None, Host::Address(_)) => Err(NotAHost),
        (None, host) => Ok(host),
    }
}

impl fmt::Display for Target {
    /// For people; of a blob only what is no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(blob) => match &blob.grant.host {
                Host::Device => write!(f, "{}:{}", blob.grant.device, blob.grant.port),
                host => write!(f, "{}:{}:{}", blob.grant.device, bracketed(host), blob.grant.port),
            },
            Self::StandardInput => f.write_str("-"),
            Self::Port(target) => target.fmt(f),
        }
    }
}

impl fmt::Display for PortTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.device)?;
        if self.host != Host::Device {
            write!(f, ":{}", bracketed(&self.host))?;
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn bracketed(host: &Host) -> String {
    match host {
        Host::Address(address) if address.is_ipv6() => format!("[{address}]"),
        host => host.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_a_device_or_of_a_host_behind_it_is_read() {
        assert_eq!(parse("web-7:22"), Ok(port(None, "web-7", "", Some(22))));
        assert_eq!(parse("anna@web-7:22"), Ok(port(Some("anna"), "web-7", "", Some(22))));
        assert_eq!(parse("web-7:db.lan:5432"), Ok(port(None, "web-7", "db.lan", Some(5432))));
        assert_eq!(parse("web-7:[fd00::1]:22"), Ok(port(None, "web-7", "fd00::1", Some(22))));
        assert_eq!(parse("web-7"), Ok(port(None, "web-7", "", None)));
    }

    #[test]
    fn text_survives_being_read() {
        for text in ["web-7:22", "web-7:db.lan:5432", "web-7:[fd00::1]:22", "web-7"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for text in ["", ":22", "@:22", "-oProxyCommand=x:22", "-x@web:22"] {
            assert_eq!(parse(text), Err(TargetError::Device), "{text}");
        }
        for text in ["web:", "web:0", "web:65536", "web:ssh", "web:db.lan:", "web:22 "] {
            assert_eq!(parse(text), Err(TargetError::Port), "{text}");
        }
        for text in ["web:fd00::1:22", "web:[db.lan]:22", "web:0x7f.1:22", "web:[]:22", "web:[10.0.0.1]:22"] {
            assert_eq!(parse(text), Err(TargetError::Host(NotAHost)), "{text}");
        }
    }

    #[test]
    fn a_damaged_blob_is_not_taken_for_a_device() {
        assert_eq!("klt1.x".parse::<Target>(), Err(TargetError::Blob(BlobError::Damaged)));
    }

    fn parse(text: &str) -> Result<PortTarget, TargetError> {
        text.parse()
    }

    fn port(user: Option<&str>, device: &str, host: &str, port: Option<u16>) -> PortTarget {
        let host = Host::parse(host).unwrap();
        PortTarget { user: user.map(str::to_owned), device: device.to_owned(), host, port }
    }
}
