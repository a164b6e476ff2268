//! The target's state machine against a model of what its driver sees: how far each connection has come.

mod acts;
mod driver;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use klnet_tunnel::grant::Grant;
use klnet_tunnel::label::Cookie;
use klnet_tunnel::pair::{ConnId, EndReason, PairEnd};
use klnet_tunnel::policy::TargetPolicy;
use klnet_tunnel::record::TunnelRecord;
use klnet_tunnel::stream::SessionId;
use klnet_tunnel::target::{Config, Input, Limits, Target};
use klnet_wire::id::GrantId;
use klnet_wire::message::Recorded;
use klnet_wire::signed::{PublicKey, Signed};

use crate::fixed::{DEVICE, TENANT};
use crate::script::Script;

/// Whatever the server, the initiators and the network do: only a sound grant is taken, nothing is dialled before its
/// key and GO came, one redeemer gets its session, each verified connection has one record, and time empties it all.
pub fn target(data: &[u8]) {
    let (mut script, mut world) = (Script::new(data), World::new());
    while let Some(decision) = script.decision() {
        world.step(decision, &mut script);
        world.check();
    }
    world.wind_down();
}

struct World {
    target: Target,
    now: Instant,
    epoch: u64,
    online: bool,
    keys: bool,
    /// Every grant there ever was, and whether it is one the target may take in its epoch.
    grants: Vec<(Grant, Signed, bool)>,
    taken: BTreeSet<GrantId>,
    sessions: BTreeMap<GrantId, SessionId>,
    redeemed: BTreeSet<GrantId>,
    next_cookie: u32,
    conns: BTreeMap<ConnId, Conn>,
    /// The records of verified connections, as first given out.
    records: BTreeMap<Cookie, TunnelRecord>,
    verified: usize,
}

struct Conn {
    grant: Grant,
    cookie: Cookie,
    stage: Stage,
}

#[derive(Debug, Clone, PartialEq)]
enum Stage {
    DialingBack,
    Handshaking,
    /// The right key was shown.
    Verified,
    /// GO came; whether it was the grant's first.
    Going,
    Resolving,
    Dialing(Vec<SocketAddr>),
    Ready,
    Carried,
    Cut,
}

impl World {
    fn new() -> Self {
        let policy = TargetPolicy { deny_ports: vec![23..=23], ..TargetPolicy::default() };
        let config = Config { device: DEVICE, tenant: TENANT, policy, limits: LIMITS, secret: [3; 32] };
        Self {
            target: Target::new(config),
            now: Instant::now(),
            epoch: 0,
            online: false,
            keys: false,
            grants: Vec::new(),
            taken: BTreeSet::new(),
            sessions: BTreeMap::new(),
            redeemed: BTreeSet::new(),
            next_cookie: 0,
            conns: BTreeMap::new(),
            records: BTreeMap::new(),
            verified: 0,
        }
    }

    fn step(&mut self, decision: u8, script: &mut Script<'_>) {
        match decision % 16 {
            0 => self.connection(script),
            1 | 2 => self.mint(script),
            3 => self.grant_again(script),
            4 | 5 => self.open(script),
            6 => self.dialed_back(script),
            7 | 8 => self.handshake(script),
            9 | 10 => self.go(script),
            11 => self.resolved(script),
            12 => self.dialed(script),
            13 => self.ended(script),
            14 => self.told(script),
            _ => self.pass(script.duration()),
        }
    }

    fn end(&mut self, conn: ConnId) {
        if let Some(it) = self.conns.remove(&conn) {
            self.verified += usize::from(!it.is_pending());
        }
        let end = PairEnd { to_target: 1, to_initiator: 2, reason: EndReason::Finished };
        self.input(Input::Ended { conn, end });
    }

    fn pass(&mut self, duration: Duration) {
        self.now += duration;
        self.target.handle_timeout(self.now);
        self.drain();
        let next = self.target.poll_timeout();
        assert!(next.is_none_or(|next| next > self.now), "a timeout that was handled is over");
    }

    fn input(&mut self, input: Input) {
        self.target.handle_input(self.now, input);
        self.drain();
    }

    fn check(&self) {
        let pending = self.conns.values().filter(|conn| conn.is_pending()).count();
        assert!(pending <= LIMITS.pending);
        // Whatever a relay with an operator's key does: those over the limit are bounded until they are told so.
        assert!(self.conns.len() <= LIMITS.connections + LIMITS.pending);
        assert_eq!(self.target.connections(), self.conns.len() - pending);
        assert!(self.target.unconfirmed() <= LIMITS.records);
        let carried = self.conns.values().filter(|conn| conn.stage == Stage::Carried).count();
        assert!(carried <= LIMITS.connections);
        let settled = self.conns.values().all(|conn| !matches!(conn.stage, Stage::Going | Stage::Ready));
        assert!(settled, "GO and READY are answered at once");
    }

    /// Nothing happens any more but time, and connections that are cut end.
    fn wind_down(mut self) {
        for _ in 0..OUTPUTS_LIMIT {
            let cut: Vec<_> =
                self.conns.iter().filter(|(_, it)| it.stage == Stage::Cut).map(|(id, _)| *id).collect();
            cut.into_iter().for_each(|conn| self.end(conn));
            let stored: Vec<_> =
                self.records.keys().map(|cookie| cookie.as_bytes().to_vec().into()).collect();
            stored.into_iter().for_each(|cookie| self.input(Input::Recorded(Recorded { cookie })));
            let Some(next) = self.target.poll_timeout() else { break };
            self.pass(next.saturating_duration_since(self.now));
        }
        assert_eq!(self.target.poll_timeout(), None);
        // One that is joined to nobody is forgotten by silence; only `Drop` would tell.
        assert_eq!((self.target.connections(), self.conns.len()), (0, 0));
    }
}

impl Conn {
    /// Whether the operator's key has not been verified yet.
    fn is_pending(&self) -> bool {
        matches!(self.stage, Stage::DialingBack | Stage::Handshaking)
    }
}

fn operator() -> PublicKey {
    PublicKey::P256([4; 65])
}

fn servers() -> Vec<IpAddr> {
    vec![IpAddr::from([10, 1, 1, 1])]
}

fn own() -> Vec<IpAddr> {
    vec![IpAddr::from([10, 0, 0, 7])]
}

/// So small that a script of a few hundred bytes reaches each.
const LIMITS: Limits = Limits { grants: 4, pending: 3, connections: 4, records: 5, seen: 6 };

/// More outputs, or timeouts, than a script's world can make.
const OUTPUTS_LIMIT: usize = 10_000;
