//! The API's JSON: what it takes and gives. Times are Unix seconds by the server's clock, identifiers 32 lower-case
//! hexadecimal digits.

mod distribution;
mod ksn;
mod polling;
mod remote;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audit;
use crate::fleet;
use crate::tunnels;
use crate::unix::seconds;
pub use distribution::{
    AssignPoint, BeginContent, BlockNumber, Delivered, Distribute, Distribution, NextBlock, Point, Results,
};
pub use ksn::{Ksn, KsnStanding, SetKsn};
pub use polling::{Poller, SetPolling, Unassigned};
pub use remote::{AskGrant, Enroll, Enrolled, Granted, Renew};

/// Whether the server serves.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// The server's version.
    pub version: String,
}

/// What a device learns of itself.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Standing {
    /// Its id.
    pub device: String,
    /// Its name, as the server knows it.
    pub name: String,
    /// The path of its group.
    pub group: String,
    /// Whether the server has a session with it now.
    pub online: bool,
}

/// The operator who asks.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Whoami {
    /// Their id.
    pub operator: String,
    /// Their name.
    pub name: String,
    /// Their tenant.
    pub tenant: String,
    /// What they may do.
    pub roles: Vec<String>,
}

/// A managed device.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Device {
    /// Its id, for ever.
    pub id: String,
    /// Its host name at enrolment; not unique.
    pub name: String,
    /// Its operating system.
    pub os: String,
    /// The path of its group.
    pub group: String,
    /// Whether it has a session now.
    pub online: bool,
    /// Since when it is as it is.
    pub since: Option<u64>,
    /// When it was last heard.
    pub last_seen: Option<u64>,
    /// Where its connection comes from.
    pub address: Option<String>,
    /// Its clock minus the server's, in seconds.
    pub clock_skew: Option<i64>,
    /// Version of its agent.
    pub build: String,
    /// Why its last session ended, while it is offline; not known of those before the server started.
    pub ended: Option<String>,
    /// When it enrolled.
    pub enrolled: u64,
    /// When it was revoked.
    pub revoked: Option<u64>,
    /// The last device that came with its identity while it was connected itself.
    pub clone: Option<Clone>,
    /// When it last showed an older state than it had stored: its disk was set back, or is a copy.
    pub set_back: Option<u64>,
}

/// A device that came with another's identity.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Clone {
    /// When it came last, to within an hour.
    pub at: u64,
    /// The address it came from.
    pub address: String,
    /// The host name it told.
    pub machine: String,
    /// Until when it is given an identity of its own if it comes again.
    pub approved_until: Option<u64>,
}

/// Which devices to show.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceFilter {
    /// Only those with exactly this name.
    pub name: Option<String>,
}

/// Puts a device into a group.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveDevice {
    /// The group, by path or id.
    pub group: String,
}

/// Which clone may have an identity of its own.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveClone {
    /// The address it came from.
    pub address: IpAddr,
}

/// Says why something is revoked.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Revoke {
    /// For the audit log.
    pub reason: String,
}

/// A group of devices.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// Its id.
    pub id: String,
    /// `/` for the root, `/a/b` below it.
    pub path: String,
    /// The group it is in; none for the root.
    pub parent: Option<String>,
    /// Devices in it, not counting groups below it.
    pub devices: u64,
}

/// Adds a group.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddGroup {
    /// Its name among its siblings.
    pub name: String,
    /// The group it goes into, by path or id; absent for the root.
    #[serde(default)]
    pub parent: Option<String>,
}

/// An operator.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Operator {
    /// Their id, for ever.
    pub id: String,
    /// Their name.
    pub name: String,
    /// What they may do.
    pub roles: Vec<String>,
    /// When they were added.
    pub created: u64,
    /// When they were revoked.
    pub revoked: Option<u64>,
    /// Until when their invitation is good, while they have not logged in.
    pub invited_until: Option<u64>,
}

/// Adds an operator.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddOperator {
    /// Their name.
    pub name: String,
    /// Of administrator, tunnel, tunnel-hosts, rdp.
    pub roles: Vec<String>,
    /// How long the invitation is good, in seconds.
    pub ttl: u64,
}

/// An operator who may now log in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Invited {
    /// The operator.
    pub operator: Operator,
    /// The invitation `kli1.…`, shown this once.
    pub invitation: String,
}

/// An enrolment token; never its secret.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// SHA-256 of the secret, in hexadecimal.
    pub id: String,
    /// The path of the group its devices go to.
    pub group: String,
    /// Devices that may still enrol with it.
    pub uses_left: u32,
    /// Until when it is good.
    pub expires: u64,
    /// Name of the operator who made it.
    pub created_by: String,
}

/// Makes a token.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddToken {
    /// The group its devices go to, by path or id; absent for the root.
    #[serde(default)]
    pub group: Option<String>,
    /// Devices that may enrol with it.
    pub uses: u32,
    /// How long it is good, in seconds.
    pub ttl: u64,
}

/// A token that was made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NewToken {
    /// The token.
    pub token: Token,
    /// Its secret, shown this once.
    pub secret: String,
}

/// A grant that is open or in use.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Tunnel {
    /// The grant's id.
    pub grant: String,
    /// The device's id.
    pub device: String,
    /// Its name.
    pub device_name: String,
    /// Name of the operator who redeems it.
    pub operator: String,
    /// `PORT` of the device, or `HOST:PORT` beside it.
    pub target: String,
    /// Whether a connection was verified.
    pub begun: bool,
    /// When it ends by itself.
    pub until: u64,
    /// Its connections.
    pub connections: Vec<Connection>,
}

/// A connection of a grant.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Connection {
    /// Where the operator connects from.
    pub peer: String,
    /// Since when.
    pub since: u64,
    /// Bytes from the operator to the target, encrypted as they pass.
    pub to_target: u64,
    /// Bytes from the target to the operator, encrypted as they pass.
    pub to_operator: u64,
    /// Bytes a second from the operator to the target, over the last two seconds.
    pub to_target_rate: u64,
    /// Bytes a second from the target to the operator, over the last two seconds.
    pub to_operator_rate: u64,
    /// Microseconds of a round trip from the relay to the operator, when its system tells.
    pub rtt_operator_us: Option<u64>,
    /// Microseconds of a round trip from the relay to the device, when its system tells.
    pub rtt_device_us: Option<u64>,
}

/// Which audit entries to show.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuditPage {
    /// Only entries with a smaller number.
    pub before: Option<u64>,
    /// How many at most; 100 unless given, 1,000 at most.
    pub limit: Option<u32>,
}

/// One thing that was done.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// Rises from entry to entry.
    pub number: u64,
    /// When.
    pub at: u64,
    /// Who did it.
    pub actor: String,
    /// What was done: `noun.verb`.
    pub action: String,
    /// To what.
    pub subject: String,
    /// Anything else worth knowing.
    pub detail: BTreeMap<String, String>,
}

impl From<tunnels::Tunnel> for Tunnel {
    fn from(tunnel: tunnels::Tunnel) -> Self {
        Self {
            grant: tunnel.grant.to_string(),
            device: tunnel.device.to_string(),
            device_name: tunnel.device_name,
            operator: tunnel.operator,
            target: tunnel.target,
            begun: tunnel.begun,
            until: seconds(tunnel.until),
            connections: tunnel.connections.into_iter().map(Connection::from).collect(),
        }
    }
}

impl From<tunnels::Connection> for Connection {
    fn from(connection: tunnels::Connection) -> Self {
        Self {
            peer: connection.peer.to_string(),
            since: seconds(connection.since),
            to_target: connection.to_target,
            to_operator: connection.to_operator,
            to_target_rate: connection.rate.to_target,
            to_operator_rate: connection.rate.to_operator,
            rtt_operator_us: connection.rtt_operator.map(micros),
            rtt_device_us: connection.rtt_device.map(micros),
        }
    }
}

impl From<audit::AuditEntry> for AuditEntry {
    fn from(entry: audit::AuditEntry) -> Self {
        let audit::AuditEntry { number, at, actor, action, subject, detail } = entry;
        Self { number, at: seconds(at), actor, action, subject, detail }
    }
}

impl Device {
    /// A device as the API shows it; `group` is the path of its group.
    pub fn new(device: fleet::Device, group: String) -> Self {
        let presence = device.presence;
        Self {
            id: device.id.to_string(),
            name: device.name,
            os: device.os,
            group,
            online: presence.online,
            since: presence.since.map(seconds),
            last_seen: presence.last_seen.map(seconds),
            address: presence.address.map(|address| address.to_string()),
            clock_skew: presence.clock_skew,
            build: presence.build,
            ended: presence.ended,
            enrolled: seconds(device.enrolled),
            revoked: device.revoked.map(seconds),
            clone: device.clone.map(Clone::new),
            set_back: device.set_back.map(seconds),
        }
    }
}

impl Clone {
    fn new(clone: fleet::Clone) -> Self {
        let fleet::Clone { at, address, machine, approved_until } = clone;
        Self { at: seconds(at), address, machine, approved_until: approved_until.map(seconds) }
    }
}

impl Token {
    /// A token as the API shows it; `group` is the path of its group.
    pub fn new(token: fleet::Token, group: String) -> Self {
        let expires = seconds(token.expires);
        Self { id: token.id, group, uses_left: token.uses_left, expires, created_by: token.created_by }
    }
}

impl From<fleet::Group> for Group {
    fn from(group: fleet::Group) -> Self {
        Self {
            id: group.id.to_string(),
            path: group.path,
            parent: group.parent.map(|parent| parent.to_string()),
            devices: group.devices as u64,
        }
    }
}

impl From<fleet::Operator> for Operator {
    fn from(operator: fleet::Operator) -> Self {
        Self {
            id: operator.id.to_string(),
            name: operator.name,
            roles: names(&operator.roles),
            created: seconds(operator.created),
            revoked: operator.revoked.map(seconds),
            invited_until: operator.invited_until.map(seconds),
        }
    }
}

impl From<fleet::Caller> for Whoami {
    fn from(caller: fleet::Caller) -> Self {
        Self {
            operator: caller.operator.to_string(),
            name: caller.name,
            tenant: caller.tenant.to_string(),
            roles: names(&caller.roles),
        }
    }
}

fn names(roles: &fleet::Roles) -> Vec<String> {
    roles.iter().map(|role| role.name().to_owned()).collect()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A time from Unix seconds, for the client.
pub fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}
