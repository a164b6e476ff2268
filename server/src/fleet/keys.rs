//! Where things are in the store. The tenant comes first, so that one prefix is all of a virtual server.

use klnet_wire::id::{DeviceId, GrantId, GroupId, Id, OperatorId, TenantId};

use crate::store::{Key, Prefix};

/// Everything of every tenant.
pub fn tenants() -> Prefix {
    Prefix::below(&["t"]).expect("a constant prefix is sound")
}

/// Every audit entry of a tenant, newest first.
pub fn audits(tenant: TenantId) -> Prefix {
    Prefix::below(&["t", &tenant.to_string(), "audit"]).expect("identifiers make sound prefixes")
}

pub(super) fn device(tenant: TenantId, id: DeviceId) -> Key {
    of(tenant, "device", &id.to_string())
}

/// When a device was last seen, Unix seconds.
pub(super) fn seen(tenant: TenantId, id: DeviceId) -> Key {
    of(tenant, SEEN, &id.to_string())
}

/// The id that a device and this server exchanged last.
pub(super) fn sync(tenant: TenantId, id: DeviceId) -> Key {
    of(tenant, "sync", &id.to_string())
}

/// The last clone of a device.
pub(super) fn clone(tenant: TenantId, id: DeviceId) -> Key {
    of(tenant, "clone", &id.to_string())
}

/// When a device last showed an older state.
pub(super) fn set_back(tenant: TenantId, id: DeviceId) -> Key {
    of(tenant, "set-back", &id.to_string())
}

pub(super) fn group(tenant: TenantId, id: GroupId) -> Key {
    of(tenant, "group", &id.to_string())
}

pub(super) fn operator(tenant: TenantId, id: OperatorId) -> Key {
    of(tenant, "operator", &id.to_string())
}

/// `name` has passed [`super::names::checked`], so it holds no separator.
pub(super) fn operator_name(tenant: TenantId, name: &str) -> Key {
    of(tenant, "operator-name", name)
}

pub(super) fn token(tenant: TenantId, hash: &str) -> Key {
    of(tenant, "token", hash)
}

/// The number of the last revocation list.
pub(super) fn list(tenant: TenantId) -> Key {
    of(tenant, "revocation", "list")
}

/// The keys that a server last served with.
pub(super) fn fabric(tenant: TenantId) -> Key {
    of(tenant, "fabric", "keys")
}

/// An audit entry's place: the newest comes first in a scan.
pub fn audit(tenant: TenantId, number: u64) -> Key {
    of(tenant, "audit", &format!("{:020}", u64::MAX - number))
}

/// Which device a grant was minted for.
pub fn grant(tenant: TenantId, id: GrantId) -> Key {
    of(tenant, "grant", &id.to_string())
}

/// A grant that is open: what is stored under [`grant`] too.
pub fn open(tenant: TenantId, id: GrantId) -> Key {
    of(tenant, "open", &id.to_string())
}

/// Every grant of a tenant that is open.
pub fn opens(tenant: TenantId) -> Prefix {
    Prefix::below(&["t", &tenant.to_string(), "open"]).expect("identifiers make sound prefixes")
}

/// What is known of the end of one tunnel connection. The device is part of it: no other has a say in it.
pub fn tunnel(tenant: TenantId, device: DeviceId, cookie: &str) -> Key {
    Key::join(&["t", &tenant.to_string(), "tunnel", &device.to_string(), cookie])
        .expect("identifiers and cookies in hexadecimal make sound keys")
}

fn of(tenant: TenantId, table: &str, id: &str) -> Key {
    Key::join(&["t", &tenant.to_string(), table, id]).expect("identifiers and checked names make sound keys")
}

/// The table of when devices were last seen; the model does not hold it.
pub(super) const SEEN: &str = "seen";

/// A stored key, taken apart: tenant, table, and the rest.
pub(super) fn parse(key: &Key) -> Option<(TenantId, &str, &str)> {
    let mut parts = std::str::from_utf8(key.as_bytes()).ok()?.splitn(4, '/');
    let ("t", tenant) = (parts.next()?, parts.next()?.parse().ok()?) else { return None };
    Some((tenant, parts.next()?, parts.next()?))
}

pub(super) fn id<Kind>(text: &str) -> Option<Id<Kind>> {
    text.parse().ok()
}
