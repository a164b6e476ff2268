mod admission;
mod endings;
mod handover;
mod late;
mod pairs;
mod spares;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use klnet_wire::id::{OperatorId, ServerId, TenantId};
use klnet_wire::message::tunnel::State;
use klnet_wire::message::{TunnelState, Tunnels};

use super::spare::SETTLE;
use super::*;
use crate::grant::tests::sample;
use crate::grant::{Grant, ORPHAN_LIMIT, START_LIMIT};
use crate::label::LabelSecret;
use crate::pair::PairEnd;

struct Bench {
    relay: Relay,
    now: Instant,
    next_conn: u64,
    pending: Vec<Cookie>,
}

impl Bench {
    /// A relay whose sample device is online in the sample grant's epoch.
    fn new() -> Self {
        let config = Config { secret: [7; 32], audience: sample().audience, limits: Limits::default() };
        let relay = Relay::new(config);
        let mut bench = Self { relay, now: Instant::now(), next_conn: 0, pending: Vec::new() };
        bench.online(sample().epoch);
        bench
    }

    fn online(&mut self, epoch: u64) -> Vec<Output> {
        self.input(Input::Online { device: sample().device, epoch })
    }

    fn try_admit(&mut self, grant: &Grant) -> Result<(), AdmitError> {
        self.relay.admit(self.now, UNIX, Arc::new(grant.clone()), secret())
    }

    /// Admits a grant and gives the cookies asked for.
    fn admit(&mut self, grant: &Grant) -> Vec<Cookie> {
        self.try_admit(grant).unwrap();
        opened(&self.drain())
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        self.relay.handle_input(self.now, input);
        self.drain()
    }

    fn wait(&mut self, duration: Duration) -> Vec<Output> {
        self.now += duration;
        self.relay.handle_timeout(self.now);
        self.drain()
    }

    fn dropped(&mut self, duration: Duration) -> (Vec<ConnId>, Vec<RefusedHello>) {
        let (mut conns, mut reasons) = (Vec::new(), Vec::new());
        for output in self.wait(duration) {
            match output {
                Output::Drop { conn } => conns.push(conn),
                Output::Refused { why, .. } => reasons.push(why),
                output => panic!("{output:?}"),
            }
        }
        (conns, reasons)
    }

    fn drain(&mut self) -> Vec<Output> {
        let outputs: Vec<_> = std::iter::from_fn(|| self.relay.poll_output()).collect();
        self.pending.extend(opened(&outputs));
        outputs
    }

    fn conn(&mut self) -> ConnId {
        self.next_conn += 1;
        ConnId(self.next_conn)
    }

    /// An initiator shows label `n` of the sample grant.
    fn initiator(&mut self, n: u32) -> (ConnId, Vec<Output>) {
        self.initiator_of(sample().id, n)
    }

    fn initiator_of(&mut self, grant: GrantId, n: u32) -> (ConnId, Vec<Output>) {
        let conn = self.conn();
        let label = Label::of(&secret(), grant, n);
        (conn, self.input(Input::Initiator { conn, label, peer: PEER.parse().unwrap() }))
    }

    fn target(&mut self, cookie: Cookie) -> (ConnId, Vec<Output>) {
        self.pending.retain(|pending| *pending != cookie);
        let conn = self.conn();
        (conn, self.input(Input::Target { conn, cookie }))
    }

    /// Dials back for every OPEN there was, and verifies what gets joined.
    fn serve(&mut self) {
        while let Some(cookie) = self.pending.pop() {
            let device = self.relay.spares.get(&cookie).map(|spare| spare.grant);
            let Some(device) = device.map(|grant| self.relay.grants[&grant].grant.device) else { continue };
            for output in self.target(cookie).1 {
                if let Output::Join { pair, .. } = output {
                    let cookie = self.relay.pairs[&pair].cookie;
                    let state = told(cookie, State::Verified);
                    self.input(Input::State(state, device));
                }
            }
        }
        // Initiators that met a dial-back that was ready.
        let unverified = self.relay.pairs.iter().next_back().filter(|(_, joined)| !joined.verified);
        if let Some((cookie, device)) = unverified.map(|(_, joined)| (joined.cookie, joined.grant.device)) {
            self.input(Input::State(told(cookie, State::Verified), device));
        }
    }

    /// Joins label `n` of the sample grant.
    fn joined(&mut self, n: u32) -> (PairId, Cookie) {
        let mut outputs = self.initiator(n).1;
        while let Some(cookie) = self.pending.first().copied() {
            if outputs.iter().any(|output| matches!(output, Output::Join { .. })) {
                break;
            }
            outputs.extend(self.target(cookie).1);
        }
        let pair = outputs.iter().find_map(|output| match output {
            Output::Join { pair, .. } => Some(*pair),
            _ => None,
        });
        let pair = pair.unwrap_or_else(|| panic!("{outputs:?}"));
        (pair, self.relay.pairs[&pair].cookie)
    }

    /// Lets an initiator with label `n` of the sample grant wait, however many dial-backs are ready.
    fn waiting(&mut self, n: u32) -> (ConnId, Vec<Output>) {
        let waiting = self.initiator(n);
        assert!(self.relay.conns.contains_key(&waiting.0), "{waiting:?}");
        waiting
    }

    fn state(&mut self, cookie: Cookie, state: State) -> Vec<Output> {
        self.input(Input::State(told(cookie, state), sample().device))
    }

    /// Joins label `n` of the sample grant and verifies it.
    fn used(&mut self, n: u32) {
        let (pair, cookie) = self.joined(n);
        self.state(cookie, State::Verified);
        assert!(self.relay.pairs[&pair].verified);
    }
}

impl Relay {
    /// Whether nothing is left of any grant or connection.
    pub(crate) fn is_idle(&self) -> bool {
        let tables = self.grants.is_empty() && self.labels.is_empty() && self.accounts.is_empty();
        let sockets = self.spares.is_empty() && self.conns.is_empty() && self.pairs.is_empty();
        tables
            && sockets
            && self.joined.is_empty()
            && self.late.is_empty()
            && self.initiators == 0
            && self.timers.len() == self.spent.len()
    }

    /// Panics when a count disagrees with what is counted.
    pub(crate) fn check_counts(&self) {
        let waiting = |conn: &spare::Waiting| matches!(conn, spare::Waiting::Initiator(_));
        assert_eq!(self.initiators, self.conns.values().filter(|conn| waiting(conn)).count());
        assert_eq!(self.joined.len(), self.pairs.len());
        let ready = self.spares.values().filter(|spare| spare.conn.is_some()).count();
        assert_eq!(self.conns.len(), self.initiators + ready);
        let (mut labels, mut spares, mut waiters) = (0, 0, 0);
        for (id, admitted) in &self.grants {
            labels += if admitted.void { 0 } else { admitted.window.labels().count() };
            spares += admitted.spares.len();
            waiters += admitted.waiters.len();
            let verified = admitted.pairs.iter().filter(|pair| self.pairs[pair].verified).count();
            assert_eq!(admitted.verified, verified, "{id}");
            assert!(admitted.spares.len() <= self.config.limits.spares_per_grant);
            assert!(admitted.ready.iter().all(|cookie| admitted.spares.contains(cookie)));
        }
        assert_eq!((labels, spares, waiters), (self.labels.len(), self.spares.len(), self.initiators));
        let verified = self.pairs.values().filter(|joined| joined.verified).count();
        assert_eq!(self.accounts.connections(), verified);
        assert!(spares <= self.config.limits.spares && self.initiators <= self.config.limits.initiators);
    }
}

fn opened(outputs: &[Output]) -> Vec<Cookie> {
    let cookie = |output: &Output| match output {
        Output::Open { open, .. } => Cookie::try_from(&open.cookie[..]).ok(),
        _ => None,
    };
    outputs.iter().filter_map(cookie).collect()
}

fn told(cookie: Cookie, state: State) -> TunnelState {
    let (grant, cookie) = (sample().id.to_vec().into(), cookie.as_bytes().to_vec().into());
    TunnelState { grant, cookie, state: state.into(), reason: String::new() }
}

fn secret() -> LabelSecret {
    LabelSecret::new([3; 32])
}

/// The bytes of identifier `n`, of whatever kind.
fn id<Kind>(n: u32) -> klnet_wire::id::Id<Kind> {
    let mut bytes = [0xee; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    klnet_wire::id::Id::new(bytes)
}

const PEER: &str = "198.18.0.1:4444";
const UNIX: u64 = 1_700_000_000;
const END: PairEnd = PairEnd { to_target: 11, to_initiator: 22, reason: EndReason::Finished };
