//! Pairs that ended before the agent's word on them: VERIFIED travels on the control connection, which a short
//! connection's own sockets can overtake.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use klnet_wire::id::DeviceId;

use super::joined::Joined;
use super::{Output, Relay, Timer, VERIFY_WAIT};
use crate::label::Cookie;
use crate::pair::PairEnd;

/// Every such pair; of each device only so many, so that none can crowd out another's.
#[derive(Debug, Default)]
pub(super) struct LatePairs {
    pairs: HashMap<Cookie, Late>,
    /// Their cookies, the oldest first.
    devices: HashMap<DeviceId, VecDeque<Cookie>>,
}

/// A pair that is over and may still turn out to have counted.
#[derive(Debug)]
struct Late {
    joined: Joined,
    closed: Instant,
    end: PairEnd,
}

impl LatePairs {
    /// Keeps a pair; gives the device's oldest when it has too many.
    fn keep(&mut self, late: Late) -> Option<Late> {
        let (device, cookie) = (late.joined.grant.device, late.joined.cookie);
        let cookies = self.devices.entry(device).or_default();
        let oldest = if cookies.len() >= LATE_LIMIT { cookies.front().copied() } else { None };
        cookies.push_back(cookie);
        self.pairs.insert(cookie, late);
        oldest.and_then(|oldest| self.take(oldest))
    }

    fn take(&mut self, cookie: Cookie) -> Option<Late> {
        let late = self.pairs.remove(&cookie)?;
        let device = late.joined.grant.device;
        if let Some(cookies) = self.devices.get_mut(&device) {
            cookies.retain(|kept| *kept != cookie);
            if cookies.is_empty() {
                self.devices.remove(&device);
            }
        }
        Some(late)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.pairs.is_empty() && self.devices.is_empty()
    }
}

impl Relay {
    /// Keeps a pair whose sockets ended before the agent's word on it came, for as long as it would have had
    /// with them.
    pub(super) fn keep_late(&mut self, joined: Joined, closed: Instant, end: PairEnd) {
        self.timers.set(Timer::Late(joined.cookie), joined.opened + VERIFY_WAIT);
        if let Some(oldest) = self.late.keep(Late { joined, closed, end }) {
            self.timers.clear(Timer::Late(oldest.joined.cookie));
            self.outputs.push_back(oldest.over());
        }
    }

    /// The agent's word on a pair that has ended: whether its key was verified.
    pub(super) fn late_state(&mut self, now: Instant, cookie: Cookie, device: DeviceId, verified: bool) {
        let of_device = |late: &Late| late.joined.grant.device == device;
        if !self.late.pairs.get(&cookie).is_some_and(of_device) {
            return;
        }
        let Some(mut late) = self.late.take(cookie) else { return };
        self.timers.clear(Timer::Late(cookie));
        late.joined.verified = verified;
        if verified {
            let id = late.joined.grant.id;
            self.count(now, id, late.joined.n);
            self.rest_or_forget(now, id);
        }
        self.outputs.push_back(late.over());
    }

    /// No word came in time.
    pub(super) fn late_is_over(&mut self, cookie: Cookie) {
        if let Some(late) = self.late.take(cookie) {
            self.outputs.push_back(late.over());
        }
    }
}

impl Late {
    fn over(self) -> Output {
        self.joined.over(self.closed, self.end)
    }
}

/// Most ended pairs of a device whose agent has not yet said whether they counted.
pub(super) const LATE_LIMIT: usize = 128;
