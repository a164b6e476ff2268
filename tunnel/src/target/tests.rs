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

#[test]
fn a_good_grant_is_accepted_and_its_connection_carried() {
    let mut bench = Bench::new();
    assert_eq!(bench.grant(&sample()), (State::GrantAccepted, String::new()));
    let conn = bench.verified(1);
    let outputs = bench.input(Input::Go { conn, go: FIRST });
    let loopback = ["127.0.0.1:22", "[::1]:22"].map(|text| text.parse().unwrap()).to_vec();
    assert_eq!(outputs, [Output::Dial { conn, addresses: loopback }]);
    let outputs = bench.input(Input::Dialed { conn, result: Ok(LOCAL.parse().unwrap()) });
    let [Output::Answer { answer: Answer::Ready { address, .. }, .. }, Output::Carry { limits, .. }] =
        &outputs[..]
    else {
        panic!("{outputs:?}")
    };
    assert_eq!(address, LOCAL);
    assert_eq!(limits.idle, sample().idle);
    assert_eq!(limits.deadline, Some(bench.now + sample().session));
}

#[test]
fn a_grant_that_is_not_for_this_device_now_is_refused_with_the_reason() {
    let other = SigningKey::generate_ed25519();
    let cases: [(Grant, &str); 7] = [
        (Grant { device: DeviceId::new([9; 16]), ..sample() }, "the grant is for another device"),
        (Grant { tenant: TenantId::new([9; 16]), ..sample() }, "the grant is for another tenant"),
        (Grant { audience: ServerId::new([9; 16]), ..sample() }, "the grant is for another server"),
        (Grant { epoch: 5, ..sample() }, "the grant is for another session of the agent"),
        (Grant { epoch: 7, ..sample() }, "the grant is for another session of the agent"),
        (
            Grant { route: vec![ServerId::new([9; 16])], ..sample() },
            "the grant has a route of further hops, which this agent does not serve",
        ),
        (Grant { port: 23.try_into().unwrap(), ..sample() }, "the device's own policy forbids port 23"),
    ];
    for (grant, why) in cases {
        let mut bench = Bench::new();
        assert_eq!(bench.grant(&grant), (State::GrantRefused, why.to_owned()));
        assert!(bench.open(1).is_none(), "{why}");
    }
    let mut bench = Bench::new();
    let (state, _) = bench.signed(other.sign(Context::Grant, sample().encode()));
    assert_eq!(state, State::GrantRefused);
    let (state, _) = bench.signed(bench.key.sign(Context::TunnelRecord, sample().encode()));
    assert_eq!(state, State::GrantRefused);
}

#[test]
fn no_truncated_or_bit_flipped_grant_is_taken() {
    let mut bench = Bench::new();
    let good = bench.key.sign(Context::Grant, sample().encode());
    for at in 0..good.bytes.len() {
        let cut = Signed { bytes: good.bytes.slice(..at), ..good.clone() };
        assert_eq!(bench.signed(cut).0, State::GrantRefused, "{at} bytes");
        for bit in 0..8 {
            let mut bytes = good.bytes.to_vec();
            bytes[at] ^= 1 << bit;
            let flipped = Signed { bytes: bytes.into(), ..good.clone() };
            assert_eq!(bench.signed(flipped).0, State::GrantRefused, "bit {bit} of byte {at}");
        }
    }
    // The control: the same bytes unchanged are taken.
    assert_eq!(bench.signed(good).0, State::GrantAccepted);
}

#[test]
fn a_grant_is_taken_once_even_after_it_ended() {
    let mut bench = Bench::new();
    bench.grant(&sample());
    assert_eq!(bench.grant(&sample()), (State::GrantRefused, "the grant came before".into()));
    bench.wait(START_LIMIT);
    assert_eq!(bench.grant(&sample()), (State::GrantRefused, "the grant came before".into()));
}

#[test]
fn a_grant_from_before_a_restart_of_the_agent_is_refused() {
    let mut bench = Bench::new();
    let signed = bench.key.sign(Context::Grant, sample().encode());
    assert_eq!(bench.signed(signed.clone()).0, State::GrantAccepted);
    let mut again = Bench { key: bench.key.clone(), ..Bench::new() };
    let keys = Arc::new(key_set(again.key.public()));
    again.input(Input::Keys(keys));
    again.connect(sample().epoch + 1);
    let refused = "the grant is for another session of the agent".to_owned();
    assert_eq!(again.signed(signed), (State::GrantRefused, refused));
}

#[test]
fn no_clock_decides_whether_a_grant_is_taken() {
    // The test's key set was valid for one second of 1970, and the grant was minted in 2023.
    for clock in [0, CLOCK - 864_000, CLOCK + 864_000, u64::MAX] {
        let mut bench = Bench::new();
        let relay = Some(sample().audience);
        bench.input(Input::Connected { epoch: sample().epoch, clock, forbidden: Vec::new(), relay });
        assert_eq!(bench.grant(&sample()).0, State::GrantAccepted, "{clock}");
        bench.carried(1);
        bench.wait(Duration::from_secs(5));
        assert_eq!(bench.record(ConnId(0)).closed, clock.saturating_add(5));
    }
}

#[test]
fn a_grant_before_any_key_set_or_without_a_session_is_refused() {
    let mut bench = Bench::new();
    bench.target.keys = None;
    assert_eq!(bench.grant(&sample()).1, "the device has no key set yet");
    let mut bench = Bench::new();
    bench.input(Input::Disconnected);
    let signed = bench.key.sign(Context::Grant, sample().encode());
    assert_eq!(bench.input(Input::Grant(signed)), []);
    assert!(bench.target.grants.is_empty());
}

#[test]
fn a_grant_not_begun_in_time_is_over() {
    let mut bench = Bench::new();
    bench.grant(&sample());
    bench.wait(START_LIMIT);
    assert!(bench.open(1).is_none());
    assert!(bench.target.is_idle());
}

#[test]
fn a_stolen_blob_with_another_key_reaches_no_target() {
    let mut bench = Bench::new();
    bench.grant(&sample());
    let conn = bench.open(1).unwrap();
    bench.input(Input::DialedBack { conn, result: Ok(()) });
    let key = SigningKey::generate_p256().public().clone();
    let outputs = bench.input(Input::Handshaken { conn, key });
    assert!(matches!(&outputs[..], [Output::Drop { .. }, Output::Send(state)] if is(state, State::Rejected)));
    assert_eq!(bench.input(Input::Go { conn, go: FIRST }), []);
    // It burnt nothing: the operator's own key still begins the session.
    let conn = bench.verified(2);
    assert!(matches!(bench.input(Input::Go { conn, go: FIRST })[..], [Output::Dial { .. }]));
}

#[test]
fn no_packet_leaves_for_the_target_before_go() {
    let mut bench = Bench::new();
    bench.grant(&to("files.lan"));
    let conn = bench.open(1).unwrap();
    for input in [
        Input::Go { conn, go: FIRST },
        Input::Resolved { conn, addresses: Ok(vec!["10.0.0.7".parse().unwrap()]) },
        Input::Dialed { conn, result: Ok("10.0.0.7:22".parse().unwrap()) },
        Input::DialedBack { conn, result: Ok(()) },
        Input::Go { conn, go: FIRST },
    ] {
        assert_eq!(bench.input(input), []);
    }
}

#[test]
fn of_a_thousand_redeemers_with_the_right_key_one_gets_the_session() {
    let mut bench = Bench::new();
    let connections = NonZeroU32::new(1000).unwrap();
    bench.grant(&Grant { connections, ..sample() });
    let conns: Vec<_> = (0..1000).map(|n| bench.verified(n)).collect();
    let (mut dialled, mut in_use) = (0, 0);
    for conn in conns {
        for output in bench.input(Input::Go { conn, go: FIRST }) {
            match output {
                Output::Dial { .. } => dialled += 1,
                Output::Answer { answer: Answer::Refused { reason: Refusal::InUse, .. }, .. } => in_use += 1,
                Output::Sign(_) => {}
                output => panic!("{output:?}"),
            }
        }
    }
    assert_eq!((dialled, in_use), (1, 999));
}

#[test]
fn a_session_takes_who_shows_its_id_and_nobody_else() {
    let mut bench = Bench::new();
    bench.grant(&sample());
    let session = bench.carried(1);
    let conn = bench.verified(2);
    let wrong = Go { session: Some(SessionId::new([0; 16])), connection: 1 };
    assert_eq!(bench.refusal(Input::Go { conn, go: wrong }), Refusal::WrongSession);
    let conn = bench.verified(3);
    let right = Go { session: Some(session), connection: 2 };
    assert!(matches!(bench.input(Input::Go { conn, go: right })[..], [Output::Dial { .. }]));
}

#[test]
fn a_connection_over_the_limit_is_refused_until_another_ends() {
    let mut bench = Bench::new();
    bench.grant(&Grant { connections: NonZeroU32::new(1).unwrap(), ..sample() });
    let session = bench.carried(1);
    let go = Go { session: Some(session), connection: 1 };
    let conn = bench.verified(2);
    assert_eq!(bench.refusal(Input::Go { conn, go: go.clone() }), Refusal::TooMany);
    bench.input(Input::Ended { conn: ConnId(0), end: END });
    let conn = bench.verified(3);
    assert!(matches!(bench.input(Input::Go { conn, go })[..], [Output::Dial { .. }]));
}

#[test]
fn a_forbidden_address_is_never_dialled_however_it_is_named() {
    for (host, addresses) in [
        ("127.0.0.1", vec![]),
        ("::ffff:127.0.0.1", vec![]),
        ("10.1.2.3", vec![]),
        ("localhost", vec!["127.0.0.1", "::1"]),
        ("rebound.example", vec!["169.254.169.254"]),
        ("mapped.example", vec!["::ffff:10.1.2.3"]),
    ] {
        let mut bench = Bench::new();
        bench.grant(&to(host));
        let conn = bench.verified(1);
        let go = Input::Go { conn, go: FIRST };
        let refusal = match addresses.is_empty() {
            true => bench.refusal(go),
            false => {
                assert!(matches!(bench.input(go)[..], [Output::Resolve { .. }]));
                let addresses = Ok(addresses.iter().map(|text| text.parse().unwrap()).collect());
                bench.refusal(Input::Resolved { conn, addresses })
            }
        };
        assert_eq!(refusal, Refusal::Forbidden, "{host}");
    }
}

#[test]
fn a_name_is_resolved_once_and_only_its_allowed_addresses_are_dialled() {
    let mut bench = Bench::new();
    bench.grant(&to("files.lan"));
    let conn = bench.verified(1);
    bench.input(Input::Go { conn, go: FIRST });
    let mixed = ["127.0.0.1", "10.0.0.7", "fe80::1"].map(|text| text.parse().unwrap()).to_vec();
    let outputs = bench.input(Input::Resolved { conn, addresses: Ok(mixed) });
    assert_eq!(outputs, [Output::Dial { conn, addresses: vec!["10.0.0.7:22".parse().unwrap()] }]);
    // A second answer, and one that was never asked for, change nothing.
    let second = Ok(vec!["10.0.0.8".parse().unwrap()]);
    assert_eq!(bench.input(Input::Resolved { conn, addresses: second }), []);
    let other = Input::Dialed { conn, result: Ok("10.0.0.8:22".parse().unwrap()) };
    assert_eq!(bench.refusal(other), Refusal::Forbidden);
}

#[test]
fn the_operator_reads_why_a_target_is_not_reached() {
    let refused = |host, inputs: fn(ConnId) -> Vec<Input>| {
        let mut bench = Bench::new();
        bench.grant(&to(host));
        let conn = bench.verified(1);
        let mut inputs = inputs(conn);
        let last = inputs.pop().unwrap();
        inputs.into_iter().for_each(|input| drop(bench.input(input)));
        bench.refusal(last)
    };
    let nobody =
        |conn| vec![Input::Go { conn, go: FIRST }, Input::Dialed { conn, result: Err("refused".into()) }];
    assert_eq!(refused("", nobody), Refusal::Unreachable);
    let no_name =
        |conn| vec![Input::Go { conn, go: FIRST }, Input::Resolved { conn, addresses: Err("no".into()) }];
    assert_eq!(refused("files.lan", no_name), Refusal::Unresolved);
}

#[test]
fn every_stage_has_its_time() {
    let mut bench = Bench::new();
    bench.grant(&to("files.lan"));
    let conn = bench.open(1).unwrap();
    let outputs = bench.wait(SPARE_LIFE + HANDSHAKE_WAIT);
    assert!(matches!(outputs[..], [Output::Drop { .. }, Output::Send(_)]), "{conn:?}: {outputs:?}");
    let late = |bench: &mut Bench, wait| {
        let outputs = bench.wait(wait);
        let refused = Answer::Refused { reason: Refusal::TimedOut, detail: Refusal::TimedOut.to_string() };
        assert!(matches!(&outputs[0], Output::Answer { answer, .. } if *answer == refused), "{outputs:?}");
    };
    bench.verified(2);
    late(&mut bench, GO_WAIT);
    let conn = bench.verified(3);
    bench.input(Input::Go { conn, go: FIRST });
    late(&mut bench, RESOLVE_WAIT);
}

#[test]
fn the_session_maximum_ends_what_is_carried() {
    let mut bench = Bench::new();
    bench.grant(&sample());
    bench.carried(1);
    bench.wait(sample().session - Duration::from_secs(1));
    assert_eq!(bench.target.connections(), 1);
    let outputs = bench.wait(Duration::from_secs(1));
    assert_eq!(outputs, [Output::Cut { conn: ConnId(0), reason: EndReason::SessionOver }]);
    assert_eq!(bench.record(ConnId(0)).reason, EndReason::SessionOver);
    assert!(bench.target.is_idle());
}

#[test]
fn connections_survive_the_loss_of_control_until_the_orphan_limit() {
    let mut bench = Bench::new();
    bench.grant(&sample());
    bench.carried(1);
    bench.input(Input::Disconnected);
    assert_eq!(bench.wait(ORPHAN_LIMIT - Duration::from_secs(1)), []);
    let outputs = bench.wait(Duration::from_secs(1));
    assert_eq!(outputs, [Output::Cut { conn: ConnId(0), reason: EndReason::Orphaned }]);
}

#[test]
fn a_reconnect_ends_the_orphan_limit_reports_live_grants_and_voids_them_for_new_connections() {
    let mut bench = Bench::new();
    bench.grant(&sample());
    bench.grant(&Grant { id: GrantId::new([8; 16]), ..sample() });
    let session = bench.carried(1);
    let waiting = bench.verified(2);
    bench.input(Input::Disconnected);
    bench.wait(Duration::from_secs(5));
    let outputs = bench.connect(7);
    let live = Tunnels { grants: vec![sample().id.to_vec().into()] };
    assert!(outputs.contains(&Output::Send(Message::Tunnels(live))), "{outputs:?}");
    let refused = |output: &Output| matches!(output, Output::Answer { conn, .. } if *conn == waiting);
    assert!(outputs.iter().any(refused), "a connection not carried yet does not survive");
    assert!(bench.open(3).is_none());
    bench.wait(ORPHAN_LIMIT);
    assert_eq!(bench.target.connections(), 1);
    bench.input(Input::Ended { conn: ConnId(0), end: END });
    assert!(bench.target.is_idle(), "a void grant is forgotten with its last connection");
    let _ = session;
}

#[test]
fn a_grant_of_the_last_session_is_refused_in_the_next() {
    let mut bench = Bench::new();
    bench.connect(7);
    assert_eq!(bench.grant(&sample()).0, State::GrantRefused);
}

#[test]
fn a_revoked_grant_is_cut_at_once_in_every_stage() {
    let mut bench = Bench::new();
    bench.grant(&sample());
    bench.carried(1);
    let pending = bench.open(2).unwrap();
    let verified = bench.verified(3);
    let grants = vec![sample().id.to_vec().into()];
    let outputs = bench.input(Input::Revoke(Revoke { grants, reason: String::new() }));
    assert!(outputs.contains(&Output::Cut { conn: ConnId(0), reason: EndReason::Revoked }));
    assert!(outputs.contains(&Output::Drop { conn: pending }));
    let told = |output: &Output| {
        let Output::Answer { conn, answer: Answer::Refused { reason: Refusal::Over, .. } } = output else {
            return false;
        };
        *conn == verified
    };
    assert!(outputs.iter().any(told), "{outputs:?}");
    assert_eq!(bench.record(ConnId(0)).reason, EndReason::Revoked);
    assert!(bench.open(4).is_none());
    assert_eq!(bench.grant(&sample()).0, State::GrantRefused, "and it does not come back");
}

#[test]
fn every_verified_connection_leaves_one_record_dated_by_the_servers_clock() {
    let mut bench = Bench::new();
    bench.grant(&sample());
    bench.wait(Duration::from_secs(3));
    bench.carried(1);
    bench.wait(Duration::from_secs(4));
    let record = bench.record(ConnId(0));
    let expected = TunnelRecord {
        grant: sample().id,
        cookie: Cookie::new([1; 20]),
        device: sample().device,
        resolved: Some(LOCAL.parse().unwrap()),
        opened: CLOCK + 3,
        closed: CLOCK + 7,
        to_target: 11,
        to_initiator: 22,
        reason: EndReason::Finished,
    };
    assert_eq!(record, expected);
    assert_eq!(bench.input(Input::Ended { conn: ConnId(0), end: END }), []);
}

#[test]
fn records_are_kept_until_they_are_confirmed_and_sent_again_on_the_next_connection() {
    let mut bench = Bench::new();
    bench.grant(&sample());
    bench.carried(1);
    bench.input(Input::Disconnected);
    assert_eq!(bench.input(Input::Ended { conn: ConnId(0), end: END }), [], "nobody to send it to");
    for epoch in [7, 8] {
        let outputs = bench.connect(epoch);
        assert!(matches!(outputs[..], [Output::Sign(_)]), "{outputs:?}");
    }
    bench.input(Input::Recorded(Recorded { cookie: vec![1; 20].into() }));
    assert_eq!(bench.target.unconfirmed(), 0);
    assert_eq!(bench.connect(9), []);
}

#[test]
fn kept_records_are_bounded_and_sent_as_fast_as_they_are_confirmed() {
    let mut bench = Bench::new();
    bench.target.config.limits.records = 100;
    bench.grant(&Grant { connections: NonZeroU32::new(1000).unwrap(), ..sample() });
    let mut sent = 0;
    for n in 0..300 {
        let conn = bench.verified(n);
        let outputs = bench.input(Input::Ended { conn, end: END });
        sent += outputs.iter().filter(|output| matches!(output, Output::Sign(_))).count();
    }
    assert_eq!(bench.target.unconfirmed(), 100);
    let mut cookies: VecDeque<_> = bench.connect(7).into_iter().filter_map(signed_cookie).collect();
    assert!(sent < 300 && cookies.len() == 32, "{sent} {}", cookies.len());
    let mut confirmed = 0;
    while let Some(cookie) = cookies.pop_front() {
        let recorded = Recorded { cookie: cookie.as_bytes().to_vec().into() };
        cookies.extend(bench.input(Input::Recorded(recorded)).into_iter().filter_map(signed_cookie));
        confirmed += 1;
    }
    assert_eq!((confirmed, bench.target.unconfirmed()), (100, 0));
}

#[test]
fn dial_backs_that_are_pending_are_bounded() {
    let mut bench = Bench::new();
    bench.grant(&sample());
    let opened = (0..100).filter(|n| bench.open(*n).is_some()).count();
    assert_eq!(opened, Limits::default().pending);
}

#[test]
fn the_same_open_again_changes_nothing() {
    let mut bench = Bench::new();
    bench.grant(&sample());
    assert!(bench.open(1).is_some());
    assert_eq!(bench.input(Input::Open(open(1))), []);
}

#[test]
fn grants_are_bounded_and_a_resting_session_makes_room() {
    let mut bench = Bench::new();
    let grant = |n: u8| Grant { id: GrantId::new([n; 16]), ..sample() };
    bench.grant(&sample());
    bench.carried(1);
    for n in 100..163 {
        assert_eq!(bench.grant(&grant(n)).0, State::GrantAccepted);
    }
    let full = (State::GrantRefused, "the device holds as many grants as it keeps".to_owned());
    assert_eq!(bench.grant(&grant(200)), full);
    bench.input(Input::Ended { conn: ConnId(0), end: END });
    assert_eq!(bench.grant(&grant(200)).0, State::GrantAccepted);
    assert_eq!(bench.target.grants.len(), 64);
    assert!(bench.open(2).is_none(), "the session that rested is over");
}

#[test]
fn a_session_without_connections_is_over_after_the_idle_limit() {
    let mut bench = Bench::new();
    bench.grant(&sample());
    bench.carried(1);
    bench.input(Input::Ended { conn: ConnId(0), end: END });
    bench.wait(sample().idle - Duration::from_secs(1));
    assert_eq!(bench.target.grants.len(), 1);
    bench.wait(Duration::from_secs(1));
    assert!(bench.target.is_idle());
}

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
        tables && (self.pending, self.verified, self.timers.len()) == (0, 0, 0)
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
