//! Where things are in the store. The tenant comes first, so that one prefix is all of a virtual server.

use klnet_wire::id::{DeviceId, DistributionId, GrantId, GroupId, Id, OperatorId, TenantId};

use crate::store::{Key, Prefix};

/// Everything of every tenant.
pub fn tenants() -> Prefix {
    Prefix::below(&["t"]).expect("a constant prefix is sound")
}

/// Every audit entry of a tenant, newest first.
pub fn audits(tenant: TenantId) -> Prefix {
    table(tenant, "audit")
}

/// Everything in one table of a tenant.
pub(super) fn table(tenant: TenantId, table: &str) -> Prefix {
    Prefix::below(&["t", &tenant.to_string(), table]).expect("identifiers make sound prefixes")
}

/// A key above everything of a tenant, and of no other: `0` comes after `/`.
pub(super) fn end(tenant: TenantId) -> Key {
    Key::join(&["t", &format!("{tenant}0")]).expect("identifiers make sound keys")
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
    table(tenant, "open")
}

/// What is known of the end of one tunnel connection. The device is part of it: no other has a say in it.
pub fn tunnel(tenant: TenantId, device: DeviceId, cookie: &str) -> Key {
    Key::join(&["t", &tenant.to_string(), "tunnel", &device.to_string(), cookie])
        .expect("identifiers and cookies in hexadecimal make sound keys")
}

/// A distribution point.
pub(super) fn point(tenant: TenantId, id: DeviceId) -> Key {
    of(tenant, "point", &id.to_string())
}

/// The epoch of a distribution point's keys.
pub(super) fn epoch(tenant: TenantId, id: DeviceId) -> Key {
    of(tenant, "epoch", &id.to_string())
}

/// Which distribution point serves a group.
pub(super) fn served(tenant: TenantId, group: GroupId) -> Key {
    of(tenant, "served", &group.to_string())
}

/// Whose multicast groups have this number; `tenant` is the server's own.
pub(super) fn address(tenant: TenantId, number: u32) -> Key {
    of(tenant, "address", &format!("{number:06}"))
}

/// An object on its way.
pub(super) fn distribution(tenant: TenantId, id: DistributionId) -> Key {
    of(tenant, "distribution", &id.to_string())
}

/// The newest version of a name; `name` has passed [`super::names::checked`].
pub(super) fn object_version(tenant: TenantId, name: &str) -> Key {
    of(tenant, "object-version", name)
}

/// What a device told of an object.
pub(super) fn delivery(tenant: TenantId, id: DistributionId, device: DeviceId) -> Key {
    Key::join(&["t", &tenant.to_string(), "delivery", &id.to_string(), &device.to_string()])
        .expect("identifiers make sound keys")
}

/// What every device told of every object.
pub(super) fn deliveries(tenant: TenantId) -> Prefix {
    Prefix::below(&["t", &tenant.to_string(), "delivery"]).expect("identifiers make sound prefixes")
}

/// What every device told of one object.
pub(super) fn deliveries_of(tenant: TenantId, id: DistributionId) -> Prefix {
    Prefix::below(&["t", &tenant.to_string(), "delivery", &id.to_string()])
        .expect("identifiers make sound prefixes")
}

/// What a device is to poll.
pub(super) fn polling(tenant: TenantId, id: DeviceId) -> Key {
    of(tenant, "polling", &id.to_string())
}

/// A device is a KSN proxy.
pub(super) fn ksn(tenant: TenantId, id: DeviceId) -> Key {
    of(tenant, "ksn", &id.to_string())
}

/// A device's network cards.
pub(super) fn cards(tenant: TenantId, id: DeviceId) -> Key {
    of(tenant, "cards", &id.to_string())
}

/// Every device's network cards.
pub(super) fn all_cards(tenant: TenantId) -> Prefix {
    Prefix::below(&["t", &tenant.to_string(), "cards"]).expect("identifiers make sound prefixes")
}

/// A host that a device has found, by the device's own key for it.
pub(super) fn sighting(tenant: TenantId, device: DeviceId, key: &[u8; 16]) -> Key {
    Key::join(&["t", &tenant.to_string(), "sighting", &device.to_string(), &Id::<()>::new(*key).to_string()])
        .expect("identifiers make sound keys")
}

/// Every host that was found.
pub(super) fn sightings(tenant: TenantId) -> Prefix {
    Prefix::below(&["t", &tenant.to_string(), "sighting"]).expect("identifiers make sound prefixes")
}

/// Every host that a device has found.
pub(super) fn sightings_of(tenant: TenantId, device: DeviceId) -> Prefix {
    Prefix::below(&["t", &tenant.to_string(), "sighting", &device.to_string()])
        .expect("identifiers make sound prefixes")
}

fn of(tenant: TenantId, table: &str, id: &str) -> Key {
    Key::join(&["t", &tenant.to_string(), table, id]).expect("identifiers and checked names make sound keys")
}

/// The tables that the model holds, but [`SEEN`].
pub(super) const MODEL: [&str; 13] = [
    "device",
    "clone",
    "set-back",
    "group",
    "operator",
    "token",
    "point",
    "epoch",
    "address",
    "distribution",
    "object-version",
    "polling",
    "ksn",
];

/// The table of when devices were last seen; the model holds that with the device, so it takes devices in first.
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
