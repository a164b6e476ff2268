//! Both cores in one small world: messages late or lost, sockets that end at any moment, and inputs nobody asked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use klnet_wire::id::{GrantId, OperatorId};
use klnet_wire::message::tunnel::State;
use klnet_wire::message::{Message, Open, Recorded, Revoke, TunnelState, Tunnels};
use klnet_wire::signed::Context;
use klnet_wire::signing::SigningKey;

use crate::grant::tests::sample;
use crate::grant::{Grant, Host};
use crate::label::{Cookie, Label, LabelSecret};
use crate::pair::{ConnId, EndReason, PairEnd, PairId};
use crate::policy::TargetPolicy;
use crate::relay::{self, Relay, Scope};
use crate::stream::{Answer, Go, Refusal, SessionId};
use crate::target::{self, Target};

#[test]
fn whatever_happens_the_tables_return_to_empty_and_the_counts_agree() {
    let mut reached = Tally::default();
    for seed in 0..250 {
        let mut world = World::new(seed);
        for _ in 0..300 {
            world.step();
            world.relay.check_counts();
            world.target.check_counts();
        }
        world.wind_down();
        let tally = world.tally;
        assert_eq!(tally.joined, tally.ended, "seed {seed}: each joined pair ends once");
        assert_eq!(
            tally.verified, tally.target_records,
            "seed {seed}: each verified connection has its record"
        );
        assert!(
            tally.relay_records.is_subset(&tally.verified),
            "seed {seed}: nothing else counts at the relay"
        );
        reached.add(tally);
    }
    // The world must reach what it is about, or the test shows nothing.
    assert!(reached.joined > 1000 && reached.ready > 300, "{} {}", reached.joined, reached.ready);
    assert!(reached.handed_over > 50, "{} pairs were handed over", reached.handed_over);
    assert!(reached.relay_records.len() > 300 && reached.refused > 50, "{}", reached.refused);
}

#[test]
fn a_world_is_the_same_for_the_same_seed() {
    let run = |seed| {
        let mut world = World::new(seed);
        (0..300).for_each(|_| world.step());
        (world.tally.joined, world.tally.ready, world.tally.refused, world.random.0)
    };
    assert_eq!(run(7), run(7));
}

struct World {
    random: Random,
    now: Instant,
    relay: Relay,
    target: Target,
    key: SigningKey,
    epoch: u64,
    online: bool,
    grants: Vec<Grant>,
    next_conn: u64,
    to_agent: VecDeque<Message>,
    to_relay: VecDeque<Message>,
    /// Sockets that wait at the relay.
    waiting: BTreeSet<ConnId>,
    /// Pairs that move bytes.
    pairs: BTreeSet<PairId>,
    /// Connections the target has not forgotten: the grant of each.
    connections: BTreeMap<ConnId, Link>,
    sessions: BTreeMap<GrantId, SessionId>,
    redeemed: BTreeSet<GrantId>,
    /// The present relay's.
    secret: [u8; 32],
    tally: Tally,
}

#[derive(Clone, Copy)]
struct Link {
    grant: GrantId,
    cookie: Cookie,
    next: Next,
}

/// What would go well next.
#[derive(Clone, Copy)]
enum Next {
    DialBack,
    Handshake,
    Go,
    Resolve,
    Dial(SocketAddr),
}

#[derive(Default)]
struct Tally {
    joined: usize,
    ended: usize,
    handed_over: usize,
    ready: usize,
    refused: usize,
    verified: BTreeSet<Cookie>,
    relay_records: BTreeSet<Cookie>,
    target_records: BTreeSet<Cookie>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.joined += other.joined;
        self.handed_over += other.handed_over;
        self.ready += other.ready;
        self.refused += other.refused;
        self.relay_records.extend(other.relay_records);
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let key = SigningKey::generate_ed25519();
        // Cookies differ between seeds, so that their tallies can be joined.
        let mut secret = [7; 32];
        secret[..8].copy_from_slice(&seed.to_be_bytes());
        let relay = Relay::new(relay_config(secret));
        let limits = target::Limits { grants: 8, pending: 5, connections: 12, ..target::Limits::default() };
        let (device, tenant, policy) = (sample().device, sample().tenant, TargetPolicy::default());
        let target = Target::new(target::Config { device, tenant, policy, limits, secret });
        let mut world = Self {
            random: Random(seed),
            now: Instant::now(),
            relay,
            target,
            key,
            epoch: 0,
            online: false,
            grants: Vec::new(),
            next_conn: 0,
            to_agent: VecDeque::new(),
            to_relay: VecDeque::new(),
            waiting: BTreeSet::new(),
            pairs: BTreeSet::new(),
            connections: BTreeMap::new(),
            sessions: BTreeMap::new(),
            redeemed: BTreeSet::new(),
            secret,
            tally: Tally::default(),
        };
        let keys = Arc::new(target::tests::key_set(world.key.public()));
        world.at_target(target::Input::Keys(keys));
        world.connect();
        world
    }

    fn step(&mut self) {
        if !self.online && self.random.below(10) == 0 {
            return self.connect();
        }
        match self.random.below(100) {
            0..4 => self.mint(),
            4..18 => self.hello(),
            18..45 => self.deliver_to_agent(),
            45..60 => self.deliver_to_relay(),
            60..84 => self.work_at_target(),
            84..88 => self.end_something(),
            88..90 => self.nonsense(),
            90..97 => {
                let millis = self.random.below(3000);
                self.wait(Duration::from_millis(millis));
            }
            97 => self.wait(Duration::from_secs(35)),
            98 if self.random.below(3) == 0 => self.hand_over(),
            98 if self.online => self.disconnect(),
            _ => self.revoke(),
        }
    }

    /// Ends every socket, lets every time pass, and expects that nothing is left.
    fn wind_down(&mut self) {
        self.relay.handle_input(self.now, relay::Input::Revoke(Scope::All));
        self.drain();
        while !self.to_agent.is_empty() || !self.to_relay.is_empty() {
            self.deliver_to_agent();
            self.deliver_to_relay();
        }
        while let Some(pair) = self.pairs.first().copied() {
            self.end_pair(pair);
        }
        for _ in 0..2 {
            self.wait(crate::grant::SESSION_LIMIT);
            for conn in self.connections.clone().into_keys() {
                self.at_target(target::Input::Ended { conn, end: END });
            }
        }
        if self.online {
            self.disconnect();
        }
        self.connect();
        while !self.to_relay.is_empty() || !self.to_agent.is_empty() {
            self.deliver_to_relay();
            self.deliver_to_agent();
        }
        self.wait(crate::grant::SESSION_LIMIT);
        assert!(self.relay.is_idle(), "{:?}", self.relay);
        assert!(self.target.is_idle(), "{:?}", self.target);
        assert_eq!((self.relay.poll_timeout(), self.target.poll_timeout()), (None, None));
        assert_eq!(self.target.unconfirmed(), 0);
        assert!(self.waiting.is_empty(), "{:?}", self.waiting);
    }

    fn mint(&mut self) {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.random.next().to_be_bytes());
        let hosts = ["", "", "files.lan", "127.0.0.1", "10.0.0.9"];
        let host = Host::parse(hosts[self.random.index(hosts.len())]).unwrap();
        let connections = u32::try_from(1 + self.random.below(4)).unwrap().try_into().unwrap();
        let grant = Grant { id: GrantId::new(id), host, connections, epoch: self.epoch, ..sample() };
        if self.relay.admit(self.now, UNIX, Arc::new(grant.clone()), secret()).is_ok() {
            let signed = self.key.sign(Context::Grant, grant.encode());
            self.to_agent.push_back(Message::Grant(signed));
            self.grants.push(grant);
        }
        self.drain();
    }

    fn hello(&mut self) {
        let Some(grant) = self.some_grant() else { return };
        let label = Label::of(&secret(), grant, u32::try_from(self.random.below(8)).unwrap());
        let conn = self.socket();
        let peer = "198.18.0.1:4444".parse().unwrap();
        self.at_relay(relay::Input::Initiator { conn, label, peer });
    }

    fn deliver_to_agent(&mut self) {
        let Some(message) = self.to_agent.pop_front() else { return };
        let input = match message {
            Message::Grant(signed) => target::Input::Grant(signed),
            Message::Open(open) => target::Input::Open(open),
            Message::Revoke(revoke) => target::Input::Revoke(revoke),
            Message::Recorded(recorded) => target::Input::Recorded(recorded),
            message => panic!("{message:?}"),
        };
        self.at_target(input);
    }

    fn deliver_to_relay(&mut self) {
        match self.to_relay.pop_front() {
            Some(Message::TunnelState(state)) => {
                self.at_relay(relay::Input::State(state, sample().device));
            }
            Some(Message::Tunnels(tunnels)) => {
                self.at_relay(relay::Input::Tunnels(tunnels, sample().device));
            }
            Some(message) => panic!("{message:?}"),
            None => {}
        }
    }

    /// Tells the target something its driver could tell, in the order of a good connection or not.
    fn work_at_target(&mut self) {
        let Some((&conn, &link)) = self.random.pick(&self.connections) else { return };
        let session = self.sessions.get(&link.grant).copied().filter(|_| self.random.below(8) > 0);
        if self.random.below(5) == 0 {
            let input = self.misstep(conn);
            return self.at_target(input);
        }
        let input = match link.next {
            Next::DialBack => {
                let relayed = self.socket();
                self.at_relay(relay::Input::Target { conn: relayed, cookie: link.cookie });
                self.connections.entry(conn).and_modify(|link| link.next = Next::Handshake);
                target::Input::DialedBack { conn, result: Ok(()) }
            }
            Next::Handshake => target::Input::Handshaken { conn, key: sample().cnf },
            Next::Go => return self.go(conn, link, session),
            Next::Resolve => {
                target::Input::Resolved { conn, addresses: Ok(vec!["10.0.0.9".parse().unwrap()]) }
            }
            Next::Dial(address) => target::Input::Dialed { conn, result: Ok(address) },
        };
        self.at_target(input);
    }

    /// What goes wrong, or comes when it should not.
    fn misstep(&mut self, conn: ConnId) -> target::Input {
        let host = ["10.0.0.9", "127.0.0.1", "::ffff:127.0.0.1"][self.random.index(3)];
        match self.random.below(11) {
            0 => target::Input::DialedBack { conn, result: Err("unreachable".into()) },
            1 => target::Input::Handshaken { conn, key: self.key.public().clone() },
            2 => target::Input::Handshaken { conn, key: sample().cnf },
            3 => target::Input::HandshakeFailed { conn, why: "closed".into() },
            4 => target::Input::Resolved { conn, addresses: Ok(vec![host.parse().unwrap()]) },
            5 => target::Input::Resolved { conn, addresses: Err("no such name".into()) },
            6 => target::Input::Dialed { conn, result: Err("refused".into()) },
            7 => target::Input::Dialed { conn, result: Ok("10.0.0.9:23".parse().unwrap()) },
            8 => self.unused(conn),
            9 => target::Input::OwnAddresses(vec![host.parse().unwrap()]),
            _ => target::Input::Go { conn, go: Go { session: Some(SessionId::new([0; 16])), connection: 0 } },
        }
    }

    /// The relay closed the dial-back, or claims so of a connection that goes on.
    fn unused(&mut self, conn: ConnId) -> target::Input {
        if matches!(self.connections[&conn].next, Next::DialBack | Next::Handshake) {
            self.connections.remove(&conn);
        }
        target::Input::Unused { conn }
    }

    fn go(&mut self, conn: ConnId, link: Link, session: Option<SessionId>) {
        let redeems = session.is_none();
        let refused = self.tally.refused;
        let before = self.redeemed.contains(&link.grant);
        self.target.handle_input(self.now, target::Input::Go { conn, go: Go { session, connection: 0 } });
        let outputs: Vec<_> = std::iter::from_fn(|| self.target.poll_output()).collect();
        let goes_on = |output: &target::Output| {
            matches!(output, target::Output::Dial { .. } | target::Output::Resolve { .. })
        };
        if redeems && outputs.iter().any(goes_on) {
            assert!(!before, "a grant is redeemed once");
            self.redeemed.insert(link.grant);
        }
        outputs.into_iter().for_each(|output| self.do_for_target(output));
        assert!(self.tally.refused <= refused + 1);
    }

    fn end_something(&mut self) {
        let pairs = &self.pairs.iter().map(|pair| (*pair, ())).collect();
        let pair = self.random.pick(pairs).map(|(pair, ())| *pair);
        if let Some(pair) = pair {
            self.end_pair(pair);
        } else if let Some(conn) = self.waiting.pop_first() {
            self.at_relay(relay::Input::Gone { conn });
        }
        if let Some((&conn, _)) = self.random.pick(&self.connections) {
            self.connections.remove(&conn);
            self.at_target(target::Input::Ended { conn, end: END });
        }
    }

    fn end_pair(&mut self, pair: PairId) {
        self.pairs.remove(&pair);
        self.tally.ended += 1;
        self.at_relay(relay::Input::Ended { pair, end: END });
    }

    /// Inputs about what does not exist, and messages that make no sense.
    fn nonsense(&mut self) {
        let bytes = self.random.next().to_be_bytes();
        let (conn, pair) = (ConnId(self.random.next()), PairId(self.random.next()));
        let odd = |len: usize| bytes.repeat(4)[..len].to_vec().into();
        let len = self.random.index(24);
        let state = i32::try_from(self.random.below(7)).unwrap();
        let cookie = self.random.pick(&self.connections).map(|(_, link)| link.cookie.as_bytes().to_vec());
        let cookie = cookie.map_or(odd(len), Into::into);
        let claim = TunnelState { grant: odd(len), cookie, state, reason: String::new() };
        let stranger = klnet_wire::id::DeviceId::new([9; 16]);
        self.at_relay(relay::Input::State(claim, stranger));
        self.at_relay(relay::Input::Gone { conn });
        self.at_relay(relay::Input::Ended { pair, end: END });
        self.at_relay(relay::Input::Tunnels(Tunnels { grants: vec![odd(len)] }, stranger));
        self.at_relay(relay::Input::Revoke(Scope::Operator(OperatorId::new([9; 16]))));
        self.at_target(target::Input::Open(Open { grant: odd(len), cookie: odd(20), expires_ms: u32::MAX }));
        self.at_target(target::Input::Revoke(Revoke { grants: vec![odd(len)], reason: String::new() }));
        self.at_target(target::Input::Recorded(Recorded { cookie: odd(len) }));
        self.at_target(target::Input::HandshakeFailed { conn, why: String::new() });
        self.at_target(target::Input::Ended { conn, end: END });
    }

    fn revoke(&mut self) {
        let Some(grant) = self.some_grant() else { return };
        self.at_relay(relay::Input::Revoke(Scope::Grant(grant)));
    }

    /// Another relay takes the place of this one, with every pair that counts.
    fn hand_over(&mut self) {
        self.at_relay(relay::Input::Retire);
        for _ in 0..self.random.below(8) {
            self.deliver_to_relay();
        }
        self.wait(relay::RETIRE_WAIT);
        assert!(self.relay.is_decided());
        if self.online {
            self.disconnect();
        }
        assert!(self.waiting.is_empty(), "no socket waits for the old relay: {:?}", self.waiting);
        let live = self.relay.live_pairs(self.now);
        let kept: BTreeSet<_> = live.iter().map(|live| live.pair).collect();
        let cut: Vec<_> = self.pairs.difference(&kept).copied().collect();
        cut.into_iter().for_each(|pair| self.end_pair(pair));
        self.secret[31] += 1;
        let mut next = Relay::new(relay_config(self.secret));
        for live in live.clone() {
            assert!(next.adopt(self.now, live).is_some());
        }
        assert_eq!(next.live_pairs(self.now), live, "nothing of them is lost");
        self.tally.handed_over += live.len();
        self.relay = next;
    }

    /// Loses the control connection with everything under way on it.
    fn disconnect(&mut self) {
        self.online = false;
        self.to_agent.clear();
        self.to_relay.clear();
        self.at_relay(relay::Input::Offline { device: sample().device });
        self.at_target(target::Input::Disconnected);
    }

    fn connect(&mut self) {
        self.online = true;
        self.epoch += 1;
        self.at_relay(relay::Input::Online { device: sample().device, epoch: self.epoch });
        let (epoch, relay) = (self.epoch, Some(sample().audience));
        self.at_target(target::Input::Connected { epoch, clock: UNIX, forbidden: Vec::new(), relay });
    }

    fn wait(&mut self, duration: Duration) {
        self.now += duration;
        self.relay.handle_timeout(self.now);
        self.target.handle_timeout(self.now);
        self.drain();
    }

    fn at_relay(&mut self, input: relay::Input) {
        self.relay.handle_input(self.now, input);
        self.drain();
    }

    fn at_target(&mut self, input: target::Input) {
        self.target.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.relay.poll_output() {
            self.do_for_relay(output);
        }
        while let Some(output) = self.target.poll_output() {
            self.do_for_target(output);
        }
    }

    fn do_for_relay(&mut self, output: relay::Output) {
        match output {
            relay::Output::Open { open, .. } if self.online => self.to_agent.push_back(Message::Open(open)),
            relay::Output::Join { pair, initiator, target, .. } => {
                assert!(self.waiting.remove(&initiator) && self.waiting.remove(&target));
                assert!(self.pairs.insert(pair));
                self.tally.joined += 1;
            }
            relay::Output::Drop { conn } => assert!(self.waiting.remove(&conn), "{conn:?} is dropped once"),
            relay::Output::Cut { pair, .. } => assert!(self.pairs.contains(&pair), "{pair:?} is live"),
            relay::Output::RevokeAt { grants, .. } if self.online => {
                let grants = grants.into_iter().map(|id| id.to_vec().into()).collect();
                self.to_agent.push_back(Message::Revoke(Revoke { grants, reason: String::new() }));
            }
            relay::Output::Record(record) => {
                assert!(self.tally.relay_records.insert(record.cookie), "one record for each connection");
            }
            relay::Output::Open { .. } | relay::Output::RevokeAt { .. } | relay::Output::Refused { .. } => {}
        }
    }

    fn do_for_target(&mut self, output: target::Output) {
        match output {
            target::Output::DialBack { conn, cookie, grant, .. } => {
                self.connections.insert(conn, Link { grant, cookie, next: Next::DialBack });
            }
            target::Output::Answer { conn, answer: Answer::Ready { session, .. } } => {
                self.tally.ready += 1;
                self.sessions.insert(self.connections[&conn].grant, session);
            }
            target::Output::Answer { conn, answer: Answer::Refused { reason, .. } } => {
                self.tally.refused += usize::from(reason != Refusal::Over);
                self.connections.remove(&conn);
            }
            target::Output::Drop { conn } => {
                self.connections.remove(&conn);
            }
            target::Output::Send(message) => {
                if let Message::TunnelState(state) = &message
                    && state.state() == State::Verified
                {
                    let cookie = Cookie::try_from(&state.cookie[..]).unwrap();
                    self.tally.verified.insert(cookie);
                    let link = self.connections.values_mut().find(|link| link.cookie == cookie);
                    link.unwrap().next = Next::Go;
                }
                self.to_relay.push_back(message);
            }
            target::Output::Sign(record) => {
                self.tally.target_records.insert(record.cookie);
                let cookie = record.cookie.as_bytes().to_vec().into();
                self.to_agent.push_back(Message::Recorded(Recorded { cookie }));
            }
            target::Output::Resolve { conn, .. } => {
                self.connections.entry(conn).and_modify(|link| link.next = Next::Resolve);
            }
            target::Output::Dial { conn, addresses } => {
                self.connections.entry(conn).and_modify(|link| link.next = Next::Dial(addresses[0]));
            }
            target::Output::Carry { .. } | target::Output::Cut { .. } => {}
        }
    }

    fn some_grant(&mut self) -> Option<GrantId> {
        // Most of the time a fresh one: old ones are over.
        let recent = self.grants.len().saturating_sub(4);
        let from = if self.random.below(10) == 0 { 0 } else { recent };
        let grants = &self.grants[from..];
        (!grants.is_empty()).then(|| grants[self.random.index(grants.len())].id)
    }

    fn socket(&mut self) -> ConnId {
        self.next_conn += 1;
        self.waiting.insert(ConnId(self.next_conn));
        ConnId(self.next_conn)
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len.try_into().unwrap())).unwrap()
    }

    fn pick<'a, Key: Ord, Value>(&mut self, map: &'a BTreeMap<Key, Value>) -> Option<(&'a Key, &'a Value)> {
        if map.is_empty() {
            return None;
        }
        map.iter().nth(self.index(map.len()))
    }
}

fn relay_config(secret: [u8; 32]) -> relay::Config {
    let limits = relay::Limits { spares_per_device: 4, initiators: 6, ..relay::Limits::default() };
    relay::Config { secret, audience: sample().audience, limits }
}

fn secret() -> LabelSecret {
    LabelSecret::new([3; 32])
}

const UNIX: u64 = 1_700_000_000;
const END: PairEnd = PairEnd { to_target: 1, to_initiator: 2, reason: EndReason::Reset };
