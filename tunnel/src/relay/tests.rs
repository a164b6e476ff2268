use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use klnet_wire::id::{OperatorId, ServerId, TenantId};
use klnet_wire::message::tunnel::State;
use klnet_wire::message::{TunnelState, Tunnels};

use super::*;
use crate::grant::tests::sample;
use crate::grant::{Grant, ORPHAN_LIMIT, START_LIMIT};
use crate::label::LabelSecret;
use crate::pair::PairEnd;

#[test]
fn a_grant_asks_for_a_dial_back_at_mint_and_joins_it_at_once() {
    let mut bench = Bench::new();
    let cookies = bench.admit(&sample());
    assert_eq!(cookies.len(), 1);
    let target = bench.target(cookies[0]);
    assert_eq!(target.1, []);
    let (initiator, outputs) = bench.initiator(0);
    let [Output::Join { initiator: i, target: t, limits, .. }, Output::Open { .. }] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert_eq!((*i, *t), (initiator, target.0));
    assert_eq!((limits.idle, limits.deadline), (sample().idle, Some(bench.now + sample().session)));
}

#[test]
fn an_initiator_waits_for_a_dial_back_that_is_late() {
    let mut bench = Bench::new();
    let cookies = bench.admit(&sample());
    let (_, outputs) = bench.initiator(0);
    assert_eq!(outputs, []);
    assert!(matches!(bench.target(cookies[0]).1[..], [Output::Join { .. }, Output::Open { .. }]));
}

#[test]
fn an_initiator_whose_dial_back_never_comes_is_dropped_and_its_label_free_again() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    let (conn, _) = bench.initiator(0);
    assert_eq!(bench.dropped(INITIATOR_WAIT), (vec![conn], vec![RefusedHello::NoTarget]));
    assert_eq!(bench.initiator(0).1, []);
}

#[test]
fn a_grant_that_is_wrong_is_not_admitted() {
    let cases = [
        (Grant { audience: ServerId::new([9; 16]), ..sample() }, AdmitError::Audience),
        (Grant { route: vec![ServerId::new([9; 16])], ..sample() }, AdmitError::Route),
        (Grant { issued: UNIX - 61, ..sample() }, AdmitError::Expired),
        (Grant { issued: UNIX + 31, ..sample() }, AdmitError::Future),
        (Grant { device: DeviceId::new([9; 16]), ..sample() }, AdmitError::Offline),
        (Grant { epoch: 5, ..sample() }, AdmitError::Epoch),
    ];
    for (grant, why) in cases {
        let mut bench = Bench::new();
        assert_eq!(bench.try_admit(&grant), Err(why));
        assert!(bench.drain().is_empty() && bench.relay.is_idle(), "{why}");
    }
}

#[test]
fn a_grant_is_admitted_once_even_after_it_was_revoked_or_ended() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    assert_eq!(bench.try_admit(&sample()), Err(AdmitError::Replayed));
    bench.input(Input::Revoke(Scope::All));
    assert_eq!(bench.try_admit(&sample()), Err(AdmitError::Replayed));
    bench.wait(START_LIMIT);
    assert_eq!(
        bench.try_admit(&sample()),
        Err(AdmitError::Replayed),
        "a clock that stands still helps nobody"
    );
    bench.wait(2 * CLOCK_SKEW);
    assert!(bench.relay.spent.is_empty(), "what is too old to be admitted need not be remembered");
}

#[test]
fn labels_and_cookies_of_before_a_restart_of_the_relay_lead_nowhere() {
    let mut before = Bench::new();
    let cookie = before.admit(&sample())[0];
    let mut after = Bench::new();
    after.relay.config.secret = [8; 32];
    for outputs in [after.initiator(0).1, after.target(cookie).1] {
        assert!(
            matches!(outputs[..], [Output::Drop { .. }, Output::Refused { why: RefusedHello::Unknown, .. }]),
            "{outputs:?}"
        );
    }
}

#[test]
fn every_refused_hello_looks_the_same() {
    let used = |bench: &mut Bench| bench.used(0);
    let pairing = |bench: &mut Bench| drop(bench.initiator(0));
    let revoked = |bench: &mut Bench| drop(bench.input(Input::Revoke(Scope::All)));
    let expired = |bench: &mut Bench| drop(bench.wait(START_LIMIT));
    let offline = |bench: &mut Bench| drop(bench.input(Input::Offline { device: sample().device }));
    let other_epoch = |bench: &mut Bench| drop(bench.online(7));
    let full = |bench: &mut Bench| bench.relay.config.limits.initiators = 0;
    type Prepare<'a> = &'a dyn Fn(&mut Bench);
    let before: [(Prepare<'_>, RefusedHello); 7] = [
        (&used, RefusedHello::Used),
        (&pairing, RefusedHello::Pairing),
        (&revoked, RefusedHello::Unknown),
        (&expired, RefusedHello::Unknown),
        (&offline, RefusedHello::NoTarget),
        (&other_epoch, RefusedHello::Unknown),
        (&full, RefusedHello::Full),
    ];
    for (prepare, expected) in before {
        let mut bench = Bench::new();
        bench.admit(&sample());
        prepare(&mut bench);
        let (refused, outputs) = bench.initiator(0);
        let [Output::Drop { conn }, Output::Refused { why, .. }] = outputs[..] else {
            panic!("{expected:?}: {outputs:?}")
        };
        assert_eq!((conn, why), (refused, expected));
    }
}

#[test]
fn a_label_far_ahead_is_unknown_until_the_window_reaches_it() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    assert!(matches!(bench.initiator(32).1[..], [Output::Drop { .. }, Output::Refused { .. }]));
    bench.used(0);
    assert!(!matches!(bench.initiator(32).1[..], [Output::Drop { .. }, ..]));
}

#[test]
fn each_label_pairs_once() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    let (mut joined, mut refused) = (0, 0);
    for n in 0..10 {
        bench.used(n);
        joined += 1;
        for _ in 0..3 {
            let outputs = bench.initiator(n).1;
            refused += usize::from(matches!(
                outputs[..],
                [Output::Drop { .. }, Output::Refused { why: RefusedHello::Used, .. }]
            ));
        }
    }
    assert_eq!((joined, refused), (10, 30));
}

#[test]
fn a_copied_label_burns_nothing() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    for _ in 0..100 {
        let (pair, cookie) = bench.joined(0);
        let outputs = bench.state(cookie, State::Rejected);
        assert_eq!(outputs, [Output::Cut { pair, reason: EndReason::Rejected }]);
        let outputs = bench.input(Input::Ended { pair, end: END });
        assert!(matches!(outputs[..], [Output::Refused { why: RefusedHello::Rejected, .. }]));
        assert!(bench.relay.tunnels().all(|tunnel| !tunnel.begun));
    }
    // The operator comes with the same label and is served.
    bench.used(0);
}

#[test]
fn ten_thousand_replayed_hellos_lead_nowhere() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    bench.used(0);
    for _ in 0..10_000 {
        let outputs = bench.initiator(0).1;
        assert!(matches!(outputs[..], [Output::Drop { .. }, Output::Refused { .. }]), "{outputs:?}");
    }
    assert_eq!(bench.relay.pairs.len(), 1);
}

#[test]
fn a_pair_counts_only_once_the_agent_has_verified_it() {
    let mut bench = Bench::new();
    bench.admit(&Grant { connections: NonZeroU32::new(1).unwrap(), ..sample() });
    let (pair, cookie) = bench.joined(0);
    assert!(bench.relay.tunnels().all(|tunnel| !tunnel.begun && !tunnel.pairs[0].verified));
    let (second, _) = bench.joined(1);
    assert_eq!(bench.state(cookie, State::Verified), []);
    assert!(bench.relay.tunnels().all(|tunnel| tunnel.begun && tunnel.pairs[0].verified));
    let outputs = bench.initiator(2).1;
    assert!(matches!(outputs[..], [_, Output::Refused { why: RefusedHello::TooMany, .. }]), "{outputs:?}");
    let cookie = bench.relay.pairs[&second].cookie;
    let outputs = bench.state(cookie, State::Verified);
    assert_eq!(outputs, [Output::Cut { pair: second, reason: EndReason::OverLimit }]);
    bench.input(Input::Ended { pair, end: END });
    bench.input(Input::Ended { pair: second, end: END });
    bench.used(2);
}

#[test]
fn a_pair_that_is_not_verified_in_time_is_cut() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    let (pair, _) = bench.joined(0);
    let outputs = bench.wait(VERIFY_WAIT);
    assert!(outputs.contains(&Output::Cut { pair, reason: EndReason::Rejected }), "{outputs:?}");
}

#[test]
fn an_agent_speaks_for_its_own_connections_only() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    let (_, cookie) = bench.joined(0);
    let state = |cookie: &[u8], state: State| TunnelState {
        grant: sample().id.to_vec().into(),
        cookie: cookie.to_vec().into(),
        state: state.into(),
        reason: String::new(),
    };
    let stranger = DeviceId::new([9; 16]);
    for (cookie, of) in [
        (&cookie.as_bytes()[..], State::Verified),
        (cookie.as_bytes(), State::Rejected),
        (&[], State::GrantRefused),
    ] {
        assert_eq!(bench.input(Input::State(state(cookie, of), stranger)), []);
    }
    assert!(bench.relay.tunnels().all(|tunnel| !tunnel.begun && tunnel.pairs.len() == 1));
    let own = Input::State(state(&[], State::GrantRefused), sample().device);
    assert!(bench.input(own).iter().any(|output| matches!(output, Output::Cut { .. })), "the control");
}

#[test]
fn a_cookie_is_good_for_one_socket_and_thirty_seconds() {
    let mut bench = Bench::new();
    let cookie = bench.admit(&sample())[0];
    let (first, outputs) = bench.target(cookie);
    assert_eq!(outputs, []);
    let (second, outputs) = bench.target(cookie);
    assert!(matches!(outputs[..], [Output::Drop { conn }, Output::Refused { .. }] if conn == second));
    assert_eq!(bench.wait(SPARE_LIFE), [Output::Drop { conn: first }]);
    let (late, outputs) = bench.target(cookie);
    assert!(matches!(outputs[..], [Output::Drop { conn }, Output::Refused { .. }] if conn == late));
}

#[test]
fn waiting_dial_backs_are_bounded_for_each_grant_device_operator_and_relay() {
    // One grant, many waiters.
    let mut bench = Bench::new();
    let mut asked = bench.admit(&sample()).len();
    for n in 0..16 {
        asked += opened(&bench.initiator(n).1).len();
    }
    assert_eq!(asked, 2, "for a grant");

    // Many grants, of one device, one operator, or of different ones.
    let grant = |n: u32, device: u32, operator: u32| Grant {
        id: id(n),
        device: id(device),
        operator: id(operator),
        ..sample()
    };
    for (limit, whose) in [(8, "device"), (64, "operator"), (1024, "relay")] {
        let mut bench = Bench::new();
        let mut asked = 0;
        for n in 0..1200 {
            let grant = match whose {
                "device" => grant(n, 1, n),
                "operator" => grant(n, n, 1),
                _ => grant(n, n, n),
            };
            bench.input(Input::Online { device: grant.device, epoch: grant.epoch });
            if bench.try_admit(&grant).is_ok() {
                asked += opened(&bench.drain()).len();
            }
        }
        assert_eq!(asked, limit, "for a {whose}");
    }
}

#[test]
fn an_initiator_short_of_room_is_served_once_there_is_some() {
    let mut bench = Bench::new();
    bench.relay.config.limits.spares_per_device = 1;
    let cookie = bench.admit(&sample())[0];
    let other = Grant { id: GrantId::new([8; 16]), ..sample() };
    assert_eq!(bench.admit(&other), []);
    let (_, outputs) = bench.initiator_of(other.id, 0);
    assert_eq!(outputs, [], "no room to ask");
    let (kept, outputs) = bench.target(cookie);
    let [Output::Drop { conn }, Output::Open { open, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((*conn, &open.grant[..]), (kept, &other.id.as_bytes()[..]), "what is only kept ready yields");
}

#[test]
fn grants_are_bounded_for_each_device_operator_tenant_and_relay() {
    let mut limits = Limits { grants_per_device: 2, grants_per_operator: 3, ..Limits::default() };
    (limits.grants_per_tenant, limits.grants) = (4, 5);
    let mut bench = Bench::new();
    bench.relay.config.limits = limits;
    for n in 1..=9 {
        bench.input(Input::Online { device: id(n), epoch: sample().epoch });
    }
    let mut admit = |n: u32, device: u32, operator: u32, tenant: u32| {
        let grant = Grant { id: id(n), device: id(device), ..sample() };
        let operator: OperatorId = id(operator);
        bench.try_admit(&Grant { operator, tenant: id(tenant), ..grant })
    };
    assert_eq!(admit(1, 1, 1, 1), Ok(()));
    assert_eq!(admit(2, 1, 1, 1), Ok(()));
    assert_eq!(admit(3, 1, 1, 1), Err(AdmitError::TooMany("device")));
    assert_eq!(admit(4, 2, 1, 1), Ok(()));
    assert_eq!(admit(5, 2, 1, 1), Err(AdmitError::TooMany("operator")));
    assert_eq!(admit(6, 2, 2, 1), Ok(()));
    assert_eq!(admit(7, 3, 3, 1), Err(AdmitError::TooMany("tenant")));
    assert_eq!(admit(8, 3, 3, 2), Ok(()));
    assert_eq!(admit(9, 4, 4, 3), Err(AdmitError::TooMany("relay")));
}

#[test]
fn a_new_epoch_voids_grants_for_new_pairs_and_lets_live_ones_go_on() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    bench.used(0);
    let (unverified, _) = bench.joined(1);
    let (waiter, _) = bench.waiting(2);
    bench.input(Input::Offline { device: sample().device });
    let outputs = bench.online(7);
    assert!(outputs.contains(&Output::Cut { pair: unverified, reason: EndReason::Rejected }));
    assert!(outputs.contains(&Output::Drop { conn: waiter }), "{outputs:?}");
    assert!(!outputs.contains(&Output::Cut { pair: PairId(0), reason: EndReason::Orphaned }));
    assert!(bench.relay.labels.is_empty());
    bench.wait(ORPHAN_LIMIT);
    assert_eq!(bench.relay.tunnels().count(), 1);
    bench.input(Input::Ended { pair: unverified, end: END });
    let outputs = bench.input(Input::Ended { pair: PairId(0), end: END });
    assert!(matches!(outputs[..], [Output::Record(_)]));
    assert_eq!(bench.relay.tunnels().count(), 0);
}

#[test]
fn a_device_that_stays_away_loses_its_pairs_after_the_orphan_limit() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    bench.used(0);
    bench.input(Input::Offline { device: sample().device });
    let cut = Output::Cut { pair: PairId(0), reason: EndReason::Orphaned };
    assert!(!bench.wait(ORPHAN_LIMIT - Duration::from_secs(1)).contains(&cut));
    assert!(bench.wait(Duration::from_secs(1)).contains(&cut));
}

#[test]
fn a_device_is_told_to_end_the_grants_this_relay_does_not_know() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    let (known, unknown) = (sample().id, GrantId::new([9; 16]));
    let grants = vec![known.to_vec().into(), unknown.to_vec().into()];
    let outputs = bench.input(Input::Tunnels(Tunnels { grants }, sample().device));
    let [Output::RevokeAt { device, grants, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((*device, &grants[..]), (sample().device, &[unknown][..]));
}

#[test]
fn each_scope_cuts_its_own_grants_and_no_others() {
    let mine = sample();
    let other = Grant {
        id: GrantId::new([8; 16]),
        device: DeviceId::new([8; 16]),
        operator: OperatorId::new([8; 16]),
        tenant: TenantId::new([8; 16]),
        ..sample()
    };
    for scope in [
        Scope::Grant(mine.id),
        Scope::Device(mine.device),
        Scope::Operator(mine.operator),
        Scope::Tenant(mine.tenant),
    ] {
        let mut bench = Bench::new();
        bench.input(Input::Online { device: other.device, epoch: other.epoch });
        bench.admit(&mine);
        bench.admit(&other);
        bench.used(0);
        let (unverified, _) = bench.joined(1);
        let (waiter, _) = bench.waiting(2);
        let outputs = bench.input(Input::Revoke(scope));
        for pair in [PairId(0), unverified] {
            assert!(outputs.contains(&Output::Cut { pair, reason: EndReason::Revoked }), "{scope:?}");
        }
        assert!(outputs.contains(&Output::Drop { conn: waiter }), "{scope:?}");
        let grants = vec![mine.id];
        assert!(outputs.contains(&Output::RevokeAt { device: mine.device, grants, reason: "revoked" }));
        let left: Vec<_> = bench.relay.tunnels().map(|tunnel| tunnel.grant.id).collect();
        assert_eq!(left, [other.id], "{scope:?}");
        bench.relay.check_counts();
    }
}

#[test]
fn the_session_maximum_cuts_every_pair() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    bench.used(0);
    bench.used(1);
    let outputs = bench.wait(sample().session);
    let cut = |pair| Output::Cut { pair: PairId(pair), reason: EndReason::SessionOver };
    assert!(outputs.contains(&cut(0)) && outputs.contains(&cut(1)), "{outputs:?}");
    assert_eq!(bench.relay.tunnels().count(), 0);
}

#[test]
fn a_verified_pair_leaves_one_record_with_the_reason_it_was_cut_for() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    bench.used(0);
    let opened = bench.now;
    bench.wait(Duration::from_secs(60));
    bench.input(Input::Revoke(Scope::All));
    let outputs = bench.input(Input::Ended { pair: PairId(0), end: END });
    let [Output::Record(record)] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((record.opened, record.closed), (opened, bench.now));
    assert_eq!(record.end, PairEnd { reason: EndReason::Revoked, ..END });
    assert_eq!(bench.input(Input::Ended { pair: PairId(0), end: END }), []);
}

#[test]
fn a_waiting_socket_that_closes_is_forgotten() {
    let mut bench = Bench::new();
    let cookies = bench.admit(&sample());
    let (initiator, _) = bench.initiator(0);
    bench.input(Input::Gone { conn: initiator });
    let (target, outputs) = bench.target(cookies[0]);
    assert_eq!(outputs, []);
    bench.input(Input::Gone { conn: target });
    assert!(bench.relay.conns.is_empty());
    bench.relay.check_counts();
    assert_eq!(opened(&bench.initiator(0).1).len(), 1, "another dial-back is asked for");
}

#[test]
fn ten_thousand_live_pairs_are_kept_and_ended_without_a_scan() {
    let mut bench = Bench::new();
    let started = Instant::now();
    for n in 0..10_000 {
        let grant =
            Grant { id: id(n), device: id(n / 50), operator: id(n / 1000), tenant: id(n / 8000), ..sample() };
        if n % 50 == 0 {
            bench.input(Input::Online { device: grant.device, epoch: grant.epoch });
        }
        bench.try_admit(&grant).unwrap();
        // All in one instant: dial-backs kept ready for earlier grants fill their operator's room and yield.
        bench.initiator_of(grant.id, 0);
        bench.serve();
    }
    assert_eq!(bench.relay.pairs.len(), 10_000);
    bench.relay.check_counts();
    for n in 0..10_000 {
        bench.input(Input::Ended { pair: PairId(n), end: END });
    }
    assert!(bench.relay.pairs.is_empty());
    // A quadratic step would take minutes; the bound is far above what a slow machine needs.
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

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
