//! When a relay ends what it joined.

use super::*;

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
fn a_server_that_stops_ends_every_pair_and_says_so_in_its_record() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    bench.used(0);
    let outputs = bench.input(Input::Shutdown);
    assert!(outputs.contains(&Output::Cut { pair: PairId(0), reason: EndReason::Shutdown }), "{outputs:?}");
    assert!(!outputs.iter().any(|output| matches!(output, Output::RevokeAt { .. })), "{outputs:?}");
    let outputs = bench.input(Input::Ended { pair: PairId(0), end: END });
    let [Output::Record(record)] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(record.end.reason, EndReason::Shutdown);
    assert!(bench.relay.is_idle());
}
