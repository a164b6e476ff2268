//! Giving live pairs to the relay that takes this one's place, and taking them.
//!
//! ```text
//! old:  Retire ─▶ grants void, waiting sockets dropped ─▶ every pair verified or cut ─▶ live_pairs ─▶ Ended, here or there
//! new:                                                                             adopt ─▶ as if joined here
//! ```
//! Agents that come to the new relay bring a new epoch, which voids their grants in any case; so nothing is given of a
//! grant but what its live pairs need. The old relay forgets nothing by giving: it goes on where it was when the new
//! one fails, and whichever relay hears of a pair's end has its record.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admitted::Admitted;
use super::joined::{Joined, limits};
use super::window::Window;
use super::{Relay, Timer};
use crate::grant::Grant;
use crate::label::Cookie;
use crate::pair::{PairId, PairLimits};

/// A pair that counts, as one relay gives it to the next; times are relative, for the two share no clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePair {
    /// Names the pair in both relays.
    pub pair: PairId,
    /// Its grant.
    pub grant: Arc<Grant>,
    /// How long the grant's session lasts yet.
    pub left: Duration,
    /// How long its device may stay away yet.
    pub orphan: Duration,
    /// Names the connection at relay and target.
    pub cookie: Cookie,
    /// Where the initiator came from.
    pub initiator: SocketAddr,
    /// How long ago its sockets were joined.
    pub age: Duration,
}

impl Relay {
    /// Lets no pair begin any more: each grant is void, and forgotten when it has no pair. Those whose agent has not
    /// said yet that it verified the key, which may be carrying bytes already, have a moment for it.
    pub(super) fn retire(&mut self, now: Instant) {
        for id in self.grants.keys().copied().collect::<Vec<_>>() {
            self.forbid_new(id);
            self.rest_or_forget(now, id);
        }
        for (pair, _) in self.pairs.iter().filter(|(_, joined)| joined.is_undecided()) {
            self.timers.set(Timer::Verify(*pair), now + RETIRE_WAIT);
        }
    }

    /// Whether every pair counts or was cut.
    pub fn is_decided(&self) -> bool {
        !self.pairs.values().any(Joined::is_undecided)
    }

    /// Every pair that counts and was not cut, in the order of their names.
    pub fn live_pairs(&self, now: Instant) -> Vec<LivePair> {
        let live = self.pairs.iter().filter(|(_, joined)| joined.verified && joined.cut.is_none());
        live.filter_map(|(pair, joined)| self.live_pair(now, *pair, joined)).collect()
    }

    fn live_pair(&self, now: Instant, pair: PairId, joined: &Joined) -> Option<LivePair> {
        let Joined { grant, cookie, initiator, opened, .. } = joined;
        let deadline = self.grants.get(&grant.id)?.deadline;
        let orphaned = self.timers.deadline(Timer::Orphan(grant.id));
        let orphan = orphaned.map_or(grant.orphan, |deadline| deadline.saturating_duration_since(now));
        Some(LivePair {
            pair,
            grant: grant.clone(),
            left: deadline.saturating_duration_since(now),
            orphan,
            cookie: *cookie,
            initiator: *initiator,
            age: now.saturating_duration_since(*opened),
        })
    }

    /// Takes a live pair of the relay whose place this one takes, and says what its mover keeps to. Its grant is void
    /// for new pairs. `None`, and nothing was changed, when a pair of that name or cookie is there already.
    pub fn adopt(&mut self, now: Instant, live: LivePair) -> Option<PairLimits> {
        let LivePair { pair, grant, left, orphan, cookie, initiator, age } = live;
        if self.pairs.contains_key(&pair) || self.joined.contains_key(&cookie) {
            return None;
        }
        let id = grant.id;
        if !self.grants.contains_key(&id) {
            self.adopt_grant(now, grant.clone(), left, orphan);
        }
        let admitted = self.grants.get_mut(&id)?;
        admitted.pairs.insert(pair);
        admitted.verified += 1;
        self.accounts.add_connection(&grant);
        let limits = limits(&grant, admitted.deadline);
        // A machine that was started after the pair was opened cannot name that moment.
        let opened = now.checked_sub(age).unwrap_or(now);
        // A void grant has no labels, so that no number means anything.
        let joined = Joined { grant, n: 0, cookie, initiator, opened, verified: true, cut: None };
        self.pairs.insert(pair, joined);
        self.joined.insert(cookie, pair);
        self.next_pair = self.next_pair.max(pair.0.saturating_add(1));
        Some(limits)
    }

    fn adopt_grant(&mut self, now: Instant, grant: Arc<Grant>, left: Duration, orphan: Duration) {
        let id = grant.id;
        let deadline = now + left.min(grant.session);
        self.timers.set(Timer::Grant(id), deadline);
        if !self.online.contains_key(&grant.device) {
            self.timers.set(Timer::Orphan(id), now + orphan.min(grant.orphan));
        }
        self.accounts.add_grant(&grant);
        let window = Window::closed(id);
        let adopted = Admitted { begun: true, void: true, ..Admitted::new(grant, window, deadline) };
        self.grants.insert(id, adopted);
    }
}

/// How long a relay that retires waits for an agent's word on a pair: a round trip of a bad line.
pub const RETIRE_WAIT: Duration = Duration::from_secs(1);
