//! The grant: who may reach what on which device, for how long. Signed as exact bytes; relay and target each read it.

use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::time::Duration;

use bytes::Bytes;
use klnet_wire::id::{DeviceId, GrantId, OperatorId, ServerId, TenantId};
use klnet_wire::signed::PublicKey;
use prost::Message as _;

/// A grant whose every field was checked while it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Names the grant; a target takes each once.
    pub id: GrantId,
    /// The tenant of device and operator.
    pub tenant: TenantId,
    /// The device whose agent is the target.
    pub device: DeviceId,
    /// The host to reach from the device.
    pub host: Host,
    /// The port to reach.
    pub port: NonZeroU16,
    /// The operator's own key, which the inner client must prove (`cnf`).
    pub cnf: PublicKey,
    /// The operator it was minted for.
    pub operator: OperatorId,
    /// The server whose relay may join it.
    pub audience: ServerId,
    /// Further hops on the way; empty in this version.
    pub route: Vec<ServerId>,
    /// The session of the agent in which it is valid.
    pub epoch: u64,
    /// The session must begin within this, counted from receipt; at most [`START_LIMIT`].
    pub start: Duration,
    /// The session ends after this; at most [`SESSION_LIMIT`].
    pub session: Duration,
    /// A connection ends after this long without a byte.
    pub idle: Duration,
    /// Connections end after the control connection was away this long; at most [`ORPHAN_LIMIT`].
    pub orphan: Duration,
    /// Most bytes per second of a connection in each direction; `None` is unlimited.
    pub rate: Option<NonZeroU64>,
    /// Most connections at once; at most [`CONNECTIONS_LIMIT`].
    pub connections: NonZeroU32,
    /// When it was minted, Unix seconds, never 0: for the audit log and for order, no target compares it with a clock.
    pub issued: u64,
}

/// The host a grant names, in its one canonical spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// The device itself, by its loopback.
    Device,
    /// Exactly this address.
    Address(IpAddr),
    /// Exactly this DNS name, in lower case; the target resolves it.
    Name(String),
}

/// Bytes that are no grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Longer than any grant.
    #[error("grant of {0} bytes exceeds the limit of {LIMIT}")]
    TooLong(usize),
    /// Not a grant's encoding.
    #[error("the grant cannot be read")]
    Malformed,
    /// The same grant has another, canonical encoding.
    #[error("the grant is not in its canonical encoding")]
    NotCanonical,
    /// A field of the wrong length or outside its limits.
    #[error("the grant's {0} is not valid")]
    Field(&'static str),
    /// For another version of the inner protocol.
    #[error("the grant is for another protocol than {ALPN}")]
    Protocol,
}

/// Text that is no host name or address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address in its usual spelling, nor a host name of letters, digits, hyphens and dots")]
pub struct NotAHost;

impl Grant {
    /// Reads a grant from exactly the bytes that were signed.
    ///
    /// # Errors
    /// [`GrantError`] when anything is missing, out of its limits, unknown, or not spelled canonically.
    pub fn read(bytes: &[u8]) -> Result<Self, GrantError> {
        if bytes.len() > LIMIT {
            return Err(GrantError::TooLong(bytes.len()));
        }
        let raw = Raw::decode(bytes).map_err(|_| GrantError::Malformed)?;
        if raw.encode_to_vec() != bytes {
            return Err(GrantError::NotCanonical);
        }
        Self::try_from(raw)
    }

    /// The bytes to sign.
    pub fn encode(&self) -> Bytes {
        Raw::from(self).encode_to_vec().into()
    }
}

impl Host {
    /// Reads what a person or program wrote; letters may be of either case, empty is the device itself.
    ///
    /// # Errors
    /// [`NotAHost`] also for every other spelling of an address (octal, hexadecimal, one number, with a zone).
    pub fn parse(text: &str) -> Result<Self, NotAHost> {
        if text.is_empty() {
            return Ok(Self::Device);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        match is_name(text) {
            true => Ok(Self::Name(text.to_ascii_lowercase())),
            false => Err(NotAHost),
        }
    }
}

fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or(text);
    text.len() <= HOST_LIMIT && text.split('.').all(label) && !is_number(last)
}

/// Whether a resolver could take a name ending in this label for an IPv4 address (WHATWG URL, "ends in a number").
fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    label.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

impl fmt::Display for Host {
    /// The host's canonical text; nothing for the device itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device => Ok(()),
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl TryFrom<Raw> for Grant {
    type Error = GrantError;

    fn try_from(raw: Raw) -> Result<Self, GrantError> {
        use GrantError::Field;
        if raw.alpn != ALPN {
            return Err(GrantError::Protocol);
        }
        if raw.route.len() > ROUTE_LIMIT {
            return Err(Field("route"));
        }
        let route = raw.route.iter().map(|hop| ServerId::try_from(&hop[..]));
        Ok(Self {
            id: raw.id[..].try_into().map_err(|_| Field("id"))?,
            tenant: raw.tenant[..].try_into().map_err(|_| Field("tenant"))?,
            device: raw.device[..].try_into().map_err(|_| Field("device"))?,
            host: canonical_host(&raw.host)?,
            port: u16::try_from(raw.port).ok().and_then(NonZeroU16::new).ok_or(Field("port"))?,
            cnf: operator_key(&raw.cnf)?,
            operator: raw.operator[..].try_into().map_err(|_| Field("operator"))?,
            audience: raw.audience[..].try_into().map_err(|_| Field("audience"))?,
            route: route.collect::<Result<_, _>>().map_err(|_| Field("route"))?,
            epoch: raw.epoch,
            start: within(raw.start_ms, START_LIMIT).ok_or(Field("start"))?,
            session: within(raw.session_ms, SESSION_LIMIT).ok_or(Field("session maximum"))?,
            idle: within(raw.idle_ms, SESSION_LIMIT).ok_or(Field("idle limit"))?,
            orphan: within(raw.orphan_ms, ORPHAN_LIMIT).ok_or(Field("orphan limit"))?,
            rate: NonZeroU64::new(raw.rate),
            connections: NonZeroU32::new(raw.connections)
                .filter(|most| most.get() <= CONNECTIONS_LIMIT)
                .ok_or(Field("number of connections"))?,
            // Proto3 does not write zeros: without this a grant cut before its last field would still be one.
            issued: Some(raw.issued).filter(|second| *second != 0).ok_or(Field("time of issue"))?,
        })
    }
}

fn canonical_host(text: &str) -> Result<Host, GrantError> {
    let host = Host::parse(text).map_err(|_| GrantError::Field("host"))?;
    match host.to_string() == text {
        true => Ok(host),
        false => Err(GrantError::Field("host")),
    }
}

fn operator_key(bytes: &[u8]) -> Result<PublicKey, GrantError> {
    match PublicKey::try_from(bytes) {
        // The only point format TLS uses is the uncompressed one, which begins with 4 (RFC 8422, 5.4.1).
        Ok(PublicKey::P256(point)) if point[0] == 4 => Ok(PublicKey::P256(point)),
        _ => Err(GrantError::Field("operator key")),
    }
}

fn within(milliseconds: u32, limit: Duration) -> Option<Duration> {
    let duration = Duration::from_millis(milliseconds.into());
    (!duration.is_zero() && duration <= limit).then_some(duration)
}

#[derive(Clone, PartialEq, prost::Message)]
struct Raw {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    tenant: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    device: Vec<u8>,
    #[prost(string, tag = "4")]
    host: String,
    #[prost(uint32, tag = "5")]
    port: u32,
    #[prost(bytes = "vec", tag = "6")]
    cnf: Vec<u8>,
    #[prost(bytes = "vec", tag = "7")]
    operator: Vec<u8>,
    #[prost(bytes = "vec", tag = "8")]
    audience: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "9")]
    route: Vec<Vec<u8>>,
    #[prost(uint64, tag = "10")]
    epoch: u64,
    #[prost(uint32, tag = "11")]
    start_ms: u32,
    #[prost(uint32, tag = "12")]
    session_ms: u32,
    #[prost(uint32, tag = "13")]
    idle_ms: u32,
    #[prost(uint32, tag = "14")]
    orphan_ms: u32,
    #[prost(uint64, tag = "15")]
    rate: u64,
    #[prost(uint32, tag = "16")]
    connections: u32,
    #[prost(string, tag = "17")]
    alpn: String,
    #[prost(uint64, tag = "18")]
    issued: u64,
}

impl From<&Grant> for Raw {
    fn from(grant: &Grant) -> Self {
        Self {
            id: grant.id.to_vec(),
            tenant: grant.tenant.to_vec(),
            device: grant.device.to_vec(),
            host: grant.host.to_string(),
            port: grant.port.get().into(),
            cnf: grant.cnf.as_bytes().to_vec(),
            operator: grant.operator.to_vec(),
            audience: grant.audience.to_vec(),
            route: grant.route.iter().map(|hop| hop.to_vec()).collect(),
            epoch: grant.epoch,
            start_ms: milliseconds(grant.start),
            session_ms: milliseconds(grant.session),
            idle_ms: milliseconds(grant.idle),
            orphan_ms: milliseconds(grant.orphan),
            rate: grant.rate.map_or(0, NonZeroU64::get),
            connections: grant.connections.get(),
            alpn: ALPN.to_owned(),
            issued: grant.issued,
        }
    }
}

/// A duration too long for the field becomes one that no reader accepts.
fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// The inner protocol and its major version.
pub const ALPN: &str = "klt/1";

/// Most bytes of a grant.
pub const LIMIT: usize = 1024;

/// Most bytes of a host name (RFC 1035, 2.3.4, without the root's dot).
pub const HOST_LIMIT: usize = 253;

/// Most hops of a route.
pub const ROUTE_LIMIT: usize = 8;

/// A session begins within this, counted from the grant's receipt.
pub const START_LIMIT: Duration = Duration::from_secs(60);

/// No session lasts longer: a week, for a long repair over a weekend.
pub const SESSION_LIMIT: Duration = Duration::from_hours(7 * 24);

/// No connection outlives its control connection for longer.
pub const ORPHAN_LIMIT: Duration = Duration::from_secs(600);

/// Most connections at once that a grant may allow.
pub const CONNECTIONS_LIMIT: u32 = 1024;

/// The session maximum when the operator names none: a working day.
pub const DEFAULT_SESSION: Duration = Duration::from_hours(8);

/// The idle limit when the operator names none.
pub const DEFAULT_IDLE: Duration = Duration::from_mins(30);

/// Connections at once when the operator names no number: what a browser opens.
pub const DEFAULT_CONNECTIONS: NonZeroU32 = NonZeroU32::new(16).expect("16 is not zero");

#[cfg(test)]
pub(crate) mod tests;
