//! Which sockets a relay joins, and when they count.

use super::*;

#[test]
fn a_grant_asks_for_a_dial_back_at_mint_and_joins_it_at_once() {
    let mut bench = Bench::new();
    let cookies = bench.admit(&sample());
    assert_eq!(cookies.len(), 1);
    let target = bench.target(cookies[0]);
    assert_eq!(target.1, []);
    let (initiator, outputs) = bench.initiator(0);
    let [Output::Join { initiator: i, target: t, limits, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((*i, *t), (initiator, target.0));
    assert_eq!(
        (limits.idle, limits.deadline),
        (sample().idle + IDLE_SLACK, Some(bench.now + sample().session))
    );
    assert_eq!(
        opened(&bench.wait(SETTLE)).len(),
        1,
        "the next is asked for when the first bytes have passed"
    );
}

#[test]
fn an_initiator_waits_for_a_dial_back_that_is_late() {
    let mut bench = Bench::new();
    let cookies = bench.admit(&sample());
    let (_, outputs) = bench.initiator(0);
    assert_eq!(outputs, []);
    assert!(matches!(bench.target(cookies[0]).1[..], [Output::Join { .. }]));
    assert_eq!(opened(&bench.wait(SETTLE)).len(), 1);
}

#[test]
fn whoever_waits_has_a_dial_back_asked_for_at_once() {
    let mut bench = Bench::new();
    let cookies = bench.admit(&sample());
    bench.target(cookies[0]);
    assert_eq!(opened(&bench.initiator(0).1), [], "it met the one that was ready");
    assert_eq!(opened(&bench.waiting(1).1).len(), 1);
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
