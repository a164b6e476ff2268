//! Ends of connections that wait for what the other part says of them.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use klnet_tunnel::label::Cookie;
use klnet_wire::id::DeviceId;

use super::records::Ended;

/// What was told of connections, each until both parts have told of it or one has waited long enough; whoever inserts
/// bounds how many there are.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    connections: HashMap<(DeviceId, Cookie), Vec<Ended>>,
    /// Since when each waits, the oldest first; one that has gone meanwhile is passed over.
    order: VecDeque<(Instant, (DeviceId, Cookie))>,
    /// Both parts have told of it.
    whole: Vec<Vec<Ended>>,
}

impl Gathered {
    /// Adds what one part tells.
    pub(super) fn insert(&mut self, now: Instant, end: Ended) {
        let connection = end.connection();
        let of_relay = matches!(end, Ended::Relay(_));
        let ends = self.connections.entry(connection).or_default();
        let is_whole = ends.iter().any(|other| matches!(other, Ended::Relay(_)) != of_relay);
        if ends.is_empty() {
            self.order.push_back((now, connection));
        }
        ends.push(end);
        if is_whole {
            self.whole.extend(self.connections.remove(&connection));
        }
    }

    /// Takes the ends of a connection that need not wait any longer.
    pub(super) fn pop_ready(&mut self, now: Instant) -> Option<Vec<Ended>> {
        if let Some(whole) = self.whole.pop() {
            return Some(whole);
        }
        while self.order.front().is_some_and(|(since, _)| now >= *since + WAIT) {
            let (_, connection) = self.order.pop_front()?;
            if let Some(ends) = self.connections.remove(&connection) {
                return Some(ends);
            }
        }
        None
    }

    /// When to call [`Gathered::pop_ready`] at the latest.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.order.front().map(|(since, _)| *since + WAIT)
    }

    /// How many connections' ends there are.
    pub(super) fn len(&self) -> usize {
        self.connections.len() + self.whole.len()
    }
}

impl IntoIterator for Gathered {
    type Item = Vec<Ended>;
    type IntoIter = Box<dyn Iterator<Item = Vec<Ended>> + Send>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.whole.into_iter().chain(self.connections.into_values()))
    }
}

/// How long one part's record waits for the other's: most ways to a device take less.
const WAIT: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use klnet_tunnel::pair::{EndReason, PairEnd};
    use klnet_tunnel::relay::RelayRecord;
    use klnet_wire::id::{GrantId, OperatorId, TenantId};

    use super::super::tests::bench::{cookie, told_by_agent};
    use super::*;

    #[test]
    fn what_both_parts_tell_is_ready_at_once() {
        let (mut gathered, start) = (Gathered::default(), Instant::now());
        gathered.insert(start, relay(1));
        assert!(gathered.pop_ready(start).is_none());
        gathered.insert(start, agent(1));
        assert_eq!(gathered.pop_ready(start).map(|ends| ends.len()), Some(2));
        assert_eq!(gathered.len(), 0);
    }

    #[test]
    fn what_one_part_tells_is_ready_after_a_while() {
        let (mut gathered, start) = (Gathered::default(), Instant::now());
        gathered.insert(start, relay(1));
        gathered.insert(start, relay(2));
        // Told again, because the acknowledgement was lost.
        gathered.insert(start, agent(3));
        gathered.insert(start, agent(3));
        assert!(gathered.pop_ready(start + WAIT - Duration::from_millis(1)).is_none());
        assert_eq!(gathered.poll_timeout(), Some(start + WAIT));
        let ready = std::iter::from_fn(|| gathered.pop_ready(start + WAIT)).map(|ends| ends.len());
        assert_eq!(ready.collect::<Vec<_>>(), [1, 1, 2]);
    }

    #[test]
    fn nothing_is_left_behind_at_a_stop() {
        let (mut gathered, start) = (Gathered::default(), Instant::now());
        gathered.insert(start, relay(1));
        gathered.insert(start, relay(2));
        gathered.insert(start, agent(2));
        assert_eq!(gathered.into_iter().flatten().count(), 3);
    }

    fn agent(n: u32) -> Ended {
        let record = told_by_agent(DEVICE, GRANT, cookie(n));
        Ended::Agent { tenant: TenantId::new([1; 16]), record, counted: false }
    }

    fn relay(n: u32) -> Ended {
        Ended::Relay(RelayRecord {
            grant: GRANT,
            cookie: cookie(n),
            tenant: TenantId::new([1; 16]),
            device: DEVICE,
            operator: OperatorId::new([4; 16]),
            initiator: ([198, 18, 0, 1], 4444).into(),
            opened: Instant::now(),
            closed: Instant::now(),
            end: PairEnd { to_target: 1, to_initiator: 2, reason: EndReason::Finished },
        })
    }

    const DEVICE: DeviceId = DeviceId::new([2; 16]);
    const GRANT: GrantId = GrantId::new([3; 16]);
}
