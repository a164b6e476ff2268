//! Whether a peer still lives, judged by its acknowledgements.
//!
//! Keepalive asks a silent peer, but never while sent bytes wait for their acknowledgement; then the kernel goes on
//! resending for a quarter of an hour (tcp(7), `tcp_retries2`). `TCP_USER_TIMEOUT` (RFC 5482) would end that sooner, but
//! it also cuts a living peer that just does not read for that long, such as a pager at the end of a pipe. The
//! difference is seen in `TCP_INFO`: a living peer acknowledges, if only the probes of its closed window (RFC 9293,
//! 3.8.6.1).

use std::time::{Duration, Instant};

use crate::net::socket::Health;

/// Follows one socket.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// Since when an acknowledgement is due and none has come.
    waiting: Option<Instant>,
}

impl Pulse {
    /// Takes in a look at the socket, and says whether its peer is lost.
    pub(super) fn is_lost(&mut self, now: Instant, health: &Health) -> bool {
        if health.failed {
            return true;
        }
        if !health.is_waiting() {
            self.waiting = None;
            return false;
        }
        let acknowledged = now.checked_sub(health.last_acknowledgement);
        let since = *self.waiting.get_or_insert(now);
        // Heard of since the wait began: a new wait begins.
        let since = acknowledged.map_or(since, |heard| since.max(heard));
        self.waiting = Some(since);
        now.duration_since(since) >= PATIENCE
    }
}

/// How long an acknowledgement may be due. A look comes up to five seconds late, at the wait's begin and at its end.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_owes_an_acknowledgement_for_too_long_is_lost() {
        let (mut pulse, start) = (Pulse::default(), Instant::now() + HOUR);
        // It has been idle for an hour: its last acknowledgement is old, and that is no fault.
        assert!(!pulse.is_lost(start, &waiting(HOUR)));
        assert!(!pulse.is_lost(start + PATIENCE - SECOND, &waiting(HOUR)));
        assert!(pulse.is_lost(start + PATIENCE, &waiting(HOUR)));
    }

    #[test]
    fn a_peer_that_answers_probes_and_reads_nothing_is_not() {
        let (mut pulse, start) = (Pulse::default(), Instant::now() + HOUR);
        for minutes in 0..60 {
            assert!(!pulse.is_lost(start + minutes * 60 * SECOND, &waiting(SECOND)));
        }
    }

    #[test]
    fn a_peer_that_acknowledges_everything_is_not() {
        let (mut pulse, start) = (Pulse::default(), Instant::now() + HOUR);
        assert!(!pulse.is_lost(start, &waiting(HOUR)));
        assert!(!pulse.is_lost(start + SECOND, &Health { unacknowledged: 0, ..waiting(HOUR) }));
        assert!(!pulse.is_lost(start + PATIENCE, &waiting(HOUR)), "the wait begins anew");
    }

    #[test]
    fn a_socket_that_was_reset_has_no_peer() {
        let health = Health { failed: true, ..waiting(SECOND) };
        assert!(Pulse::default().is_lost(Instant::now(), &health));
    }

    fn waiting(last_acknowledgement: Duration) -> Health {
        Health { unacknowledged: 1, last_acknowledgement, ..Health::default() }
    }

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);
}
