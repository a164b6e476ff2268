//! How much of what a device says is worth an audit entry: each costs a commit, and is kept.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use klnet_wire::id::DeviceId;

/// Counts what each device says in its current minute; never of more than [`DEVICES_LIMIT`] devices.
#[derive(Debug)]
pub(super) struct Budget {
    /// Most entries of a device in a minute.
    limit: u32,
    devices: Mutex<HashMap<DeviceId, (Instant, u32)>>,
}

impl Budget {
    /// A budget of so many entries of each device in a minute.
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, devices: Mutex::default() }
    }

    /// Counts one, and says whether the device may have it.
    pub(super) fn spend(&self, now: Instant, device: DeviceId) -> bool {
        let mut devices = self.devices.lock().expect("no holder panics");
        if devices.len() >= DEVICES_LIMIT {
            devices.retain(|_, (since, _)| now.saturating_duration_since(*since) < WINDOW);
        }
        if devices.len() >= DEVICES_LIMIT && !devices.contains_key(&device) {
            return false;
        }
        let (since, count) = devices.entry(device).or_insert((now, 0));
        if now.saturating_duration_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        let left = *count < self.limit;
        *count += u32::from(left);
        left
    }

    /// Gives one back, because it turned out to be true.
    pub(super) fn refund(&self, device: DeviceId) {
        let mut devices = self.devices.lock().expect("no holder panics");
        if let Some((_, count)) = devices.get_mut(&device) {
            *count = count.saturating_sub(1);
        }
    }
}

const WINDOW: Duration = Duration::from_secs(60);
/// Devices that are counted within one minute.
const DEVICES_LIMIT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_makes_things_up_fills_no_audit_log() {
        let (budget, start) = (Budget::new(100), Instant::now());
        let (loud, quiet) = (DeviceId::new([1; 16]), DeviceId::new([2; 16]));
        let audited = (0..1_000_000).filter(|_| budget.spend(start, loud)).count();
        assert_eq!(audited, 100);
        assert!(budget.spend(start, quiet), "another device is heard");
        assert!(budget.spend(start + WINDOW, loud), "in the next minute it is heard again");
    }

    #[test]
    fn what_turns_out_to_be_true_costs_nothing() {
        let (budget, start, busy) = (Budget::new(2), Instant::now(), DeviceId::new([1; 16]));
        for _ in 0..1000 {
            assert!(budget.spend(start, busy));
            budget.refund(busy);
        }
        assert!(budget.spend(start, busy) && budget.spend(start, busy) && !budget.spend(start, busy));
    }

    #[test]
    fn the_table_is_bounded() {
        let (budget, start) = (Budget::new(1), Instant::now());
        for _ in 0..2 * DEVICES_LIMIT {
            budget.spend(start, DeviceId::random());
        }
        assert_eq!(budget.devices.lock().unwrap().len(), DEVICES_LIMIT);
        budget.spend(start + WINDOW, DeviceId::random());
        assert_eq!(budget.devices.lock().unwrap().len(), 1);
    }
}
