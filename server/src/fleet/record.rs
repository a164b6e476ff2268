//! What is stored, in protobuf so that a newer version can add fields.

use bytes::Bytes;
use klnet_wire::id::GroupId;

/// Under `t/TENANT/device/ID`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeviceRecord {
    /// The host name it told at enrolment.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its operating system.
    #[prost(string, tag = "2")]
    pub os: String,
    /// The group it is in, 16 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub group: Vec<u8>,
    /// Its public key, a P-256 point.
    #[prost(bytes = "vec", tag = "4")]
    pub key: Vec<u8>,
    /// When it enrolled, Unix seconds.
    #[prost(uint64, tag = "5")]
    pub enrolled: u64,
    /// When it was revoked, Unix seconds; 0 while it is not.
    #[prost(uint64, tag = "6")]
    pub revoked: u64,
    /// Serial number of the newest certificate that it has used; empty before its first session.
    #[prost(bytes = "vec", tag = "7")]
    pub serial: Vec<u8>,
    /// A newer certificate that it has not used yet.
    #[prost(message, optional, tag = "8")]
    pub pending: Option<Pending>,
    /// Serial numbers of certificates that were replaced and have not ended.
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub superseded: Vec<Vec<u8>>,
    /// When it was removed, Unix seconds; 0 while it is not. Then this is a tombstone.
    #[prost(uint64, tag = "10")]
    pub removed: u64,
}

impl DeviceRecord {
    /// The group it is in; that of nobody for a tombstone.
    pub(super) fn group(&self) -> GroupId {
        GroupId::try_from(self.group.as_slice()).unwrap_or(GroupId::new([0; 16]))
    }
}

/// What a [`DeviceRecord`] says first: for whoever looks for one name among many.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeviceName {
    /// See [`DeviceRecord::name`].
    #[prost(string, tag = "1")]
    pub name: String,
}

/// Under `t/TENANT/clone/DEVICE`: the device that came last with this one's identity while it was connected itself. It is
/// the clone's word and has a record of its own, so that nothing it says comes between an operator and the device's.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CloneRecord {
    /// When, Unix seconds.
    #[prost(uint64, tag = "1")]
    pub at: u64,
    /// The address it came from.
    #[prost(string, tag = "2")]
    pub address: String,
    /// The host name it told.
    #[prost(string, tag = "3")]
    pub machine: String,
    /// Until when it is given an identity of its own if it comes again, Unix seconds; 0 unless an operator said so.
    #[prost(uint64, tag = "4")]
    pub approved_until: u64,
    /// The operator who did.
    #[prost(string, tag = "5")]
    pub approved_by: String,
}

/// Under `t/TENANT/fabric/keys`: the keys that a server last served with.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct FabricRecord {
    /// How often the root was rotated.
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// Server certificates that were revoked.
    #[prost(uint64, tag = "2")]
    pub revoked: u64,
}

/// Under `t/TENANT/set-back/DEVICE`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SetBackRecord {
    /// When the device last showed an older state than it had stored, Unix seconds.
    #[prost(uint64, tag = "1")]
    pub at: u64,
}

/// Under `t/TENANT/sync/DEVICE`: what the device has stored too.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SyncRecord {
    /// The id exchanged last.
    #[prost(bytes = "bytes", tag = "1")]
    pub id: Bytes,
    /// The store's history in which it was.
    #[prost(bytes = "vec", tag = "2")]
    pub incarnation: Vec<u8>,
}

/// A certificate that was issued and not used yet: whoever asks again, because the answer was lost, is given it again.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Pending {
    /// Its serial number.
    #[prost(bytes = "vec", tag = "1")]
    pub serial: Vec<u8>,
    /// The certificate in DER.
    #[prost(bytes = "vec", tag = "2")]
    pub leaf: Vec<u8>,
    /// SHA-256 of the token it was issued for; empty for a renewal.
    #[prost(bytes = "vec", tag = "3")]
    pub token: Vec<u8>,
}

/// Under `t/TENANT/group/ID`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GroupRecord {
    /// Its name among its siblings; empty for the root group.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The group it is in, 16 bytes; empty for the root group.
    #[prost(bytes = "vec", tag = "2")]
    pub parent: Vec<u8>,
}

/// Under `t/TENANT/operator/ID`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OperatorRecord {
    /// Unique in the tenant: `t/TENANT/operator-name/NAME` holds the id.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Names of roles.
    #[prost(string, repeated, tag = "2")]
    pub roles: Vec<String>,
    /// When it was added, Unix seconds.
    #[prost(uint64, tag = "3")]
    pub created: u64,
    /// When it was revoked, Unix seconds; 0 while it is not.
    #[prost(uint64, tag = "4")]
    pub revoked: u64,
    /// The public key made at login, a P-256 point; empty before.
    #[prost(bytes = "vec", tag = "5")]
    pub key: Vec<u8>,
    /// SHA-256 of the invitation's secret; empty once used.
    #[prost(bytes = "vec", tag = "6")]
    pub invitation: Vec<u8>,
    /// Until when the invitation is good, Unix seconds.
    #[prost(uint64, tag = "7")]
    pub invited_until: u64,
    /// Serial number of the certificate before the pending one, or of the newest.
    #[prost(bytes = "vec", tag = "8")]
    pub serial: Vec<u8>,
    /// The newest certificate; both are good until they end.
    #[prost(message, optional, tag = "9")]
    pub pending: Option<Pending>,
}

/// Under `t/TENANT/token/HASH`, where HASH is SHA-256 of the secret in hexadecimal.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TokenRecord {
    /// The group new devices go to, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub group: Vec<u8>,
    /// Devices that may still enrol with it.
    #[prost(uint32, tag = "2")]
    pub uses_left: u32,
    /// Unix seconds.
    #[prost(uint64, tag = "3")]
    pub expires: u64,
    /// Name of the operator who made it.
    #[prost(string, tag = "4")]
    pub created_by: String,
}

/// Under `t/TENANT/audit/ORDER`, where ORDER falls as numbers rise, so that a scan begins with the newest.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuditRecord {
    /// Rises by one from entry to entry of a tenant; a gap is a change that was not made after all.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Unix seconds.
    #[prost(uint64, tag = "2")]
    pub at: u64,
    /// Who did it.
    #[prost(string, tag = "3")]
    pub actor: String,
    /// What was done, `noun.verb`.
    #[prost(string, tag = "4")]
    pub action: String,
    /// To what.
    #[prost(string, tag = "5")]
    pub subject: String,
    /// Anything else worth knowing.
    #[prost(btree_map = "string, string", tag = "6")]
    pub detail: std::collections::BTreeMap<String, String>,
}

/// Under `t/TENANT/grant/ID`: a device records the connections of its own grants only. Also under `t/TENANT/open/ID` while
/// the grant is open.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GrantRecord {
    /// The device it was minted for, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub device: Vec<u8>,
    /// The server was killed while it was open, so there are no records of the relay.
    #[prost(bool, tag = "2")]
    pub killed: bool,
}

/// Under `t/TENANT/tunnel/DEVICE/COOKIE`: which records of a finished tunnel connection have arrived.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TunnelEnd {
    /// The relay's has.
    #[prost(bool, tag = "1")]
    pub relay: bool,
    /// The agent's, signed, has.
    #[prost(bool, tag = "2")]
    pub agent: bool,
    /// The grant that both are about, 16 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub grant: Vec<u8>,
}

/// Under `t/TENANT/revocation/list`: lists of every issuer share their numbers.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ListRecord {
    /// The number of the last list that may have been signed.
    #[prost(uint64, tag = "1")]
    pub number: u64,
}

/// Under `t/TENANT/point/DEVICE`: the device is a distribution point.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PointRecord {
    /// The group it serves, with those below it, 16 bytes. `t/TENANT/served/GROUP` holds the device's id.
    #[prost(bytes = "vec", tag = "1")]
    pub group: Vec<u8>,
    /// Its number: `t/TENANT/address/NUMBER` of the server's own tenant.
    #[prost(uint32, tag = "2")]
    pub number: u32,
    /// Since when it is one, Unix seconds.
    #[prost(uint64, tag = "3")]
    pub assigned: u64,
    /// Bits a second that it sends at most; 0 for no limit of its own.
    #[prost(uint64, tag = "4")]
    pub rate: u64,
    /// When it was given another number, Unix seconds; 0 while it has its first.
    #[prost(uint64, tag = "5")]
    pub renumbered: u64,
}

/// Under `t/TENANT/epoch/DEVICE`: the keys of a distribution point's members are of this epoch. What they are made from is
/// not stored. A record of its own, which is written without a condition: who leaves never has to wait for another who does,
/// and of two who leave at once the later commit's keys are known to neither.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EpochRecord {
    /// Rises whenever a device leaves.
    #[prost(uint32, tag = "1")]
    pub number: u32,
    /// Drawn for the epoch, 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub salt: Vec<u8>,
}

/// Under `t/TENANT/served/GROUP`: a group has one distribution point.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ServedRecord {
    /// Which device that is, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub device: Vec<u8>,
}

/// Under `t/TENANT/address/NUMBER` of the server's own tenant: whose multicast groups these are. Other tenants' devices may
/// be on the same LAN, so there is one list for all of them.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AddressRecord {
    /// The device's tenant, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub tenant: Vec<u8>,
    /// The device that has it, or had it last, 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub device: Vec<u8>,
    /// When it was given back, Unix seconds; 0 while it is in use. Then this is a tombstone.
    #[prost(uint64, tag = "3")]
    pub released: u64,
    /// It was given back because somebody sends to it who is none of ours.
    #[prost(bool, tag = "4")]
    pub foreign: bool,
}

/// Under `t/TENANT/distribution/ID`: an object on its way to a group. The id is the first 16 bytes of the object's.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DistributionRecord {
    /// The group it is for, with those below it, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub group: Vec<u8>,
    /// Its manifest, signed.
    #[prost(message, optional, tag = "2")]
    pub manifest: Option<klnet_wire::signed::Signed>,
    /// Since when, Unix seconds.
    #[prost(uint64, tag = "3")]
    pub created: u64,
    /// Name of the operator who distributes it.
    #[prost(string, tag = "4")]
    pub created_by: String,
}

/// Under `t/TENANT/object-version/NAME`: the newest version there ever was of a name. It outlives the objects, so that none
/// is ever older than what a device may have.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct VersionRecord {
    /// The version.
    #[prost(uint64, tag = "1")]
    pub version: u64,
}

/// Under `t/TENANT/delivery/DISTRIBUTION/DEVICE`: what a device told of it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeliveryRecord {
    /// What it told.
    #[prost(message, optional, tag = "1")]
    pub told: Option<klnet_wire::message::Delivery>,
    /// When, Unix seconds.
    #[prost(uint64, tag = "2")]
    pub at: u64,
}

/// Under `t/TENANT/polling/DEVICE`: the device finds hosts in its networks.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PollingRecord {
    /// Which, and how often.
    #[prost(message, optional, tag = "1")]
    pub polling: Option<klnet_wire::duties::Polling>,
}

/// Under `t/TENANT/ksn/DEVICE`: the device is a KSN proxy.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KsnRecord {
    /// What it is run with.
    #[prost(message, optional, tag = "1")]
    pub proxy: Option<klnet_wire::duties::KsnProxy>,
}

/// Under `t/TENANT/cards/DEVICE`: whoever finds one of these has found the device. A record of its own: it is the device's word.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CardsRecord {
    /// Addresses of its network cards, 6 bytes each.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub macs: Vec<Bytes>,
}

/// Under `t/TENANT/sighting/DEVICE/KEY`: a host that the device has found.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SightingRecord {
    /// What it told, bounded.
    #[prost(message, optional, tag = "1")]
    pub told: Option<klnet_wire::message::Sighting>,
    /// When, Unix seconds.
    #[prost(uint64, tag = "2")]
    pub at: u64,
}
