//! What live connections do now: looked at every two seconds, so that whoever looks once reads a rate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use klnet_tunnel::label::Cookie;
use klnet_tunnel::net::relay::{LiveTunnel, Moved};
use klnet_tunnel::relay::PairView;
use tokio::time::{MissedTickBehavior, interval};

use super::{Tunnels, books};

/// Bytes a second in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rate {
    /// From the operator to the target.
    pub to_target: u64,
    /// From the target to the operator.
    pub to_operator: u64,
}

/// How each live connection fared at the last look.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<Looks>);

#[derive(Debug, Default)]
struct Looks {
    at: Option<Instant>,
    /// Numbers the looks, so that what was not seen at the last can be told.
    number: u32,
    /// No more than there were then: it is kept for every idle connection too, and so holds nothing that can be had
    /// otherwise.
    connections: HashMap<Cookie, Look>,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    number: u32,
    to_target: u64,
    to_operator: u64,
    rate: Rate,
}

impl Rates {
    /// Looks at every connection there is.
    fn look(&self, now: Instant, tunnels: &[LiveTunnel]) {
        let mut looks = self.0.lock().expect("no holder panics");
        let Looks { at, number, connections } = &mut *looks;
        *number = number.wrapping_add(1);
        let passed = at.replace(now).map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        for (pair, moved) in tunnels.iter().flat_map(counted) {
            let Moved { to_target, to_initiator: to_operator, .. } = *moved;
            let rate = match connections.get(&pair.cookie) {
                Some(look) => rate(moved, (look.to_target, look.to_operator), passed),
                None => since_opened(now, pair, moved),
            };
            connections.insert(pair.cookie, Look { number: *number, to_target, to_operator, rate });
        }
        connections.retain(|_, look| look.number == *number);
        if connections.capacity() > 4 * connections.len().max(SMALL) {
            connections.shrink_to_fit();
        }
    }

    /// A connection's rate between the last two looks; of one that is younger, since it was opened.
    pub(super) fn of(&self, now: Instant, pair: &PairView, moved: &Moved) -> Rate {
        let looks = self.0.lock().expect("no holder panics");
        looks.connections.get(&pair.cookie).map_or_else(|| since_opened(now, pair, moved), |look| look.rate)
    }
}

impl Tunnels {
    /// Looks again and again until the relay stops.
    pub(super) async fn look(self: Arc<Self>) {
        let mut ticks = interval(LOOK_EACH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ended = Vec::new();
        loop {
            ticks.tick().await;
            let open = self.books.open();
            let Ok(tunnels) = self.relay.tunnels().await else { return };
            self.rates.look(Instant::now(), &tunnels);
            self.show(&tunnels);
            // Those that had ended a look ago: how they did is stored by now.
            self.close_ended(ended, &tunnels).await;
            ended = books::ended(open, &tunnels);
        }
    }

    /// Sets the gauges.
    fn show(&self, tunnels: &[LiveTunnel]) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let sum = |of: fn(&LiveTunnel) -> usize| gauge(tunnels.iter().map(of).sum());
        self.metrics.tunnels.set(gauge(tunnels.len()));
        self.metrics.tunnel_connections.set(sum(|live| counted(live).count()));
        self.metrics.initiators_waiting.set(sum(|live| live.view.waiting));
        self.metrics.dial_backs_waiting.set(sum(|live| live.view.ready));
        self.metrics.commits_waiting.set(gauge(self.fleet.store().waiting()));
        self.metrics.relayed(self.relay.means());
    }
}

/// The connections of a grant that count.
fn counted(live: &LiveTunnel) -> impl Iterator<Item = (&PairView, &Moved)> {
    live.view.pairs.iter().zip(&live.moved).filter(|(pair, _)| pair.verified)
}

fn since_opened(now: Instant, pair: &PairView, moved: &Moved) -> Rate {
    let age = now.saturating_duration_since(pair.opened);
    rate(moved, (0, 0), age.max(Duration::from_secs(1)))
}

/// Since so much was moved to the target and to the operator.
fn rate(now: &Moved, before: (u64, u64), passed: Duration) -> Rate {
    let per_second = |now: u64, before: u64| {
        let millis = passed.as_millis().max(1);
        u64::try_from(u128::from(now.saturating_sub(before)) * 1000 / millis).unwrap_or(u64::MAX)
    };
    Rate {
        to_target: per_second(now.to_target, before.0),
        to_operator: per_second(now.to_initiator, before.1),
    }
}

/// Often enough for a person who watches, and for the relay some microseconds a connection.
const LOOK_EACH: Duration = Duration::from_secs(2);
/// A table of no more is not worth the work of making it smaller.
const SMALL: usize = 64;

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
        assert!(rates.0.lock().unwrap().connections.is_empty(), "what has ended is forgotten");
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
