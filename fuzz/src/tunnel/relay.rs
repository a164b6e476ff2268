//! The relay's state machine against a model of what its driver sees: sockets that wait, pairs, labels that were used.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::{Duration, Instant};

use klnet_tunnel::grant::{Grant, Host};
use klnet_tunnel::label::{Cookie, Label, LabelSecret};
use klnet_tunnel::pair::{ConnId, EndReason, PairEnd, PairId};
use klnet_tunnel::relay::{Config, Input, Limits, Output, RETIRE_WAIT, Relay, Scope};
use klnet_wire::id::{DeviceId, GrantId, OperatorId, TenantId};
use klnet_wire::message::tunnel::State;
use klnet_wire::message::{TunnelState, Tunnels};
use klnet_wire::signed::PublicKey;

use crate::fixed::{NOW, SERVER};
use crate::script::Script;

/// Whatever agents, initiators and operators do: each socket is joined or dropped once, no label or cookie counts
/// twice, every table is bounded, and time alone empties them all.
pub fn relay(data: &[u8]) {
    let (mut script, mut world) = (Script::new(data), World::new());
    while let Some(decision) = script.decision() {
        world.step(decision, &mut script);
        world.check();
    }
    world.wind_down();
}

struct World {
    relay: Relay,
    /// How often another relay took the place of one.
    generation: u8,
    begun: Instant,
    now: Instant,
    next_conn: u64,
    /// Every grant there ever was.
    grants: Vec<(Arc<Grant>, LabelSecret)>,
    admitted: BTreeSet<GrantId>,
    online: BTreeMap<DeviceId, u64>,
    /// Every cookie that was sent in an OPEN.
    cookies: Vec<(Cookie, GrantId)>,
    /// Sockets handed in and neither joined nor dropped.
    waiting: BTreeMap<ConnId, Shown>,
    pairs: BTreeMap<PairId, Pair>,
    used: BTreeSet<Name>,
    joined: BTreeSet<Cookie>,
}

/// Connection number and grant behind a label.
type Name = (GrantId, u32);

enum Shown {
    Label(Name),
    Cookie(Cookie),
}

struct Pair {
    name: Name,
    cookie: Cookie,
    verified: bool,
    cut: bool,
    /// Cut because its key was not verified: that is final.
    rejected: bool,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            relay: Relay::new(config(0)),
            generation: 0,
            begun: now,
            now,
            next_conn: 0,
            grants: Vec::new(),
            admitted: BTreeSet::new(),
            online: BTreeMap::new(),
            cookies: Vec::new(),
            waiting: BTreeMap::new(),
            pairs: BTreeMap::new(),
            used: BTreeSet::new(),
            joined: BTreeSet::new(),
        }
    }

    fn step(&mut self, decision: u8, script: &mut Script<'_>) {
        if decision >= HAND_OVER {
            return self.hand_over();
        }
        match decision % 16 {
            0 => self.mint(script),
            1 => self.admit_again(script),
            2..=4 => self.initiator(script),
            5..=7 => self.dial_back(script),
            8 => self.gone(script),
            9 | 10 => self.report(script),
            11 => self.end(script),
            12 => self.online(script),
            13 => self.offline_or_told(script),
            14 => self.revoke(script),
            _ => self.pass(script.duration()),
        }
    }

    fn mint(&mut self, script: &mut Script<'_>) {
        let id = GrantId::new((self.grants.len() as u128).to_be_bytes());
        let (device, operator) = (device(script), OperatorId::new([script.byte() % 3; 16]));
        let epoch = self.online.get(&device).copied().unwrap_or_default() + u64::from(script.byte() == 255);
        let seconds = |script: &mut Script<'_>, most: u8| Duration::from_secs((script.byte() % most).into());
        let grant = Grant {
            id,
            tenant: TenantId::new([script.byte() % 2; 16]),
            device,
            host: Host::Device,
            port: NonZeroU16::MIN,
            cnf: PublicKey::P256([4; 65]),
            operator,
            audience: SERVER,
            route: Vec::new(),
            epoch,
            start: seconds(script, 60) + SECOND,
            session: seconds(script, 100) + SECOND,
            idle: seconds(script, 30) + SECOND,
            orphan: seconds(script, 60) + SECOND,
            rate: None,
            connections: NonZeroU32::MIN.saturating_add(u32::from(script.byte() % 3)),
            issued: (self.unix() + u64::from(script.byte() % 40)).saturating_sub(5),
        };
        self.grants.push((Arc::new(grant), LabelSecret::new([2; 32])));
        self.admit(self.grants.len() - 1);
    }

    fn admit_again(&mut self, script: &mut Script<'_>) {
        if let Some(index) = script.index(self.grants.len()) {
            self.admit(index);
        }
    }

    fn admit(&mut self, index: usize) {
        let (grant, secret) = self.grants[index].clone();
        let (unix, before) = (self.unix(), self.relay.tunnels().count());
        match self.relay.admit(self.now, unix, grant.clone(), secret) {
            Ok(()) => {
                assert!(self.admitted.insert(grant.id), "a grant is admitted once");
                assert_eq!(self.online.get(&grant.device), Some(&grant.epoch));
            }
            Err(_) => assert_eq!(self.relay.tunnels().count(), before, "a refused grant changes nothing"),
        }
        self.drain();
    }

    fn initiator(&mut self, script: &mut Script<'_>) {
        let Some((grant, secret)) = script.pick(&self.grants) else { return };
        let n = u32::from(script.byte() % 40);
        let (name, label) = ((grant.id, n), Label::of(secret, grant.id, n));
        let conn = self.conn(Shown::Label(name));
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        self.input(Input::Initiator { conn, label, peer });
    }

    fn dial_back(&mut self, script: &mut Script<'_>) {
        // Mostly a cookie of late, for the others are over.
        let back = usize::from(script.byte() % 16);
        let known = self.cookies.len().checked_sub(1 + back).map(|index| self.cookies[index].0);
        let cookie = known.unwrap_or(Cookie::new([script.byte(); 20]));
        let conn = self.conn(Shown::Cookie(cookie));
        self.input(Input::Target { conn, cookie });
    }

    fn conn(&mut self, shown: Shown) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        self.waiting.insert(conn, shown);
        conn
    }

    fn gone(&mut self, script: &mut Script<'_>) {
        let conns: Vec<_> = self.waiting.keys().copied().collect();
        if let Some(conn) = script.pick(&conns).copied() {
            self.waiting.remove(&conn);
            self.input(Input::Gone { conn });
        }
    }

    /// An agent tells of a connection or grant: its own, another's, or one that never was.
    fn report(&mut self, script: &mut Script<'_>) {
        let states = [State::Verified, State::Verified, State::Rejected, State::GrantRefused, State::Unknown];
        let state = *script.pick(&states).expect("there are states");
        let cookies: Vec<_> = self.pairs.values().map(|pair| pair.cookie).collect();
        let choice = script.byte();
        let cookie = match choice % 4 {
            0..=2 => script.pick(&cookies).copied(),
            _ => script.pick(&self.cookies).map(|(cookie, _)| *cookie),
        };
        let grant = script.pick(&self.grants).map(|(grant, _)| grant.id);
        let named = cookie.and_then(|cookie| self.grant_of(cookie)).or(grant);
        let owner = named.and_then(|id| self.device_of(id));
        let device = owner.filter(|_| choice < 240).unwrap_or(device(script));
        if state == State::Verified
            && let Some(pair) =
                self.pairs.values_mut().find(|pair| Some(pair.cookie) == cookie && !pair.rejected)
            && owner == Some(device)
        {
            pair.verified = true;
            self.used.insert(pair.name);
        }
        let report = TunnelState {
            grant: grant.map_or_else(Vec::new, GrantId::to_vec).into(),
            cookie: cookie.map_or_else(Vec::new, |cookie| cookie.as_bytes().to_vec()).into(),
            state: state.into(),
            reason: String::new(),
        };
        self.input(Input::State(report, device));
    }

    fn end(&mut self, script: &mut Script<'_>) {
        let pairs: Vec<_> = self.pairs.keys().copied().collect();
        if let Some(pair) = script.pick(&pairs) {
            self.ended(*pair);
        }
    }

    fn ended(&mut self, id: PairId) {
        let Some(pair) = self.pairs.remove(&id) else { return };
        let end = PairEnd { to_target: 1, to_initiator: 2, reason: EndReason::Finished };
        self.relay.handle_input(self.now, Input::Ended { pair: id, end });
        let recorded = self.drain();
        assert_eq!(recorded, usize::from(pair.verified), "a verified pair has one record, another has none");
    }

    fn online(&mut self, script: &mut Script<'_>) {
        let device = device(script);
        // An agent draws its epochs: none comes back in the life of a later relay.
        let first = u64::from(self.generation) << 32;
        let epoch = self.online.get(&device).copied().unwrap_or(first) + u64::from(script.byte() % 2);
        self.online.insert(device, epoch);
        self.input(Input::Online { device, epoch });
    }

    fn offline_or_told(&mut self, script: &mut Script<'_>) {
        let device = device(script);
        if script.coin() {
            self.online.remove(&device);
            return self.input(Input::Offline { device });
        }
        let ids: Vec<_> = self.grants.iter().map(|(grant, _)| grant.id.to_vec().into()).collect();
        let grants =
            script.pick(&ids).cloned().into_iter().chain([script.bytes(20).to_vec().into()]).collect();
        self.input(Input::Tunnels(Tunnels { grants }, device));
    }

    fn revoke(&mut self, script: &mut Script<'_>) {
        let grant = script.pick(&self.grants).map(|(grant, _)| grant.id);
        let scope = match script.byte() {
            0..=150 => Scope::Grant(grant.unwrap_or(GrantId::new([0xff; 16]))),
            151..=190 => Scope::Device(device(script)),
            191..=220 => Scope::Operator(OperatorId::new([script.byte() % 3; 16])),
            221..=250 => Scope::Tenant(TenantId::new([script.byte() % 2; 16])),
            _ => Scope::All,
        };
        self.input(Input::Revoke(scope));
        if scope == Scope::All {
            assert_eq!(self.relay.tunnels().count(), 0);
            assert!(self.pairs.values().all(|pair| pair.cut), "every pair is cut");
        }
    }

    /// Another relay takes the place of this one: it has the pairs that count, and nothing else.
    fn hand_over(&mut self) {
        self.input(Input::Retire);
        self.pass(RETIRE_WAIT);
        assert!(self.relay.is_decided());
        assert!(self.waiting.is_empty(), "no socket waits for a relay that has retired");
        let cut: Vec<_> = self.pairs.iter().filter(|(_, pair)| pair.cut).map(|(id, _)| *id).collect();
        cut.into_iter().for_each(|pair| self.ended(pair));
        let live = self.relay.live_pairs(self.now);
        let named = live.iter().map(|live| (live.pair, live.cookie));
        let ours = self.pairs.iter().filter(|(_, pair)| pair.verified);
        assert!(named.eq(ours.map(|(id, pair)| (*id, pair.cookie))), "{live:?}");
        assert_eq!(live.len(), self.pairs.len(), "an unverified pair was cut");
        self.generation = self.generation.saturating_add(1);
        self.relay = Relay::new(config(self.generation));
        self.online.clear();
        for live in live.clone() {
            assert!(self.relay.adopt(self.now, live).is_some());
        }
        self.drain();
    }

    fn pass(&mut self, duration: Duration) {
        self.now += duration;
        self.relay.handle_timeout(self.now);
        self.drain();
        let next = self.relay.poll_timeout();
        assert!(next.is_none_or(|next| next > self.now), "a timeout that was handled is over");
    }

    fn input(&mut self, input: Input) {
        self.relay.handle_input(self.now, input);
        self.drain();
    }

    /// Does what the relay asks for, and counts the records.
    fn drain(&mut self) -> usize {
        let mut records = 0;
        for _ in 0..OUTPUTS_LIMIT {
            match self.relay.poll_output() {
                Some(Output::Record(_)) => records += 1,
                Some(output) => self.obey(output),
                None => return records,
            }
        }
        panic!("the outputs never end");
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Open { device, open } => {
                let cookie = Cookie::try_from(&open.cookie[..]).expect("a cookie of 20 bytes");
                let grant = GrantId::try_from(&open.grant[..]).expect("a grant of 16 bytes");
                assert!(self.online.contains_key(&device), "nobody hears an OPEN to a device that is away");
                assert_eq!(self.device_of(grant), Some(device));
                assert!(self.cookies.iter().all(|(known, _)| *known != cookie), "a cookie is drawn once");
                self.cookies.push((cookie, grant));
            }
            Output::Join { pair, initiator, target, .. } => self.join(pair, initiator, target),
            Output::Drop { conn } => {
                assert!(self.waiting.remove(&conn).is_some(), "{conn:?} is dropped once");
            }
            Output::Cut { pair, reason } => {
                let pair = self.pairs.get_mut(&pair).expect("only a live pair is cut");
                assert!(!std::mem::replace(&mut pair.cut, true), "a pair is cut once");
                pair.rejected = reason == EndReason::Rejected;
            }
            Output::RevokeAt { grants, .. } => assert!(!grants.is_empty()),
            Output::Refused { .. } | Output::Record(_) => {}
        }
    }

    fn join(&mut self, pair: PairId, initiator: ConnId, target: ConnId) {
        let Some(Shown::Label(name)) = self.waiting.remove(&initiator) else { panic!("no initiator waits") };
        let Some(Shown::Cookie(cookie)) = self.waiting.remove(&target) else { panic!("no dial-back waits") };
        assert_eq!(self.grant_of(cookie), Some(name.0), "a dial-back is for the initiator's grant");
        assert!(!self.used.contains(&name), "label {} was used", name.1);
        assert!(self.joined.insert(cookie), "a cookie joins once");
        let twice = self.pairs.values().any(|other| other.name == name && !other.cut);
        assert!(!twice, "label {} is in a pairing", name.1);
        let fresh = Pair { name, cookie, verified: false, cut: false, rejected: false };
        assert!(self.pairs.insert(pair, fresh).is_none(), "a pair has a name of its own");
    }

    fn check(&self) {
        let views: Vec<_> = self.relay.tunnels().collect();
        assert!(views.len() <= LIMITS.grants);
        assert!(views.iter().map(|view| view.waiting).sum::<usize>() <= LIMITS.initiators);
        for view in &views {
            let of = |same: &dyn Fn(&Grant) -> bool| views.iter().filter(|other| same(&other.grant)).count();
            assert!(of(&|other| other.device == view.grant.device) <= LIMITS.grants_per_device);
            assert!(of(&|other| other.operator == view.grant.operator) <= LIMITS.grants_per_operator);
            assert!(of(&|other| other.tenant == view.grant.tenant) <= LIMITS.grants_per_tenant);
            let shown: Vec<_> = view.pairs.iter().map(|pair| (pair.pair, pair.verified)).collect();
            let ours = self.pairs.iter().filter(|(_, pair)| pair.name.0 == view.grant.id);
            assert_eq!(shown, ours.map(|(id, pair)| (*id, pair.verified)).collect::<Vec<_>>());
            let live = self.pairs.values().filter(|it| it.name.0 == view.grant.id && it.verified && !it.cut);
            assert!(u32::try_from(live.count()).is_ok_and(|live| live <= view.grant.connections.get()));
        }
        let targets = self.waiting.values().filter(|shown| matches!(shown, Shown::Cookie(_)));
        assert!(targets.count() <= LIMITS.spares);
        assert!(self.waiting.len() <= LIMITS.spares + LIMITS.initiators);
    }

    /// Nothing happens any more but time, and pairs that are cut end.
    fn wind_down(mut self) {
        for _ in 0..OUTPUTS_LIMIT {
            let cut: Vec<_> = self.pairs.iter().filter(|(_, pair)| pair.cut).map(|(id, _)| *id).collect();
            cut.into_iter().for_each(|pair| self.ended(pair));
            let Some(next) = self.relay.poll_timeout() else { break };
            self.pass(next.saturating_duration_since(self.now));
        }
        assert_eq!(self.relay.poll_timeout(), None);
        assert_eq!((self.relay.tunnels().count(), self.pairs.len(), self.waiting.len()), (0, 0, 0));
    }

    fn grant_of(&self, cookie: Cookie) -> Option<GrantId> {
        self.cookies.iter().find(|(known, _)| *known == cookie).map(|(_, grant)| *grant)
    }

    fn device_of(&self, id: GrantId) -> Option<DeviceId> {
        self.grants.iter().find(|(grant, _)| grant.id == id).map(|(grant, _)| grant.device)
    }

    fn unix(&self) -> u64 {
        NOW + self.now.saturating_duration_since(self.begun).as_secs()
    }
}

fn config(generation: u8) -> Config {
    Config { secret: [generation; 32], audience: SERVER, limits: LIMITS }
}

fn device(script: &mut Script<'_>) -> DeviceId {
    DeviceId::new([script.byte() % 3; 16])
}

/// So small that a script of a few hundred bytes reaches each.
const LIMITS: Limits = Limits {
    grants_per_device: 3,
    grants_per_operator: 4,
    grants_per_tenant: 5,
    grants: 6,
    connections_per_device: 2,
    connections_per_operator: 3,
    connections_per_tenant: 4,
    spent: 20,
    spares_per_grant: 2,
    spares_per_device: 3,
    spares_per_operator: 4,
    spares: 5,
    initiators: 4,
};

/// Decisions from here on are about relays, others about what comes to one.
const HAND_OVER: u8 = 248;
const SECOND: Duration = Duration::from_secs(1);
/// More outputs, or timeouts, than a script's world can make.
const OUTPUTS_LIMIT: usize = 10_000;
