//! Whether somebody else sends to this distribution point's groups: looked for while it sends nothing itself.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use klnet_multicast::net::{Interface, watch};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

/// The last stranger that was found.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    found: Mutex<Option<IpAddr>>,
    news: Notify,
}

impl Strangers {
    /// Waits for the next one.
    pub(super) async fn next(&self) -> IpAddr {
        loop {
            if let Some(found) = self.found.lock().expect("no holder panics").take() {
                return found;
            }
            self.news.notified().await;
        }
    }

    fn tell(&self, address: IpAddr) {
        *self.found.lock().expect("no holder panics") = Some(address);
        self.news.notify_one();
    }
}

/// Looks for strangers until it is dropped.
pub(super) struct Watching(Arc<AtomicBool>);

impl Watching {
    /// Listens to each group on its interfaces.
    pub(super) fn start(networks: Vec<(SocketAddr, Interface)>, strangers: &Arc<Strangers>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for (group, interface) in networks {
            let (stop, strangers) = (Arc::clone(&stop), Arc::clone(strangers));
            let own = crate::platform::own_addresses();
            spawn_blocking(move || {
                let mut heard = Heard::default();
                let watched = watch(group, &[interface], &stop, |from| {
                    let from = from.ip().to_canonical();
                    if !own.contains(&from) && heard.is_stranger(Instant::now(), from) {
                        strangers.tell(from);
                    }
                });
                if let Err(error) = watched {
                    tracing::debug!(%group, %error, "whether others send to the group is not known");
                }
            });
        }
        Self(stop)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How many packets came from whom lately.
#[derive(Debug, Default)]
struct Heard(HashMap<IpAddr, (u32, Instant)>);

impl Heard {
    /// Counts a packet; says whether its sender has just sent so many that it is no accident.
    fn is_stranger(&mut self, now: Instant, from: IpAddr) -> bool {
        if self.0.len() >= SENDERS_LIMIT && !self.0.contains_key(&from) {
            self.0.retain(|_, (_, since)| now < *since + WINDOW);
            if self.0.len() >= SENDERS_LIMIT {
                return false;
            }
        }
        let (count, since) = self.0.entry(from).or_insert((0, now));
        if now >= *since + WINDOW {
            (*count, *since) = (0, now);
        }
        *count = count.saturating_add(1);
        *count == ENOUGH
    }
}

/// So many packets within [`WINDOW`].
const ENOUGH: u32 = 8;
/// What is counted together.
const WINDOW: Duration = Duration::from_secs(60);
/// Senders that are counted at once.
const SENDERS_LIMIT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_is_who_sends_often_and_is_told_once_in_a_window() {
        let (mut heard, start) = (Heard::default(), Instant::now());
        let told = (0..100).filter(|_| heard.is_stranger(start, address(1))).count();
        assert_eq!(told, 1);
        assert!(!(0..ENOUGH - 1).any(|_| heard.is_stranger(start, address(2))), "an accident");
        let later = start + WINDOW;
        assert_eq!((0..100).filter(|_| heard.is_stranger(later, address(1))).count(), 1);
    }

    #[test]
    fn a_flood_of_forged_senders_takes_no_more_room() {
        let (mut heard, start) = (Heard::default(), Instant::now());
        assert!(!(0..100_000).any(|n| heard.is_stranger(start, address(n))));
        assert_eq!(heard.0.len(), SENDERS_LIMIT);
        let later = start + WINDOW;
        assert!((0..ENOUGH).any(|_| heard.is_stranger(later, address(7_000_000))), "room comes back");
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n))
    }
}
