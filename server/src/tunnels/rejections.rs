//! How many rejected connections of a device are worth an audit entry: what a device says costs a commit each.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use klnet_wire::id::DeviceId;

/// Counts the rejections of each device in its current minute; never of more than [`DEVICES_LIMIT`] devices.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    devices: HashMap<DeviceId, (Instant, u32)>,
}

impl Rejections {
    /// Counts one, and says whether it is among those that are audited.
    pub(super) fn count(&mut self, now: Instant, device: DeviceId) -> bool {
        if self.devices.len() >= DEVICES_LIMIT {
            self.devices.retain(|_, (since, _)| now.saturating_duration_since(*since) < WINDOW);
        }
        if self.devices.len() >= DEVICES_LIMIT && !self.devices.contains_key(&device) {
            return false;
        }
        let (since, count) = self.devices.entry(device).or_insert((now, 0));
        if now.saturating_duration_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= AUDITED_LIMIT
    }
}

/// Rejections of a device in a minute that are audited: more than guessed keys could bring about by the labels of
/// its grants, and a bounded number of entries for a device that makes them up.
const AUDITED_LIMIT: u32 = 100;
const WINDOW: Duration = Duration::from_secs(60);
/// Devices that reject anything within one minute.
const DEVICES_LIMIT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_makes_up_rejections_fills_no_audit_log() {
        let (mut rejections, start) = (Rejections::default(), Instant::now());
        let (loud, quiet) = (DeviceId::new([1; 16]), DeviceId::new([2; 16]));
        let audited = (0..1_000_000).filter(|_| rejections.count(start, loud)).count();
        assert_eq!(audited, 100);
        assert!(rejections.count(start, quiet), "another device is heard");
        assert!(rejections.count(start + WINDOW, loud), "in the next minute it is heard again");
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut rejections, start) = (Rejections::default(), Instant::now());
        for _ in 0..2 * DEVICES_LIMIT {
            rejections.count(start, DeviceId::random());
        }
        assert_eq!(rejections.devices.len(), DEVICES_LIMIT);
        rejections.count(start + WINDOW, DeviceId::random());
        assert_eq!(rejections.devices.len(), 1);
    }
}
