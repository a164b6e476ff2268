//! Who reaches what through a grant that was taken.

use super::*;
use crate::target::config::SLACK;

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
fn a_dial_back_nobody_used_is_no_rejection() {
    let mut bench = Bench::new();
    bench.grant(&sample());
    let conn = bench.open(1).unwrap();
    bench.input(Input::DialedBack { conn, result: Ok(()) });
    assert_eq!(bench.input(Input::Unused { conn }), []);
    bench.target.check_counts();
    assert!(bench.open(2).is_some(), "its place is free again");
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
fn connections_over_the_limit_are_bounded_while_they_wait_to_be_told() {
    let mut bench = Bench::new();
    bench.target.config.limits = Limits { connections: 20, ..Limits::default() };
    bench.grant(&Grant { connections: NonZeroU32::new(1000).unwrap(), ..sample() });
    let open = |bench: &mut Bench, n| {
        let Some(conn) = bench.open(n) else { return false };
        bench.input(Input::DialedBack { conn, result: Ok(()) });
        bench.input(Input::Handshaken { conn, key: sample().cnf });
        true
    };
    let opened = (0..100).filter(|n| open(&mut bench, *n)).count();
    assert_eq!(opened, 20 + Limits::default().pending);
    bench.target.check_counts();
    assert_eq!(bench.refusal(Input::Go { conn: ConnId(20), go: FIRST }), Refusal::TooMany);
    assert!(open(&mut bench, 100), "whoever was told makes room");
}

#[test]
fn connections_that_never_say_go_are_no_more_than_the_grant_allows_and_are_given_up() {
    let mut bench = Bench::new();
    bench.grant(&Grant { connections: NonZeroU32::new(2).unwrap(), ..sample() });
    let session = bench.carried(0);
    bench.verified(1);
    let conn = bench.verified(2);
    let go = Go { session: Some(session), connection: 2 };
    assert_eq!(bench.refusal(Input::Go { conn, go: go.clone() }), Refusal::TooMany);
    assert_eq!(bench.target.connections(), 2);
    let outputs = bench.wait(GO_WAIT + SLACK);
    assert!(matches!(outputs[..], [Output::Answer { .. }, Output::Sign(_)]), "{outputs:?}");
    let conn = bench.verified(3);
    assert!(matches!(bench.input(Input::Go { conn, go })[..], [Output::Dial { .. }]), "its place is free");
    bench.target.check_counts();
}

#[test]
fn one_that_was_ready_and_not_needed_is_recorded_as_finished() {
    let mut bench = Bench::new();
    bench.grant(&sample());
    bench.carried(1);
    let conn = bench.verified(2);
    let end = PairEnd { to_target: 0, to_initiator: 0, reason: EndReason::Finished };
    let [Output::Sign(record)] = &bench.input(Input::Ended { conn, end })[..] else { panic!() };
    assert_eq!((record.reason, record.resolved), (EndReason::Finished, None));
}

#[test]
fn an_address_the_device_got_since_it_connected_is_no_other_host() {
    let mut bench = Bench::new();
    assert!(!forbids(&mut bench, 11, "10.9.9.9", &["10.9.9.8"]));
    assert!(forbids(&mut bench, 12, "10.9.9.9", &["10.9.9.9"]));
    assert!(forbids(&mut bench, 13, "10.9.9.9", &[]), "the last good list stays");
    assert!(!forbids(&mut bench, 14, "10.9.9.9", &["10.9.9.8"]));
    assert!(forbids(&mut bench, 15, "10.1.2.3", &["10.9.9.8"]), "the server's stay forbidden");
}

/// Whether grant `n`, to `host`, ends in a refusal while the device says that it has the addresses `own`.
fn forbids(bench: &mut Bench, n: u8, host: &str, own: &[&str]) -> bool {
    bench.grant(&Grant { id: GrantId::new([n; 16]), ..to(host) });
    let outputs = bench.input(Input::Open(Open { grant: vec![n; 16].into(), ..open(n.into()) }));
    let [Output::DialBack { conn, .. }] = outputs[..] else { panic!("{outputs:?}") };
    bench.input(Input::DialedBack { conn, result: Ok(()) });
    bench.input(Input::Handshaken { conn, key: sample().cnf });
    bench.input(Input::OwnAddresses(own.iter().map(|text| text.parse().unwrap()).collect()));
    match &bench.input(Input::Go { conn, go: FIRST })[..] {
        [Output::Answer { answer: Answer::Refused { reason: Refusal::Forbidden, .. }, .. }, ..] => true,
        [Output::Dial { .. }] => false,
        outputs => panic!("{outputs:?}"),
    }
}
