//! What live connections do now: looked at every two seconds, so that whoever looks once reads a rate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use klnet_tunnel::label::Cookie;
use klnet_tunnel::net::relay::{LiveTunnel, Moved};
use klnet_tunnel::relay::PairView;
use tokio::time::{MissedTickBehavior, interval};

use super::Tunnels;

/// Bytes a second in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rate {
    /// From the operator to the target.
    pub to_target: u64,
    /// From the target to the operator.
    pub to_operator: u64,
}

/// How each live connection fared at the last look; no more of them than there were then.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<Cookie, Look>>);

#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    moved: Moved,
    rate: Rate,
}

impl Rates {
    /// Looks at every connection there is.
    fn look(&self, now: Instant, tunnels: &[LiveTunnel]) {
        let mut looks = self.0.lock().expect("no holder panics");
        let before = std::mem::take(&mut *looks);
        for (pair, moved) in tunnels.iter().flat_map(connections) {
            let rate = match before.get(&pair.cookie) {
                Some(look) => rate(moved, look.moved, now.saturating_duration_since(look.at)),
                None => since_opened(now, pair, moved),
            };
            looks.insert(pair.cookie, Look { at: now, moved: *moved, rate });
        }
    }

    /// A connection's rate between the last two looks; of one that is younger, since it was opened.
    pub(super) fn of(&self, now: Instant, pair: &PairView, moved: &Moved) -> Rate {
        let looks = self.0.lock().expect("no holder panics");
        looks.get(&pair.cookie).map_or_else(|| since_opened(now, pair, moved), |look| look.rate)
    }
}

impl Tunnels {
    /// Looks again and again until the relay stops.
    pub(super) async fn look(self: Arc<Self>) {
        let mut ticks = interval(LOOK_EACH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let open = self.books.open();
            let Ok(tunnels) = self.relay.tunnels().await else { return };
            self.rates.look(Instant::now(), &tunnels);
            self.show(&tunnels);
            self.close_ended(open, &tunnels).await;
        }
    }

    /// Sets the gauges.
    fn show(&self, tunnels: &[LiveTunnel]) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let sum = |of: fn(&LiveTunnel) -> usize| gauge(tunnels.iter().map(of).sum());
        self.metrics.tunnels.set(gauge(tunnels.len()));
        self.metrics.tunnel_connections.set(sum(|live| connections(live).count()));
        self.metrics.initiators_waiting.set(sum(|live| live.view.waiting));
        self.metrics.dial_backs_waiting.set(sum(|live| live.view.ready));
        self.metrics.commits_waiting.set(gauge(self.fleet.store().waiting()));
        self.metrics.relayed(self.relay.means());
    }
}

/// The connections of a grant that count.
fn connections(live: &LiveTunnel) -> impl Iterator<Item = (&PairView, &Moved)> {
    live.view.pairs.iter().zip(&live.moved).filter(|(pair, _)| pair.verified)
}

fn since_opened(now: Instant, pair: &PairView, moved: &Moved) -> Rate {
    let age = now.saturating_duration_since(pair.opened);
    rate(moved, Moved::default(), age.max(Duration::from_secs(1)))
}

fn rate(now: &Moved, before: Moved, passed: Duration) -> Rate {
    let per_second = |now: u64, before: u64| {
        let millis = passed.as_millis().max(1);
        u64::try_from(u128::from(now.saturating_sub(before)) * 1000 / millis).unwrap_or(u64::MAX)
    };
    Rate {
        to_target: per_second(now.to_target, before.to_target),
        to_operator: per_second(now.to_initiator, before.to_initiator),
    }
}

/// Often enough for a person who watches, and for the relay some microseconds a connection.
const LOOK_EACH: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use klnet_tunnel::pair::PairId;

    #[test]
    fn a_rate_is_what_was_moved_between_the_last_two_looks() {
        let (start, rates) = (Instant::now(), Rates::default());
        let pair = PairView {
            pair: PairId(1),
            cookie: Cookie::new([1; 20]),
            initiator: ([192, 0, 2, 1], 4444).into(),
            opened: start,
            verified: true,
        };
        let moved = |to_target, to_initiator| Moved { to_target, to_initiator, ..Moved::default() };
        let at = |seconds| start + Duration::from_secs(seconds);
        let young = rates.of(at(0), &pair, &moved(500, 0));
        assert_eq!(young, Rate { to_target: 500, to_operator: 0 }, "over a second at least");
        let tunnel = |moved| LiveTunnel { view: view(pair), moved: vec![moved] };
        rates.look(at(2), &[tunnel(moved(1000, 0))]);
        assert_eq!(rates.of(at(2), &pair, &moved(1000, 0)), Rate { to_target: 500, to_operator: 0 });
        rates.look(at(4), &[tunnel(moved(1000, 3000))]);
        assert_eq!(rates.of(at(5), &pair, &moved(1000, 3000)), Rate { to_target: 0, to_operator: 1500 });
        rates.look(at(6), &[]);
        assert!(rates.0.lock().unwrap().is_empty(), "what has ended is forgotten");
    }

    fn view(pair: PairView) -> klnet_tunnel::relay::TunnelView {
        klnet_tunnel::relay::TunnelView {
            grant: Arc::new(super::super::tests::bench::sample_grant()),
            deadline: pair.opened,
            begun: true,
            waiting: 0,
            ready: 0,
            pairs: vec![pair],
        }
    }
}
