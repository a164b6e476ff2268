//! The relay's decisions: which first flights belong together.
//!
//! ```text
//! label:   Unused ──shown──▶ Pairing ──agent verified the key──▶ Used
//!             ▲                 │
//!             └── rejected, gone, too late
//! cookie:  asked ──shown──▶ ready ──▶ joined           (each at most once, 30 s until joined)
//! pair:    unverified ──Verified──▶ counted ──Ended──▶ record
//!             ├── Rejected, 10 s ──▶ cut ──Ended──▶ nothing happened
//!             └── Ended ──▶ late ──Verified──▶ record
//!                             └── Rejected, 10 s ──▶ nothing happened
//! ```

mod account;
mod admitted;
mod config;
mod handover;
mod input;
mod joined;
mod late;
mod output;
mod spare;
mod window;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::time::Instant;

use klnet_wire::id::{DeviceId, GrantId};

use crate::label::{Cookie, Label};
use crate::pair::{ConnId, EndReason, PairId};
use crate::timers::Timers;

pub use config::{CLOCK_SKEW, Config, IDLE_SLACK, INITIATOR_WAIT, Limits, SPARE_LIFE, VERIFY_WAIT};
pub use handover::{LivePair, RETIRE_WAIT};
pub use input::{Input, Scope};
pub use output::{Output, PairView, RefusedHello, RelayRecord, TunnelView};
pub use window::WINDOW;

/// Joins initiators and dial-backs by labels and cookies; never sees what they say.
#[derive(Debug)]
pub struct Relay {
    config: Config,
    /// Devices with a control connection, and the epoch of its session.
    online: HashMap<DeviceId, u64>,
    grants: BTreeMap<GrantId, admitted::Admitted>,
    /// Grants whose bytes could still be admitted, had they not been.
    spent: HashSet<GrantId>,
    accounts: account::Accounts,
    labels: HashMap<Label, (GrantId, u32)>,
    spares: HashMap<Cookie, spare::Spare>,
    conns: HashMap<ConnId, spare::Waiting>,
    initiators: usize,
    /// Grants whose initiators wait while there is no room to ask for a dial-back.
    starved: VecDeque<GrantId>,
    /// Whether a dial-back left, or is no more needed, since that queue was last looked at.
    room_freed: bool,
    pairs: BTreeMap<PairId, joined::Joined>,
    joined: HashMap<Cookie, PairId>,
    late: late::LatePairs,
    next_cookie: u64,
    next_pair: u64,
    timers: Timers<Timer>,
    outputs: VecDeque<Output>,
}

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Timer {
    /// The session must have begun, or is over.
    Grant(GrantId),
    /// The device was away for too long.
    Orphan(GrantId),
    /// The grant's bytes are too old to be admitted again.
    Spent(GrantId),
    /// The dial-back was not needed.
    Spare(Cookie),
    /// Another dial-back may be kept ready.
    Refill(GrantId),
    /// The initiator waited long enough.
    Initiator(ConnId),
    /// The agent must have verified the operator's key.
    Verify(PairId),
    /// The agent must have said whether a pair that has ended was verified.
    Late(Cookie),
}

/// Why a grant is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// For another server's relay.
    #[error("the grant is for another server")]
    Audience,
    /// It has a route, which this version does not serve.
    #[error("the grant has a route of further hops, which this relay does not serve")]
    Route,
    /// Its time to start is over.
    #[error("the grant is over")]
    Expired,
    /// It was minted later than now.
    #[error("the grant was minted in the future")]
    Future,
    /// The device has no control connection.
    #[error("the device is offline")]
    Offline,
    /// It is for another session of the device.
    #[error("the grant is for another session of the device")]
    Epoch,
    /// It was admitted before.
    #[error("the grant was admitted before")]
    Replayed,
    /// As many as may be are live.
    #[error("as many grants are live as one {0} may have")]
    TooMany(Whose),
    /// As many connections as may be are open: it could not be used.
    #[error("as many connections are open as one {0} may have")]
    Crowded(Whose),
}

/// Whose limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Whose {
    /// The device's.
    Device,
    /// The operator's.
    Operator,
    /// The tenant's.
    Tenant,
    /// The relay's own.
    Relay,
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "device",
            Self::Operator => "operator",
            Self::Tenant => "tenant",
            Self::Relay => "relay",
        })
    }
}

impl Relay {
    /// Makes a relay without grants.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            online: HashMap::new(),
            grants: BTreeMap::new(),
            spent: HashSet::new(),
            accounts: account::Accounts::default(),
            labels: HashMap::new(),
            spares: HashMap::new(),
            conns: HashMap::new(),
            initiators: 0,
            starved: VecDeque::new(),
            room_freed: false,
            pairs: BTreeMap::new(),
            joined: HashMap::new(),
            late: late::LatePairs::default(),
            next_cookie: 0,
            next_pair: 0,
            timers: Timers::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Initiator { conn, label, peer } => self.initiator(now, conn, label, peer),
            Input::Target { conn, cookie } => self.target(now, conn, cookie),
            Input::Gone { conn } => self.gone(conn),
            Input::State(state, device) => self.state(now, &state, device),
            Input::Tunnels(tunnels, device) => self.tunnels_at(device, &tunnels),
            Input::Ended { pair, end } => self.ended(now, pair, end),
            Input::Online { device, epoch } => self.device_online(now, device, epoch),
            Input::Offline { device } => self.device_offline(now, device),
            Input::Revoke(scope) => self.revoke(scope),
            Input::Retire => self.retire(now),
            Input::Shutdown => self.shut_down(),
        }
        self.feed_starved(now);
    }

    /// Ends everything whose time is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Grant(id) => self.end_grant(id, EndReason::SessionOver),
                Timer::Orphan(id) => self.end_grant(id, EndReason::Orphaned),
                Timer::Spent(id) => {
                    self.spent.remove(&id);
                }
                Timer::Spare(cookie) => self.drop_spare(cookie),
                Timer::Refill(id) => self.ask(now, id),
                Timer::Initiator(conn) => self.give_up(conn),
                Timer::Verify(pair) => self.cut(pair, EndReason::Rejected),
                Timer::Late(cookie) => self.late_is_over(cookie),
            }
        }
        self.feed_starved(now);
    }

    /// Takes the next thing to do; `None` once there is nothing more to do now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Relay::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first()
    }

    /// The live grants and their connections, in the order of their ids.
    pub fn tunnels(&self) -> impl Iterator<Item = TunnelView> {
        self.grants.values().map(|admitted| TunnelView {
            grant: admitted.grant.clone(),
            deadline: admitted.deadline,
            begun: admitted.begun,
            waiting: admitted.waiters.len(),
            ready: admitted.ready.len(),
            pairs: admitted.pairs.iter().filter_map(|pair| self.view(*pair)).collect(),
        })
    }

    fn view(&self, pair: PairId) -> Option<PairView> {
        let joined = self.pairs.get(&pair)?;
        let (cookie, initiator, opened) = (joined.cookie, joined.initiator, joined.opened);
        Some(PairView { pair, cookie, initiator, opened, verified: joined.verified })
    }
}

#[cfg(test)]
mod tests;
