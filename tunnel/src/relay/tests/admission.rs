//! Which grants a relay admits.

use super::*;

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
    assert_eq!(admit(3, 1, 1, 1), Err(AdmitError::TooMany(Whose::Device)));
    assert_eq!(admit(4, 2, 1, 1), Ok(()));
    assert_eq!(admit(5, 2, 1, 1), Err(AdmitError::TooMany(Whose::Operator)));
    assert_eq!(admit(6, 2, 2, 1), Ok(()));
    assert_eq!(admit(7, 3, 3, 1), Err(AdmitError::TooMany(Whose::Tenant)));
    assert_eq!(admit(8, 3, 3, 2), Ok(()));
    assert_eq!(admit(9, 4, 4, 3), Err(AdmitError::TooMany(Whose::Relay)));
}

#[test]
fn a_resting_grant_makes_room_at_its_device_and_not_at_an_operator_that_is_full() {
    let limits = Limits { grants_per_device: 1, grants_per_operator: 1, ..Limits::default() };
    let mut bench = Bench::new();
    bench.relay.config.limits = limits;
    let (busy, eager): (OperatorId, OperatorId) = (id(1), id(2));
    let elsewhere = DeviceId::new([9; 16]);
    bench.input(Input::Online { device: elsewhere, epoch: sample().epoch });
    let resting = Grant { operator: busy, ..sample() };
    bench.admit(&resting);
    bench.used(0);
    bench.input(Input::Ended { pair: PairId(0), end: END });
    bench.admit(&Grant { id: id(2), operator: eager, device: elsewhere, ..sample() });
    let over = Grant { id: id(3), operator: eager, ..sample() };
    assert_eq!(bench.try_admit(&over), Err(AdmitError::TooMany(Whose::Operator)));
    assert_eq!(bench.relay.tunnels().count(), 2, "and nobody was evicted for it");
    assert_eq!(bench.try_admit(&Grant { id: id(4), operator: busy, ..sample() }), Ok(()));
    assert!(!bench.relay.tunnels().any(|tunnel| tunnel.grant.id == resting.id), "its own place is enough");
}

#[test]
fn connections_are_bounded_for_each_device_operator_and_tenant() {
    let unlimited = Limits::default();
    let cases = [
        (Limits { connections_per_device: 2, ..unlimited }, Whose::Device),
        (Limits { connections_per_operator: 2, ..unlimited }, Whose::Operator),
        (Limits { connections_per_tenant: 2, ..unlimited }, Whose::Tenant),
    ];
    for (limits, whose) in cases {
        let mut bench = Bench::new();
        bench.relay.config.limits = limits;
        bench.admit(&sample());
        bench.used(0);
        bench.used(1);
        let (_, outputs) = bench.initiator(2);
        let crowded = Output::Refused {
            why: RefusedHello::Crowded(whose),
            grant: Some(sample().id),
            peer: Some(PEER.parse().unwrap()),
        };
        assert!(outputs.contains(&crowded), "{whose}: {outputs:?}");
        let another = Grant { id: id(2), ..sample() };
        assert_eq!(bench.try_admit(&another), Err(AdmitError::Crowded(whose)), "its operator reads why");
        bench.input(Input::Ended { pair: PairId(0), end: END });
        assert_eq!(bench.try_admit(&another), Ok(()), "there is room again");
        bench.used(2);
        bench.relay.check_counts();
    }
}

#[test]
fn of_connections_that_were_joined_together_only_as_many_stay_as_there_is_room_for() {
    let mut bench = Bench::new();
    bench.relay.config.limits.connections_per_operator = 1;
    bench.admit(&sample());
    let [(_, first), (late, second)] = [bench.joined(0), bench.joined(1)];
    bench.state(first, State::Verified);
    let outputs = bench.state(second, State::Verified);
    assert!(outputs.contains(&Output::Cut { pair: late, reason: EndReason::OverLimit }), "{outputs:?}");
    bench.relay.check_counts();
    bench.input(Input::Revoke(Scope::All));
    for pair in [PairId(0), PairId(1)] {
        bench.input(Input::Ended { pair, end: END });
    }
    bench.wait(START_LIMIT + 2 * CLOCK_SKEW);
    assert!(bench.relay.is_idle());
}
