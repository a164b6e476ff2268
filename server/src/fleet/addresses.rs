//! The registry of multicast groups: a number is an address of IPv4 and of IPv6 that nobody else has.
//!
//! ```text
//! free ── lease ──▶ in use ── released ──▶ tombstone ── TOMBSTONE, or FOREIGN ──▶ free
//! ```
//! There are 131,072 (RFC 2365: the half of 239.192/14 that is not for senders who draw their own), so a number comes with
//! the role of a distribution point and not with enrolment: only who sends needs one.

use std::collections::BTreeSet;
use std::time::Duration;

use klnet_wire::id::{DeviceId, TenantId};
use klnet_wire::multicast::AgentGroup;

use super::record::AddressRecord;
use super::{Change, FleetError, Kind, Model, keys};
use crate::store::{Guard, Key, Rev};

/// The lowest number that may be had, and what has to be part of the change that takes it. Records are under the server's
/// own tenant, `server`.
///
/// # Errors
/// `Limit` when there is none.
pub(super) fn lease(
    model: &Model,
    server: TenantId,
    (tenant, device): (TenantId, DeviceId),
    now: u64,
) -> Result<(AgentGroup, impl FnOnce(Change) -> Change + use<>), FleetError> {
    let (number, was) = free(model, now)?;
    let key = keys::address(server, number.number());
    let record =
        AddressRecord { tenant: tenant.to_vec(), device: device.to_vec(), released: 0, foreign: false };
    let unchanged = was.map_or_else(|| Guard::Absent(key.clone()), |rev| Guard::ModRev(key.clone(), rev));
    Ok((number, move |change: Change| change.guard(unchanged).put(key, &record)))
}

/// The tombstone of a number that its device has no more; `foreign` when somebody else uses it.
pub(super) fn released(
    server: TenantId,
    (tenant, device): (TenantId, DeviceId),
    number: u32,
    now: u64,
    foreign: bool,
) -> (Key, AddressRecord) {
    let record = AddressRecord { tenant: tenant.to_vec(), device: device.to_vec(), released: now, foreign };
    (keys::address(server, number), record)
}

/// The lowest number that nobody has or had lately, and the revision of its tombstone if there is one.
fn free(model: &Model, now: u64) -> Result<(AgentGroup, Option<Rev>), FleetError> {
    let taken = model.addresses.iter().filter(|(_, stored)| is_taken(&stored.record, now));
    let taken: BTreeSet<u32> = taken.map(|((_, number), _)| *number).collect();
    // Of so many numbers at least one is not among those taken.
    let free = (0..).zip(&taken).find(|(number, taken)| number != *taken).map(|(number, _)| number);
    let free = free.unwrap_or_else(|| u32::try_from(taken.len()).unwrap_or(u32::MAX));
    let number = AgentGroup::new(free)
        .ok_or_else(|| FleetError::new(Kind::Limit, "every multicast group is in use"))?;
    let was = model.addresses.iter().find(|((_, number), _)| *number == free).map(|(_, stored)| stored.rev);
    Ok((number, was))
}

/// Whether switches and hosts may still think of somebody else at this address.
const fn is_taken(address: &AddressRecord, now: u64) -> bool {
    let rests = if address.foreign { FOREIGN } else { TOMBSTONE };
    address.released == 0 || now < address.released.saturating_add(rests.as_secs())
}

/// A number is given to nobody else for this long: twice the time after which a switch forgets a group that nobody asks
/// for any more (RFC 3376, 8.4: 260 s).
const TOMBSTONE: Duration = Duration::from_secs(520);
/// As long if somebody who is none of ours sends to it: such a thing seldom goes away.
const FOREIGN: Duration = Duration::from_secs(30 * 86_400);
