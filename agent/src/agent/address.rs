//! This end of the control connection: whether the device still has its address. It loses it with a new lease or in
//! another network, and no packet would ever say so.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::platform;

/// The address that a connection comes from.
#[derive(Debug)]
pub(super) struct OwnAddress {
    address: SocketAddr,
    looks: Interval,
}

impl OwnAddress {
    /// Watches this address.
    pub(super) fn new(address: SocketAddr) -> Self {
        let mut looks = interval(LOOK_EACH);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { address, looks }
    }

    /// Returns the address once the device no longer has it.
    pub(super) async fn lost(&mut self) -> SocketAddr {
        loop {
            self.looks.tick().await;
            if !platform::owns(self.address) {
                return self.address;
            }
        }
    }
}

/// How often it is looked: three system calls, and nobody is missed for much longer than the new address takes.
const LOOK_EACH: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, timeout};

    #[tokio::test(start_paused = true)]
    async fn an_address_that_is_not_the_devices_is_lost_at_the_next_look() {
        let start = Instant::now();
        let documentation = SocketAddr::from(([192, 0, 2, 1], 40_000)); // RFC 5737
        assert_eq!(OwnAddress::new(documentation).lost().await, documentation);
        assert!(start.elapsed() <= LOOK_EACH);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_stays_is_never_lost() {
        let mut own = OwnAddress::new(SocketAddr::from(([127, 0, 0, 1], 40_000)));
        assert!(timeout(LOOK_EACH * 100, own.lost()).await.is_err());
    }
}
