//! When connections end from the target's side.

use super::*;
use crate::target::config::SLACK;

#[test]
fn every_stage_has_its_time() {
    let mut bench = Bench::new();
    bench.grant(&to("files.lan"));
    let conn = bench.open(1).unwrap();
    let outputs = bench.wait(SPARE_LIFE + HANDSHAKE_WAIT);
    assert!(matches!(outputs[..], [Output::Drop { .. }, Output::Send(_)]), "{conn:?}: {outputs:?}");
    let late = |bench: &mut Bench, wait| {
        let outputs = bench.wait(wait);
        let refused = Answer::Refused { reason: Refusal::TimedOut, detail: Refusal::TimedOut.to_string() };
        assert!(matches!(&outputs[0], Output::Answer { answer, .. } if *answer == refused), "{outputs:?}");
    };
    let mut bench = Bench::new();
    bench.grant(&to("files.lan"));
    bench.verified(2);
    assert_eq!(bench.wait(GO_WAIT), [], "the driver gives up first, and says why");
    late(&mut bench, SLACK);
    let conn = bench.verified(3);
    bench.input(Input::Go { conn, go: FIRST });
    assert_eq!(bench.wait(RESOLVE_WAIT), []);
    late(&mut bench, SLACK);
}

#[test]
fn the_session_maximum_ends_what_is_carried() {
    let mut bench = Bench::new();
    bench.grant(&sample());
    bench.carried(1);
    bench.wait(sample().session - Duration::from_secs(1));
    assert_eq!(bench.target.connections(), 1);
    let outputs = bench.wait(Duration::from_secs(1));
    assert_eq!(outputs, [Output::Cut { conn: ConnId(0), reason: EndReason::SessionOver }]);
    assert_eq!(bench.record(ConnId(0)).reason, EndReason::SessionOver);
    assert!(bench.target.is_idle());
}

#[test]
fn connections_survive_the_loss_of_control_until_the_orphan_limit() {
    let mut bench = Bench::new();
    bench.grant(&sample());
    bench.carried(1);
    bench.input(Input::Disconnected);
    assert_eq!(bench.wait(ORPHAN_LIMIT - Duration::from_secs(1)), []);
    let outputs = bench.wait(Duration::from_secs(1));
    assert_eq!(outputs, [Output::Cut { conn: ConnId(0), reason: EndReason::Orphaned }]);
}

#[test]
fn a_reconnect_ends_the_orphan_limit_reports_live_grants_and_voids_them_for_new_connections() {
    let mut bench = Bench::new();
    bench.grant(&sample());
    bench.grant(&Grant { id: GrantId::new([8; 16]), ..sample() });
    let session = bench.carried(1);
    let waiting = bench.verified(2);
    bench.input(Input::Disconnected);
    bench.wait(Duration::from_secs(5));
    let outputs = bench.connect(7);
    let live = Tunnels { grants: vec![sample().id.to_vec().into()] };
    assert!(outputs.contains(&Output::Send(Message::Tunnels(live))), "{outputs:?}");
    let refused = |output: &Output| matches!(output, Output::Answer { conn, .. } if *conn == waiting);
    assert!(outputs.iter().any(refused), "a connection not carried yet does not survive");
    assert!(bench.open(3).is_none());
    bench.wait(ORPHAN_LIMIT);
    assert_eq!(bench.target.connections(), 1);
    bench.input(Input::Ended { conn: ConnId(0), end: END });
    assert!(bench.target.is_idle(), "a void grant is forgotten with its last connection");
    let _ = session;
}

#[test]
fn a_revoked_grant_is_cut_at_once_in_every_stage() {
    let mut bench = Bench::new();
    bench.grant(&sample());
    bench.carried(1);
    let pending = bench.open(2).unwrap();
    let verified = bench.verified(3);
    let grants = vec![sample().id.to_vec().into()];
    let outputs = bench.input(Input::Revoke(Revoke { grants, reason: String::new() }));
    assert!(outputs.contains(&Output::Cut { conn: ConnId(0), reason: EndReason::Revoked }));
    assert!(outputs.contains(&Output::Drop { conn: pending }));
    let told = |output: &Output| {
        let Output::Answer { conn, answer: Answer::Refused { reason: Refusal::Over, .. } } = output else {
            return false;
        };
        *conn == verified
    };
    assert!(outputs.iter().any(told), "{outputs:?}");
    assert_eq!(bench.record(ConnId(0)).reason, EndReason::Revoked);
    assert!(bench.open(4).is_none());
    assert_eq!(bench.grant(&sample()).0, State::GrantRefused, "and it does not come back");
}
