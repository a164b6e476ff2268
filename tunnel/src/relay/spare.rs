//! Dial-backs asked for and waiting, and the initiators that wait for them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use klnet_wire::id::{DeviceId, GrantId};
use klnet_wire::message::Open;

use super::window::LabelState;
use super::{INITIATOR_WAIT, Output, RefusedHello, Relay, SPARE_LIFE, Timer};
use crate::label::{Cookie, Label};
use crate::pair::ConnId;

/// A dial-back on its way or waiting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spare {
    pub(super) grant: GrantId,
    /// Its number in the order dial-backs were asked for.
    pub(super) number: u64,
    /// The socket, once it has come.
    pub(super) conn: Option<ConnId>,
}

/// Whose a waiting socket is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Waiting {
    /// An initiator's, for connection `n` of a grant.
    Initiator(Initiator),
    /// A device's.
    Target(Cookie),
}

/// An initiator that showed a good label.
#[derive(Debug, Clone, Copy)]
pub(super) struct Initiator {
    pub(super) conn: ConnId,
    pub(super) grant: GrantId,
    pub(super) n: u32,
    pub(super) peer: SocketAddr,
}

impl Relay {
    pub(super) fn initiator(&mut self, now: Instant, conn: ConnId, label: Label, peer: SocketAddr) {
        let named = self.labels.get(&label).copied();
        let refused = match named {
            None => RefusedHello::Unknown,
            Some((grant, n)) => match self.receive(now, Initiator { conn, grant, n, peer }) {
                Ok(()) => return,
                Err(why) => why,
            },
        };
        let (grant, peer) = (named.map(|(grant, _)| grant), Some(peer));
        self.outputs.push_back(Output::Drop { conn });
        self.outputs.push_back(Output::Refused { why: refused, grant, peer });
    }

    /// Joins an initiator or lets it wait.
    fn receive(&mut self, now: Instant, initiator: Initiator) -> Result<(), RefusedHello> {
        let Initiator { conn, grant: id, n, .. } = initiator;
        let admitted = self.grants.get_mut(&id).ok_or(RefusedHello::Unknown)?;
        let most = usize::try_from(admitted.grant.connections.get()).unwrap_or(usize::MAX);
        if admitted.verified >= most {
            return Err(RefusedHello::TooMany);
        }
        if let Some(whose) = self.accounts.crowded(&admitted.grant, &self.config.limits) {
            return Err(RefusedHello::Crowded(whose));
        }
        if !self.online.contains_key(&admitted.grant.device) {
            return Err(RefusedHello::NoTarget);
        }
        if admitted.ready.is_empty() && self.initiators >= self.config.limits.initiators {
            return Err(RefusedHello::Full);
        }
        admitted.window.pair(n).map_err(|state| match state {
            LabelState::Pairing => RefusedHello::Pairing,
            LabelState::Unused | LabelState::Used => RefusedHello::Used,
        })?;
        if let Some(cookie) = admitted.ready.pop_front() {
            self.join(now, initiator, cookie);
        } else {
            admitted.waiters.push_back(conn);
            self.initiators += 1;
            self.conns.insert(conn, Waiting::Initiator(initiator));
            self.timers.set(Timer::Initiator(conn), now + INITIATOR_WAIT);
        }
        self.ask_in_time(now, id);
        Ok(())
    }

    pub(super) fn target(&mut self, now: Instant, conn: ConnId, cookie: Cookie) {
        let Some(spare) = self.spares.get_mut(&cookie).filter(|spare| spare.conn.is_none()) else {
            self.outputs.push_back(Output::Drop { conn });
            let why = RefusedHello::Unknown;
            return self.outputs.push_back(Output::Refused { why, grant: None, peer: None });
        };
        spare.conn = Some(conn);
        let (id, number) = (spare.grant, spare.number);
        self.conns.insert(conn, Waiting::Target(cookie));
        let Some(admitted) = self.grants.get_mut(&id) else { return };
        let Some(waiter) = admitted.waiters.pop_front() else {
            self.accounts.add_ready(&admitted.grant, (number, cookie));
            self.room_freed = true;
            return admitted.ready.push_back(cookie);
        };
        if let Some(Waiting::Initiator(initiator)) = self.forget_waiter(waiter) {
            self.join(now, initiator, cookie);
            self.ask_in_time(now, id);
        }
    }

    /// Asks at once for whoever waits. What is only to be kept ready has time until the first bytes have been exchanged:
    /// another dial-back in the same moment would take from them what the one before has saved.
    fn ask_in_time(&mut self, now: Instant, id: GrantId) {
        let waits = self.grants.get(&id).is_some_and(|admitted| !admitted.waiters.is_empty());
        if waits {
            self.ask(now, id);
        } else if !self.timers.is_set(Timer::Refill(id)) {
            self.timers.set(Timer::Refill(id), now + SETTLE);
        }
    }

    /// Asks the device for dial-backs until one is on its way for each waiting initiator, or one is kept ready,
    /// within the limits. One that is short of room stands in a queue for it.
    pub(super) fn ask(&mut self, now: Instant, id: GrantId) {
        loop {
            let Some(admitted) = self.grants.get_mut(&id).filter(|admitted| !admitted.void) else { return };
            // Nothing is kept ready while initiators stand in the queue.
            let kept = usize::from(self.starved.is_empty());
            let wanted = admitted.waiters.len().max(kept).min(self.config.limits.spares_per_grant);
            if admitted.spares.len() >= wanted || !self.online.contains_key(&admitted.grant.device) {
                return;
            }
            if !self.accounts.has_room(&admitted.grant, &self.config.limits) {
                // What is only kept ready yields to an initiator that waits for its first.
                let reclaimed = match admitted.spares.is_empty() && !admitted.waiters.is_empty() {
                    true => self.accounts.reclaimable(&admitted.grant, &self.config.limits),
                    false => None,
                };
                if let Some(cookie) = reclaimed {
                    self.drop_spare(cookie);
                    continue;
                }
                if !admitted.starved && !admitted.waiters.is_empty() {
                    admitted.starved = true;
                    self.starved.push_back(id);
                }
                return;
            }
            let number = self.next_cookie;
            self.next_cookie += 1;
            let cookie = Cookie::of(&self.config.secret, number);
            admitted.spares.insert(cookie);
            let device = admitted.grant.device;
            self.accounts.add_spare(&admitted.grant);
            self.spares.insert(cookie, Spare { grant: id, number, conn: None });
            self.timers.set(Timer::Spare(cookie), now + SPARE_LIFE);
            self.outputs.push_back(Output::Open { device, open: open(id, cookie) });
        }
    }

    /// Gives room that became free to those that stand in the queue, a few at a time.
    pub(super) fn feed_starved(&mut self, now: Instant) {
        if !std::mem::take(&mut self.room_freed) {
            return;
        }
        for _ in 0..self.starved.len().min(STARVED_BUDGET) {
            let Some(id) = self.starved.pop_front() else { return };
            if let Some(admitted) = self.grants.get_mut(&id) {
                admitted.starved = false;
                if !admitted.waiters.is_empty() {
                    self.ask(now, id);
                }
            }
        }
    }

    /// A waiting socket closed by itself.
    pub(super) fn gone(&mut self, conn: ConnId) {
        match self.conns.get(&conn) {
            Some(Waiting::Initiator(initiator)) => {
                let initiator = *initiator;
                self.forget_waiter(conn);
                if let Some(admitted) = self.grants.get_mut(&initiator.grant) {
                    admitted.waiters.retain(|waiter| *waiter != conn);
                    admitted.window.release(initiator.n);
                }
            }
            Some(Waiting::Target(cookie)) => {
                let cookie = *cookie;
                self.take_spare(cookie);
            }
            None => {}
        }
    }

    /// An initiator waited long enough.
    pub(super) fn give_up(&mut self, conn: ConnId) {
        let Some(Waiting::Initiator(initiator)) = self.conns.get(&conn).copied() else { return };
        if let Some(admitted) = self.grants.get_mut(&initiator.grant) {
            admitted.waiters.retain(|waiter| *waiter != conn);
            admitted.window.release(initiator.n);
        }
        self.refuse_waiter(conn, RefusedHello::NoTarget);
    }

    /// Closes a waiting initiator that its grant has forgotten.
    pub(super) fn refuse_waiter(&mut self, conn: ConnId, why: RefusedHello) {
        let Some(Waiting::Initiator(initiator)) = self.forget_waiter(conn) else { return };
        let (grant, peer) = (Some(initiator.grant), Some(initiator.peer));
        self.outputs.push_back(Output::Drop { conn });
        self.outputs.push_back(Output::Refused { why, grant, peer });
    }

    /// Closes a dial-back that nobody needs, or stops waiting for it.
    pub(super) fn drop_spare(&mut self, cookie: Cookie) {
        if let Some(Spare { conn: Some(conn), .. }) = self.take_spare(cookie) {
            self.outputs.push_back(Output::Drop { conn });
        }
    }

    /// The device cannot dial back for this cookie. It is not asked again at once: that could go on for ever.
    pub(super) fn spare_rejected(&mut self, cookie: Cookie, device: DeviceId) {
        let Some(spare) = self.spares.get(&cookie) else { return };
        if self.grants.get(&spare.grant).is_some_and(|admitted| admitted.grant.device == device) {
            self.drop_spare(cookie);
        }
    }

    /// Takes a dial-back out of every table.
    pub(super) fn take_spare(&mut self, cookie: Cookie) -> Option<Spare> {
        let spare = self.spares.remove(&cookie)?;
        self.timers.clear(Timer::Spare(cookie));
        if let Some(conn) = spare.conn {
            self.conns.remove(&conn);
        }
        if let Some(admitted) = self.grants.get_mut(&spare.grant) {
            admitted.spares.remove(&cookie);
            admitted.ready.retain(|ready| *ready != cookie);
            self.accounts.remove_spare(&admitted.grant, (spare.number, cookie));
        }
        self.room_freed = true;
        Some(spare)
    }

    fn forget_waiter(&mut self, conn: ConnId) -> Option<Waiting> {
        let waiting = self.conns.remove(&conn)?;
        self.timers.clear(Timer::Initiator(conn));
        self.initiators -= 1;
        Some(waiting)
    }
}

/// How long a grant that has just been used stays without a dial-back kept ready: a handshake on one machine, several
/// times over, and nothing beside the round trips of any other.
pub(super) const SETTLE: Duration = Duration::from_millis(5);

fn open(grant: GrantId, cookie: Cookie) -> Open {
    let expires_ms = u32::try_from(SPARE_LIFE.as_millis()).unwrap_or(u32::MAX);
    Open { grant: grant.to_vec().into(), cookie: cookie.as_bytes().to_vec().into(), expires_ms }
}

/// Grants looked at each time a dial-back leaves: enough that room is never left unused for long.
const STARVED_BUDGET: usize = 16;
