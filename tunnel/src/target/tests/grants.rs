//! Which grants a target takes, and for how long.

use super::*;

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
fn a_grant_of_the_last_session_is_refused_in_the_next() {
    let mut bench = Bench::new();
    bench.connect(7);
    assert_eq!(bench.grant(&sample()).0, State::GrantRefused);
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
