//! Which revocation lists are the newest: told to every device, for whoever serves others in a device's name lets nobody in
//! who is on a list that the device has.

use std::sync::Arc;
use std::time::Duration;

use klnet_wire::message::{Lists, Message};
use tokio::task::yield_now;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Agents, HANDSHAKE_TIME};
use crate::sessions::SendFailure;
use crate::unix::millis;

impl Agents {
    /// Tells everyone who is connected of each newer list, until shutdown. Who takes nothing more now is told when it does.
    pub async fn follow_lists(self: Arc<Self>, shutdown: CancellationToken) {
        let (mut told, mut behind) = (0, Vec::new());
        while shutdown.run_until_cancelled(sleep(LOOK_EACH)).await.is_some() {
            let Some(lists) = self.lists() else { continue };
            if lists.number != told {
                (told, behind) = (lists.number, self.sessions.all());
            }
            for (device, live) in std::mem::take(&mut behind) {
                if live.tell(Message::Lists(lists)) == Err(SendFailure::Stalled) {
                    debug!(%device, "a device that does not keep up is told later of newer revocation lists");
                    behind.push((device, live));
                }
                // Whoever comes in this time waits for one device, not for all.
                yield_now().await;
            }
        }
    }

    /// The newest lists, as devices are told of them; `None` before there are any.
    pub(super) fn lists(&self) -> Option<Lists> {
        let lists = self.crls.all();
        let number = lists.iter().map(|crl| crl.number()).max()?;
        let bytes = lists.iter().map(|crl| crl.der().len()).sum();
        Some(Lists { number, within_ms: millis(spread(self.fleet.online(), bytes)) })
    }
}

/// Over how long so many devices spread their questions for lists of so many bytes.
fn spread(devices: usize, bytes: usize) -> Duration {
    let bytes = BYTE_TIME.saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX));
    let each = HANDSHAKE_TIME.saturating_add(bytes);
    each.saturating_mul(u32::try_from(devices).unwrap_or(u32::MAX))
}

/// How often it is looked whether there are newer lists: all that are signed meanwhile are told of at once.
const LOOK_EACH: Duration = Duration::from_secs(1);
/// What a byte of a list, in base64, takes of half a gigabit a second.
const BYTE_TIME: Duration = Duration::from_nanos(21);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_spreads_its_questions_over_what_they_cost() {
        assert_eq!(spread(0, 1000), Duration::ZERO);
        assert!(spread(10, 1000) < Duration::from_millis(10));
        // Four hundred revoked devices.
        assert!((50..=90).contains(&spread(100_000, 16_000).as_secs()));
        assert!(spread(usize::MAX, usize::MAX) > Duration::from_secs(1 << 20));
    }
}
