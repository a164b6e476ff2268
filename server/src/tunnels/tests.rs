//! Grants under revocation, and what becomes of records.

pub(super) mod bench;

use std::sync::atomic::Ordering;

use klnet_tunnel::net::request::GrantReply;

use super::*;
use crate::fleet::record::GrantRecord;
use crate::fleet::{OperatorRole, keys};
use bench::{Bench, cookie, request};
use records::Verdict;

#[tokio::test]
async fn a_grant_whose_device_or_operator_is_revoked_while_it_is_minted_comes_to_nothing() {
    for whose in ["device", "operator"] {
        let bench = Bench::new().await;
        let mut device = bench.device("web-7").await;
        let operator = bench.operator("eve", OperatorRole::Tunnel).await;
        let asked = request(&device);
        let granting = bench.tunnels.grant(&operator, &asked);
        // Nobody here carries the denial to the relay: it may have got there before the grant did.
        let (granted, grant) = tokio::join!(granting, async {
            let grant = device.grant().await;
            match whose {
                "device" => bench.fleet.revoke_device(&bench.admin, device.id, "lost").await.unwrap(),
                _ => bench.fleet.revoke_operator(&bench.admin, operator.operator, "left").await.unwrap(),
            }
            bench.accept(&device, grant).await;
            grant
        });
        let error = granted.unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{whose}: {error}");
        assert_eq!(device.revoked().await, grant, "the device is told too");
        assert_eq!(bench.relay.tunnels().await.unwrap().len(), 0, "{whose}");
    }
}

#[tokio::test]
async fn a_request_that_is_dropped_leaves_no_question_behind() {
    let bench = Bench::new().await;
    let mut device = bench.device("web-7").await;
    let asked = request(&device);
    tokio::select! {
        granted = bench.tunnels.grant(&bench.admin, &asked) => panic!("{granted:?}"),
        _ = device.grant() => {}
    }
    assert!(bench.tunnels.answers.is_empty());
}

#[tokio::test]
async fn a_full_disk_keeps_no_tunnel_open() {
    let bench = Bench::new().await;
    let mut device = bench.device("web-7").await;
    let GrantReply { grant, .. } = bench.grant(&bench.admin, &mut device).await;
    bench.disk.full.store(true, Ordering::SeqCst);
    let told = bench.tunnels.revoke(&bench.admin, grant.parse().unwrap(), "stolen").await.unwrap_err();
    assert_eq!(told.kind(), Kind::Unavailable);
    assert!(told.to_string().starts_with("the tunnel was cut, but"), "{told}");
    assert_eq!(device.revoked().await.to_string(), grant);
    assert_eq!(bench.relay.tunnels().await.unwrap().len(), 0);
}

#[tokio::test]
async fn records_of_relay_and_agent_confirm_each_other_in_either_order() {
    let bench = Bench::new().await;
    let mut device = bench.device("web-7").await;
    let grant = bench.granted(&device).await;
    bench.relay_tells(&device, grant, cookie(1)).await;
    assert_eq!(bench.ends(&device).await, [told("relay", "unconfirmed: no record by the agent")]);
    bench.agent_tells(&device, grant, cookie(1)).await;
    device.acknowledged().await;
    bench.agent_tells(&device, grant, cookie(2)).await;
    device.acknowledged().await;
    bench.relay_tells(&device, grant, cookie(2)).await;
    let [first, second] = ["relay", "agent"];
    let expected = [told(first, "yes"), told(second, "yes"), told(second, "yes"), told(first, "yes")];
    assert_eq!(bench.ends(&device).await, expected);
    let entries = bench.fleet.audit(bench.admin.tenant, None, 1).await.unwrap();
    assert_eq!(entries[0].detail["from"], "198.18.0.1:4444", "peers are shown as people know them");
}

#[tokio::test]
async fn both_records_of_a_connection_are_one_commit() {
    let bench = Bench::new().await;
    let device = bench.device("web-7").await;
    let (grant, tenant) = (bench.granted(&device).await, bench.admin.tenant);
    let record = device.unsigned(grant, cookie(1));
    let ends = [
        records::Ended::Relay(bench.relayed(&device, grant, cookie(1))),
        records::Ended::Agent { tenant, record, counted: false },
    ];
    bench.tunnels.store(&ends).await.unwrap();
    assert_eq!(bench.ends(&device).await, [told("relay", "yes"), told("agent", "yes")]);
    let newest = bench.fleet.store().scan(&keys::audits(tenant), None, 2, None).await.unwrap().entries;
    assert_eq!(newest[0].1.mod_rev, newest[1].1.mod_rev);
}

#[tokio::test]
async fn a_device_has_no_say_in_another_ones_connections() {
    let bench = Bench::new().await;
    let (mut honest, mut liar) = (bench.device("web-7").await, bench.device("web-8").await);
    let (of_honest, of_liar) = (bench.granted(&honest).await, bench.granted(&liar).await);
    // The other's cookie, ahead of everyone: under the other's grant, and under one of its own.
    for grant in [of_honest, of_liar] {
        bench.agent_tells(&liar, grant, cookie(1)).await;
        liar.acknowledged().await;
    }
    bench.relay_tells(&honest, of_honest, cookie(1)).await;
    assert_eq!(bench.ends(&honest).await, [told("relay", "unconfirmed: no record by the agent")]);
    bench.agent_tells(&honest, of_honest, cookie(1)).await;
    honest.acknowledged().await;
    assert_eq!(bench.ends(&honest).await, [told("relay", "yes"), told("agent", "yes")]);
    let alone = [told("agent", "unconfirmed: no record by the relay")];
    assert_eq!(bench.ends(&liar).await, alone, "the other's grant made no entry at all");
}

#[tokio::test]
async fn a_record_under_another_grant_of_the_same_device_confirms_nothing() {
    let bench = Bench::new().await;
    let mut device = bench.device("web-7").await;
    let (joined, other) = (bench.granted(&device).await, bench.granted(&device).await);
    bench.agent_tells(&device, other, cookie(1)).await;
    device.acknowledged().await;
    bench.relay_tells(&device, joined, cookie(1)).await;
    bench.agent_tells(&device, other, cookie(1)).await;
    device.acknowledged().await;
    let expected = [
        told("agent", "unconfirmed: no record by the relay"),
        told("relay", "unconfirmed: no record by the agent"),
    ];
    assert_eq!(bench.ends(&device).await, expected);
}

#[tokio::test]
async fn a_device_that_makes_up_records_is_heard_only_so_often_and_always_of_what_is_true() {
    let bench = Bench::new().await;
    let device = bench.device("web-7").await;
    let (grant, tenant) = (bench.granted(&device).await, bench.admin.tenant);
    let judge = async |n| bench.tunnels.judge(tenant, &device.unsigned(grant, cookie(n))).await.unwrap();
    for n in 0..UNCONFIRMED_LIMIT {
        assert!(matches!(judge(n).await, Verdict::Take { counted: true }), "{n}");
    }
    assert!(matches!(judge(0).await, Verdict::TooMany));
    bench.relay_tells(&device, grant, cookie(0)).await;
    assert!(matches!(judge(0).await, Verdict::Take { counted: false }), "the relay knows of that one");
}

#[tokio::test]
async fn records_of_an_honest_device_use_up_nothing() {
    let bench = Bench::new().await;
    let mut device = bench.device("web-7").await;
    let grant = bench.granted(&device).await;
    bench.agent_tells(&device, grant, cookie(1)).await;
    device.acknowledged().await;
    bench.relay_tells(&device, grant, cookie(1)).await;
    let left = (0..).take_while(|_| bench.tunnels.unconfirmed.spend(Instant::now(), device.id)).count();
    assert_eq!(left, usize::try_from(UNCONFIRMED_LIMIT).unwrap());
}

#[tokio::test]
async fn a_record_that_meets_a_full_disk_is_stored_once_there_is_room() {
    let bench = Bench::new().await;
    let mut device = bench.device("web-7").await;
    let grant = bench.granted(&device).await;
    bench.disk.full.store(true, Ordering::SeqCst);
    bench.agent_tells(&device, grant, cookie(1)).await;
    bench.disk.refused.notified().await;
    bench.disk.full.store(false, Ordering::SeqCst);
    device.acknowledged().await;
    assert_eq!(bench.ends(&device).await.len(), 1);
}

#[tokio::test]
async fn the_relay_never_waits_for_the_store_and_what_is_left_out_is_counted() {
    let bench = Bench::new().await;
    let device = bench.device("web-7").await;
    let grant = bench.granted(&device).await;
    let (ends, _full) = mpsc::channel(1);
    for n in 0..3 {
        bench.tunnels.relay_record(bench.relayed(&device, grant, cookie(n)), &ends);
    }
    assert_eq!(bench.tunnels.metrics.records_lost.get(), 2);
}

#[tokio::test]
async fn what_was_told_before_a_stop_is_stored_before_it_is_over() {
    let bench = Bench::new().await;
    let device = bench.device("web-7").await;
    let grant = bench.granted(&device).await;
    for n in 0..20 {
        bench.agent_tells(&device, grant, cookie(n)).await;
    }
    bench.tunnels.stop(Duration::from_secs(60)).await;
    assert_eq!(bench.ends(&device).await.len(), 20);
    assert!(bench.relay.tunnels().await.is_err(), "and the relay is no more");
}

#[tokio::test]
async fn a_rejection_is_audited_under_the_devices_name() {
    let bench = Bench::new().await;
    let device = bench.device("web-7").await;
    let (grant, state) = (GrantId::random().to_vec().into(), State::Rejected.into());
    let state = TunnelState { grant, state, ..TunnelState::default() };
    bench.tunnels.state(bench.admin.tenant, device.id, state).await;
    let entries = bench.fleet.audit(bench.admin.tenant, None, 1).await.unwrap();
    assert_eq!((&*entries[0].action, &*entries[0].subject), ("tunnel.rejected", "web-7"));
}

#[tokio::test]
async fn the_books_are_closed_on_what_was_open_when_the_server_was_killed() {
    let bench = Bench::new().await;
    let (mut device, tenant) = (bench.device("web-7").await, bench.admin.tenant);
    let grant = bench.granted(&device).await;
    let record = GrantRecord { device: device.id.to_vec(), killed: false };
    let left = Change::new(tenant, "a test", "test.put", "a grant").put(keys::open(tenant, grant), &record);
    bench.fleet.note(left).await.unwrap();
    bench.tunnels.close_books().await;
    let entry = bench.audited("tunnel.unconfirmed").await;
    assert_eq!((&*entry.actor, &*entry.subject), ("server", "web-7"));
    assert_eq!(entry.detail["grant"], grant.to_string());
    bench.agent_tells(&device, grant, cookie(1)).await;
    device.acknowledged().await;
    let killed = "unconfirmed: the server was killed before it could record it";
    assert_eq!(bench.ends(&device).await, [told("agent", killed)]);
    assert_eq!(bench.open().await, 0, "and it is not told again");
}

#[tokio::test]
async fn a_grant_that_ends_leaves_the_books_and_one_that_is_open_does_not() {
    let bench = Bench::new().await;
    let mut device = bench.device("web-7").await;
    let GrantReply { grant, .. } = bench.grant(&bench.admin, &mut device).await;
    bench.grant(&bench.admin, &mut device).await;
    assert_eq!(bench.open().await, 2);
    bench.tunnels.close_books().await;
    assert_eq!(bench.open().await, 2, "the relay has both");
    bench.tunnels.revoke(&bench.admin, grant.parse().unwrap(), "").await.unwrap();
    let live = bench.relay.tunnels().await.unwrap();
    bench.tunnels.close_ended(bench.tunnels.books.open(), &live).await;
    assert_eq!(bench.open().await, 1);
    bench.tunnels.stop(Duration::from_secs(60)).await;
    assert_eq!(bench.open().await, 0, "a server that stops in order leaves nothing open");
}

#[tokio::test]
async fn an_operator_reads_whose_limit_refused_a_grant() {
    let limits = "[limits]\ngrants_per_operator = 1";
    let bench = Bench::configured(limits).await;
    let mut device = bench.device("web-7").await;
    bench.grant(&bench.admin, &mut device).await;
    let refused = bench.tunnels.grant(&bench.admin, &request(&device)).await.unwrap_err();
    assert_eq!((refused.kind(), refused.to_string()), (Kind::Limit, LIMIT_TOLD.to_owned()));
    let metrics = bench.tunnels.metrics.text();
    assert!(metrics.contains(r#"limits_refused_total{what="grants",whose="operator"} 1"#), "{metrics}");
}

const LIMIT_TOLD: &str = "operator root has reached the limit of live grants: 1";

fn told(actor: &str, confirmed: &str) -> (String, String) {
    (actor.into(), confirmed.into())
}
