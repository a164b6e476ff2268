//! A relay that takes another's place.

use super::*;

#[test]
fn a_retired_relay_keeps_its_live_pairs_and_nothing_else() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    bench.used(0);
    let (unverified, _) = bench.joined(1);
    let (waiter, _) = bench.waiting(2);
    let outputs = bench.input(Input::Retire);
    assert!(outputs.contains(&Output::Drop { conn: waiter }), "{outputs:?}");
    assert!(!bench.relay.is_decided());
    let outputs = bench.wait(RETIRE_WAIT);
    assert!(outputs.contains(&Output::Cut { pair: unverified, reason: EndReason::Rejected }), "{outputs:?}");
    assert!(bench.relay.is_decided());
    let live: Vec<_> = bench.relay.live_pairs(bench.now).iter().map(|live| live.pair).collect();
    assert_eq!(live, [PairId(0)]);
    let outputs = bench.initiator(3).1;
    assert!(matches!(outputs[..], [_, Output::Refused { why: RefusedHello::Unknown, .. }]), "{outputs:?}");
}

#[test]
fn a_pair_that_is_verified_while_its_relay_retires_is_live_for_its_whole_session() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    let (pair, cookie) = bench.joined(0);
    bench.input(Input::Retire);
    bench.state(cookie, State::Verified);
    let live = bench.relay.live_pairs(bench.now);
    assert_eq!((live[0].pair, live[0].left), (pair, sample().session));
    let mut heir = bench.succeeded();
    heir.online(sample().epoch + 1);
    heir.wait(START_LIMIT);
    assert_eq!(heir.relay.live_pairs(heir.now).len(), 1);
}

#[test]
fn an_adopted_pair_ends_with_the_record_it_would_have_had() {
    let mut bench = Bench::new();
    bench.admit(&sample());
    bench.used(0);
    bench.wait(MINUTE);
    let mut heir = bench.succeeded();
    let outputs = heir.input(Input::Ended { pair: PairId(0), end: END });
    let [Output::Record(adopted)] = &outputs[..] else { panic!("{outputs:?}") };
    let outputs = bench.input(Input::Ended { pair: PairId(0), end: END });
    let [Output::Record(usual)] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(adopted, usual);
    assert!(heir.relay.is_idle());
}

#[test]
fn an_adopted_pair_is_known_to_be_alive_when_its_device_comes() {
    let mut heir = with_a_live_pair().succeeded();
    let grants = vec![sample().id.to_vec().into()];
    assert_eq!(heir.online(sample().epoch + 1), []);
    assert_eq!(heir.input(Input::Tunnels(Tunnels { grants }, sample().device)), []);
    heir.wait(ORPHAN_LIMIT);
    assert_eq!(heir.relay.live_pairs(heir.now).len(), 1);
}

#[test]
fn every_limit_of_an_adopted_pair_goes_on_where_it_was() {
    let mut bench = with_a_live_pair();
    bench.wait(MINUTE);
    bench.input(Input::Offline { device: sample().device });
    bench.wait(MINUTE);
    let [live] = &bench.relay.live_pairs(bench.now)[..] else { panic!("one pair is live") };
    assert_eq!((live.left, live.orphan), (sample().session - 2 * MINUTE, sample().orphan - MINUTE));
    let mut orphaned = bench.succeeded();
    let cut = Output::Cut { pair: PairId(0), reason: EndReason::Orphaned };
    assert!(orphaned.wait(sample().orphan - MINUTE).contains(&cut), "its device stays away");
    let mut heir = bench.succeeded();
    heir.online(sample().epoch + 1);
    let cut = Output::Cut { pair: PairId(0), reason: EndReason::SessionOver };
    assert!(heir.wait(sample().session - 2 * MINUTE).contains(&cut), "its session is over");
}

#[test]
fn an_adopted_pair_is_cut_with_its_grant_device_or_operator() {
    let Grant { id, device, operator, tenant, .. } = sample();
    for scope in [Scope::Grant(id), Scope::Device(device), Scope::Operator(operator), Scope::Tenant(tenant)] {
        let mut heir = with_a_live_pair().succeeded();
        let outputs = heir.input(Input::Revoke(scope));
        assert!(
            outputs.contains(&Output::Cut { pair: PairId(0), reason: EndReason::Revoked }),
            "{outputs:?}"
        );
    }
}

#[test]
fn a_void_grant_takes_no_new_pair_and_the_next_pair_has_a_name_of_its_own() {
    let mut heir = with_a_live_pair().succeeded();
    heir.online(sample().epoch + 1);
    let outputs = heir.initiator(1).1;
    assert!(matches!(outputs[..], [_, Output::Refused { why: RefusedHello::Unknown, .. }]), "{outputs:?}");
    let fresh = Grant { id: GrantId::new([7; 16]), epoch: sample().epoch + 1, ..sample() };
    let cookies = heir.admit(&fresh);
    heir.target(cookies[0]);
    let outputs = heir.initiator_of(fresh.id, 0).1;
    let joined = outputs.iter().any(|output| matches!(output, Output::Join { pair: PairId(1), .. }));
    assert!(joined, "{outputs:?}");
    heir.relay.check_counts();
}

#[test]
fn a_pair_is_adopted_once() {
    let mut bench = with_a_live_pair();
    let mut heir = bench.succeeded();
    for live in bench.relay.live_pairs(bench.now) {
        assert_eq!(heir.relay.adopt(heir.now, live.clone()), None);
        assert_eq!(heir.relay.adopt(heir.now, LivePair { pair: PairId(9), ..live }), None, "the same cookie");
    }
    heir.relay.check_counts();
}

fn with_a_live_pair() -> Bench {
    let mut bench = Bench::new();
    bench.admit(&sample());
    bench.used(0);
    bench
}

impl Bench {
    /// Another relay with this one's live pairs; this one goes on as if nothing had been.
    fn succeeded(&mut self) -> Self {
        self.input(Input::Retire);
        let config = Config { secret: [8; 32], audience: sample().audience, limits: Limits::default() };
        let mut relay = Relay::new(config);
        for live in self.relay.live_pairs(self.now) {
            assert!(relay.adopt(self.now, live).is_some());
        }
        relay.check_counts();
        Self { relay, now: self.now, next_conn: 0, pending: Vec::new() }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
