//! Dial-backs kept ready, and who waits for them.

use super::*;

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
