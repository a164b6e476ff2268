//! What a target keeps about connections that ended.

use super::*;

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
fn a_record_left_out_on_the_way_is_sent_again_without_a_reconnect() {
    let mut bench = Bench::new();
    bench.target.config.limits.records = 100;
    bench.grant(&Grant { connections: NonZeroU32::new(1000).unwrap(), ..sample() });
    for n in 0..50 {
        let conn = bench.verified(n);
        bench.input(Input::Ended { conn, end: END });
    }
    assert_eq!(bench.wait(CONFIRM_WAIT - Duration::from_millis(1)), [], "each may still be confirmed");
    let mut cookies: VecDeque<_> =
        bench.wait(Duration::from_millis(1)).into_iter().filter_map(signed_cookie).collect();
    assert_eq!(cookies.len(), 32);
    while let Some(cookie) = cookies.pop_front() {
        let recorded = Recorded { cookie: cookie.as_bytes().to_vec().into() };
        cookies.extend(bench.input(Input::Recorded(recorded)).into_iter().filter_map(signed_cookie));
    }
    assert_eq!(bench.target.unconfirmed(), 0);
    assert_eq!(bench.wait(CONFIRM_WAIT), []);
}
