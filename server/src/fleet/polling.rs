//! Devices that find hosts in their networks for the server.

use klnet_discovery::plan::Plan;
use klnet_discovery::range::Range;
use klnet_wire::duties::{Polling, RANGE_LIMIT, RANGES_LIMIT};
use klnet_wire::id::{DeviceId, TenantId};

use super::operators::Caller;
use super::record::PollingRecord;
use super::{Change, Fleet, FleetError, Kind, keys};
use crate::store::Guard;

/// A device that polls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poller {
    /// The device.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
    /// What it polls.
    pub polling: Polling,
}

impl Fleet {
    /// Every device of a tenant that polls, by name.
    pub fn pollers(&self, tenant: TenantId) -> Vec<Poller> {
        let model = self.model();
        let ours = model.pollings.iter().filter(|((of, _), _)| *of == tenant);
        let poller = |(tenant, device): (TenantId, DeviceId), record: &PollingRecord| {
            let name = model.device(tenant, device)?.name();
            Some(Poller { device, name, polling: record.polling.clone().unwrap_or_default() })
        };
        let mut pollers: Vec<_> = ours.filter_map(|(key, stored)| poller(*key, &stored.record)).collect();
        pollers.sort_by(|a, b| (&a.name, a.device).cmp(&(&b.name, b.device)));
        pollers
    }

    /// Has a device poll this from now on, and nothing of what it polled before.
    ///
    /// # Errors
    /// `Invalid` ranges or intervals, `NotFound`, `Conflict` for a revoked device, `Unavailable`.
    pub async fn poll(&self, by: &Caller, device: DeviceId, polling: Polling) -> Result<Poller, FleetError> {
        checked(&polling)?;
        let (tenant, record) = (by.tenant, PollingRecord { polling: Some(polling.clone()) });
        self.commit_anew(|| {
            let name = self.stored_device(tenant, device)?.record.name;
            let unchanged = self.device_unchanged(tenant, device)?;
            if self.is_denied(tenant, device) {
                return Err(FleetError::new(Kind::Conflict, "the device is revoked"));
            }
            let change = Change::new(tenant, &by.name, "polling.set", &name)
                .detail("device", device)
                .detail("ranges", polling.ranges.join(" "))
                .guard(unchanged)
                .put(keys::polling(tenant, device), &record);
            Ok(change)
        })
        .await?;
        let name = self.stored_device(tenant, device)?.record.name;
        Ok(Poller { device, name, polling })
    }

    /// Has a device poll nothing.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn poll_no_more(&self, by: &Caller, device: DeviceId) -> Result<(), FleetError> {
        let (tenant, key) = (by.tenant, keys::polling(by.tenant, device));
        self.commit_anew(|| {
            let name = self.stored_device(tenant, device)?.record.name;
            if !self.polls(tenant, device) {
                return Err(FleetError::not_found(format!("{name} polls nothing")));
            }
            let change = Change::new(tenant, &by.name, "polling.unset", &name).detail("device", device);
            Ok(change.guard(Guard::Present(key.clone())).delete(key.clone()))
        })
        .await
    }

    /// Whether a device is to poll anything.
    pub fn polls(&self, tenant: TenantId, device: DeviceId) -> bool {
        self.model().pollings.contains_key(&(tenant, device))
    }
}

/// Refuses what a device would not poll, and says which range that is.
fn checked(polling: &Polling) -> Result<(), FleetError> {
    let Polling { ranges, ranges_every, zeroconf_every, windows_every } = polling;
    if ranges.len() > RANGES_LIMIT {
        return Err(FleetError::invalid(format!("a device polls at most {RANGES_LIMIT} ranges")));
    }
    let parse = |text: &String| match text.parse::<Range>() {
        Ok(range) if text.len() <= RANGE_LIMIT => Ok(range),
        Ok(_) => Err(FleetError::invalid(format!("{text:?} is too long"))),
        Err(error) => Err(FleetError::invalid(format!("{text:?}: {error}"))),
    };
    let parsed = ranges.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    if !parsed.is_empty() {
        Plan::new(&parsed, &[]).map_err(|error| FleetError::invalid(error.to_string()))?;
    }
    if parsed.is_empty() != (*ranges_every == 0) {
        return Err(FleetError::invalid(
            "ranges are polled at an interval, and an interval is one of ranges",
        ));
    }
    let intervals = [*ranges_every, *zeroconf_every, *windows_every];
    if intervals.iter().all(|every| *every == 0) {
        return Err(FleetError::invalid("there is nothing to poll: name ranges, zeroconf or Windows names"));
    }
    if intervals.iter().any(|every| *every != 0 && !(EVERY_LEAST..=EVERY_MOST).contains(every)) {
        return Err(FleetError::invalid("an interval is from a minute to 30 days"));
    }
    Ok(())
}

/// Shortest interval, in seconds.
const EVERY_LEAST: u32 = 60;
/// Longest interval, in seconds.
const EVERY_MOST: u32 = 30 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_device_would_poll_is_refused_by_name() {
        let of = |ranges: &[&str], every| Polling {
            ranges: ranges.iter().map(|&range| range.to_owned()).collect(),
            ranges_every: every,
            ..Polling::default()
        };
        assert!(checked(&of(&["10.1.0.0/16", "10.2.0.10-10.2.0.99"], 25_200)).is_ok());
        assert!(checked(&Polling { zeroconf_every: 900, ..Polling::default() }).is_ok());
        for (polling, words) in [
            (of(&["10.1.0.0/16", "10.1.7.0/24"], 600), "10.1.7.0"),
            (of(&["10.1.0.0/33"], 600), "10.1.0.0/33"),
            (of(&["10.1.0.0/16"], 0), "interval"),
            (of(&[], 600), "interval"),
            (of(&["10.1.0.0/16"], 59), "minute"),
            (of(&["10.1.0.0/16"; 17], 600), "16"),
            (Polling::default(), "nothing"),
        ] {
            let refused = checked(&polling).unwrap_err();
            assert!(refused.to_string().contains(words), "{refused}");
        }
    }
}
