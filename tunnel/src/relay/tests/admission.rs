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
    assert_eq!(admit(3, 1, 1, 1), Err(AdmitError::TooMany("device")));
    assert_eq!(admit(4, 2, 1, 1), Ok(()));
    assert_eq!(admit(5, 2, 1, 1), Err(AdmitError::TooMany("operator")));
    assert_eq!(admit(6, 2, 2, 1), Ok(()));
    assert_eq!(admit(7, 3, 3, 1), Err(AdmitError::TooMany("tenant")));
    assert_eq!(admit(8, 3, 3, 2), Ok(()));
    assert_eq!(admit(9, 4, 4, 3), Err(AdmitError::TooMany("relay")));
}
