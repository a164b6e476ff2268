//! Pairs whose sockets end before the agent's word on them comes.

use super::*;
use crate::relay::late::LATE_LIMIT;

#[test]
fn a_pair_verified_after_its_end_has_the_record_it_would_have_had_before() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    let (pair, cookie) = bench.joined(0);
    let closed = bench.now;
    assert_eq!(bench.input(Input::Ended { pair, end: END }), []);
    bench.wait(Duration::from_secs(1));
    let outputs = bench.state(cookie, State::Verified);
    let [Output::Record(late)] = &outputs[..] else { panic!("{outputs:?}") };
    let (pair, cookie) = bench.joined(1);
    bench.state(cookie, State::Verified);
    let outputs = bench.input(Input::Ended { pair, end: END });
    let [Output::Record(usual)] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((late.grant, late.end, late.closed), (usual.grant, END, closed));
}

#[test]
fn a_pair_verified_after_its_end_uses_up_its_label_and_begins_the_session() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    let (pair, cookie) = bench.joined(0);
    bench.input(Input::Ended { pair, end: END });
    bench.state(cookie, State::Verified);
    assert!(bench.relay.tunnels().all(|tunnel| tunnel.begun));
    let outputs = bench.initiator(0).1;
    assert!(matches!(outputs[..], [_, Output::Refused { why: RefusedHello::Used, .. }]), "{outputs:?}");
    bench.wait(sample().idle);
    assert_eq!(bench.relay.tunnels().count(), 0, "it rests like any session without a pair");
}

#[test]
fn a_pair_never_verified_leaves_no_record_whether_it_is_rejected_or_nothing_is_said() {
    for told in [Some(State::Rejected), None] {
        let mut bench = Bench::new();
        bench.admit(&sample());
        let (pair, cookie) = bench.joined(0);
        bench.wait(SETTLE);
        bench.input(Input::Ended { pair, end: END });
        let outputs = match told {
            Some(state) => bench.state(cookie, state),
            None => bench.wait(VERIFY_WAIT),
        };
        assert!(
            matches!(outputs[..], [Output::Refused { why: RefusedHello::Rejected, .. }]),
            "{told:?}: {outputs:?}"
        );
        assert_eq!(bench.state(cookie, State::Verified), [], "{told:?}: what was decided stays");
        assert!(bench.relay.late.is_empty());
    }
}

#[test]
fn a_pair_cut_with_its_grant_has_a_record_when_the_device_had_verified_it() {
    for ended_first in [true, false] {
        let mut bench = Bench::new();
        bench.admit(&sample());
        let (pair, cookie) = bench.joined(0);
        bench.input(Input::Revoke(Scope::All));
        let outputs = match ended_first {
            true => {
                bench.input(Input::Ended { pair, end: END });
                bench.state(cookie, State::Verified)
            }
            false => {
                bench.state(cookie, State::Verified);
                bench.input(Input::Ended { pair, end: END })
            }
        };
        let [Output::Record(record)] = &outputs[..] else { panic!("{ended_first}: {outputs:?}") };
        assert_eq!(record.end.reason, EndReason::Revoked);
        bench.relay.check_counts();
    }
}

#[test]
fn another_device_has_no_say_in_a_pair_that_has_ended() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    let (pair, cookie) = bench.joined(0);
    bench.input(Input::Ended { pair, end: END });
    for state in [State::Verified, State::Rejected] {
        assert_eq!(bench.input(Input::State(told(cookie, state), DeviceId::new([9; 16]))), []);
    }
    let outputs = bench.state(cookie, State::Verified);
    assert!(matches!(outputs[..], [Output::Record(_)]), "its own device has: {outputs:?}");
}

#[test]
fn ended_pairs_without_a_word_are_bounded_for_each_device() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    let (mut cookies, mut given_up) = (Vec::new(), 0);
    for _ in 0..=LATE_LIMIT {
        let (pair, cookie) = bench.joined(0);
        given_up += bench.input(Input::Ended { pair, end: END }).len();
        cookies.push(cookie);
    }
    assert_eq!(given_up, 1);
    assert_eq!(bench.state(cookies[0], State::Verified), [], "the oldest was given up");
    let outputs = bench.state(cookies[1], State::Verified);
    assert!(matches!(outputs[..], [Output::Record(_)]), "{outputs:?}");
}
