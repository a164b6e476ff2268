//! A relay and a target, what is on its way between them, and what their drivers would do.

mod acts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use klnet_wire::id::GrantId;
use klnet_wire::message::tunnel::State;
use klnet_wire::message::{Message, Recorded, Revoke};
use klnet_wire::signing::SigningKey;

use super::random::Random;
use super::tally::Tally;
use crate::grant::Grant;
use crate::grant::tests::sample;
use crate::label::Cookie;
use crate::pair::{ConnId, EndReason, PairEnd, PairId};
use crate::policy::TargetPolicy;
use crate::relay::{self, Relay, Scope};
use crate::stream::{Answer, Refusal, SessionId};
use crate::target::{self, Target};

pub(super) struct World {
    pub(super) random: Random,
    now: Instant,
    pub(super) relay: Relay,
    pub(super) target: Target,
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
    pub(super) tally: Tally,
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

impl World {
    pub(super) fn new(seed: u64) -> Self {
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

    pub(super) fn step(&mut self) {
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
    pub(super) fn wind_down(&mut self) {
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

    fn end_pair(&mut self, pair: PairId) {
        self.pairs.remove(&pair);
        self.tally.ended += 1;
        self.at_relay(relay::Input::Ended { pair, end: END });
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
}

fn relay_config(secret: [u8; 32]) -> relay::Config {
    let limits = relay::Limits { spares_per_device: 4, initiators: 6, ..relay::Limits::default() };
    relay::Config { secret, audience: sample().audience, limits }
}

const UNIX: u64 = 1_700_000_000;
const END: PairEnd = PairEnd { to_target: 1, to_initiator: 2, reason: EndReason::Reset };
