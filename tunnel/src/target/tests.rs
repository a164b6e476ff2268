mod connections;
mod endings;
mod grants;
mod records;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use klnet_wire::id::{DeviceId, TenantId};
use klnet_wire::keyset::{Key, Purpose};
use klnet_wire::message::tunnel::State;
use klnet_wire::message::{Open, Revoke};
use klnet_wire::signed::{Context, PublicKey, Signed};
use klnet_wire::signing::SigningKey;

use super::*;
use crate::grant::tests::sample;
use crate::grant::{Grant, Host, ORPHAN_LIMIT, START_LIMIT};
use crate::pair::PairEnd;
use crate::policy::TargetPolicy;
use crate::record::TunnelRecord;
use crate::stream::{Answer, Go, Refusal};

struct Bench {
    target: Target,
    now: Instant,
    key: SigningKey,
}

impl Bench {
    /// A target that is connected in the sample grant's epoch, whose policy forbids telnet.
    fn new() -> Self {
        let key = SigningKey::generate_ed25519();
        let policy = TargetPolicy { deny_ports: vec![23..=23], ..TargetPolicy::default() };
        let (device, tenant) = (sample().device, sample().tenant);
        let config = Config { device, tenant, policy, limits: Limits::default(), secret: [7; 32] };
        let mut bench = Self { target: Target::new(config), now: Instant::now(), key };
        let keys = Arc::new(key_set(bench.key.public()));
        bench.input(Input::Keys(keys));
        bench.connect(sample().epoch);
        bench
    }

    fn connect(&mut self, epoch: u64) -> Vec<Output> {
        let forbidden = vec!["10.1.2.3".parse().unwrap()];
        self.input(Input::Connected { epoch, clock: CLOCK, forbidden, relay: Some(sample().audience) })
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        self.target.handle_input(self.now, input);
        std::iter::from_fn(|| self.target.poll_output()).collect()
    }

    fn wait(&mut self, duration: Duration) -> Vec<Output> {
        self.now += duration;
        self.target.handle_timeout(self.now);
        std::iter::from_fn(|| self.target.poll_output()).collect()
    }

    fn grant(&mut self, grant: &Grant) -> (State, String) {
        self.signed(self.key.sign(Context::Grant, grant.encode()))
    }

    fn signed(&mut self, signed: Signed) -> (State, String) {
        let outputs = self.input(Input::Grant(signed));
        let Some(Output::Send(Message::TunnelState(state))) = outputs.last() else { panic!("{outputs:?}") };
        (state.state(), state.reason.clone())
    }

    /// The connection of the sample grant dialled back with cookie `n`, unless the target rejects it.
    fn open(&mut self, n: u32) -> Option<ConnId> {
        match self.input(Input::Open(open(n)))[..] {
            [Output::DialBack { conn, .. }] => Some(conn),
            [Output::Send(ref state)] if is(state, State::Rejected) => None,
            ref outputs => panic!("{outputs:?}"),
        }
    }

    fn verified(&mut self, n: u32) -> ConnId {
        let conn = self.open(n).unwrap();
        self.input(Input::DialedBack { conn, result: Ok(()) });
        let outputs = self.input(Input::Handshaken { conn, key: sample().cnf });
        assert!(matches!(&outputs[..], [Output::Send(state)] if is(state, State::Verified)), "{outputs:?}");
        conn
    }

    /// Carries the sample grant's first connection.
    fn carried(&mut self, n: u32) -> SessionId {
        let conn = self.verified(n);
        self.input(Input::Go { conn, go: FIRST });
        let outputs = self.input(Input::Dialed { conn, result: Ok(LOCAL.parse().unwrap()) });
        let Output::Answer { answer: Answer::Ready { session, .. }, .. } = outputs[0] else {
            panic!("{outputs:?}")
        };
        session
    }

    fn refusal(&mut self, input: Input) -> Refusal {
        let outputs = self.input(input);
        let [Output::Answer { answer: Answer::Refused { reason, .. }, .. }, Output::Sign(record)] =
            &outputs[..]
        else {
            panic!("{outputs:?}")
        };
        assert_eq!((record.reason, record.resolved), (EndReason::Refused, None::<SocketAddr>));
        *reason
    }

    fn record(&mut self, conn: ConnId) -> TunnelRecord {
        match &self.input(Input::Ended { conn, end: END })[..] {
            [Output::Sign(record)] => record.clone(),
            outputs => panic!("{outputs:?}"),
        }
    }
}

impl Target {
    /// Whether nothing is left of any grant or connection.
    pub(crate) fn is_idle(&self) -> bool {
        let tables = self.grants.is_empty() && self.connections.is_empty() && self.cookies.is_empty();
        // Records are nobody's grant or connection any more.
        let timers = self.timers.len() - usize::from(self.timers.is_set(Timer::Records));
        tables && (self.pending, self.verified, timers) == (0, 0, 0)
    }

    /// Panics when a count disagrees with what is counted.
    pub(crate) fn check_counts(&self) {
        let verified = self.connections.values().filter(|it| it.is_verified()).count();
        assert_eq!(self.verified, verified);
        assert_eq!(self.pending, self.connections.len() - verified);
        assert_eq!(self.cookies.len(), self.connections.len());
        for (id, held) in &self.grants {
            assert!(held.connections.iter().all(|conn| self.connections.contains_key(conn)), "{id}");
            let verified = held.connections.iter().filter(|conn| self.connections[conn].is_verified());
            assert_eq!(held.verified, verified.count(), "{id}");
        }
        assert!(self.grants.len() <= self.config.limits.grants);
        assert!(self.pending <= self.config.limits.pending);
        assert!(self.connections.len() <= self.config.limits.connections + self.config.limits.pending);
        assert!(self.records.len() <= self.config.limits.records);
    }
}

fn is(message: &Message, wanted: State) -> bool {
    matches!(message, Message::TunnelState(state) if state.state() == wanted)
}

fn signed_cookie(output: Output) -> Option<Cookie> {
    match output {
        Output::Sign(record) => Some(record.cookie),
        _ => None,
    }
}

/// The OPEN of the sample grant with a cookie made of `n`.
fn open(n: u32) -> Open {
    let mut cookie = vec![1; 20];
    if n != 1 {
        cookie[..4].copy_from_slice(&n.to_be_bytes());
    }
    Open { grant: sample().id.to_vec().into(), cookie: cookie.into(), expires_ms: 30_000 }
}

fn to(host: &str) -> Grant {
    Grant { host: Host::parse(host).unwrap(), ..sample() }
}

/// A key set in which `public` signs grants.
pub(crate) fn key_set(public: &PublicKey) -> KeySet {
    let public = public.as_bytes().to_vec().into();
    let key = Key { purpose: Purpose::Grant.into(), public, not_before: 0, not_after: 0 };
    KeySet { fabric: vec![0; 16].into(), version: 1, keys: vec![key] }
}

const FIRST: Go = Go { session: None, connection: 0 };
const LOCAL: &str = "127.0.0.1:22";
const CLOCK: u64 = 1_700_000_000;
const END: PairEnd = PairEnd { to_target: 11, to_initiator: 22, reason: EndReason::Finished };
