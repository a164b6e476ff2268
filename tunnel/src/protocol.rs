//! The specification and the code say the same numbers.

use std::time::Duration;

use crate::grant::tests::sample;
use crate::{grant, hello, pair, relay, stream, target};

#[test]
fn every_limit_in_the_specification_is_the_one_in_the_code() {
    let seconds = |duration: Duration| format!("{} s", duration.as_secs());
    let (at_relay, at_agent) = (relay::Limits::default(), target::Limits::default());
    let spares = [at_relay.spares_per_grant, at_relay.spares_per_device, at_relay.spares_per_operator];
    let grants = [at_relay.grants_per_device, at_relay.grants_per_operator, at_relay.grants_per_tenant];
    let connections = [at_relay.connections_per_device, at_relay.connections_per_operator];
    let list = |first: &[usize], last: usize| {
        let all = first.iter().chain([&last]).map(usize::to_string);
        all.collect::<Vec<_>>().join(", ")
    };
    let rows = [
        ("`grant::LIMIT`", grant::LIMIT.to_string()),
        ("`grant::START_LIMIT`", seconds(grant::START_LIMIT)),
        ("`grant::SESSION_LIMIT`", seconds(grant::SESSION_LIMIT)),
        ("`grant::ORPHAN_LIMIT`", seconds(grant::ORPHAN_LIMIT)),
        ("`grant::CONNECTIONS_LIMIT`", grant::CONNECTIONS_LIMIT.to_string()),
        ("`hello::RECORD_LIMIT`", hello::RECORD_LIMIT.to_string()),
        ("`stream::LIMIT`", stream::LIMIT.to_string()),
        ("`stream::READY_LIFE`", seconds(stream::READY_LIFE)),
        ("`relay::WINDOW`", relay::WINDOW.to_string()),
        ("`relay::CLOCK_SKEW`", seconds(relay::CLOCK_SKEW)),
        ("`relay::SPARE_LIFE`", seconds(relay::SPARE_LIFE)),
        ("`relay::INITIATOR_WAIT`", seconds(relay::INITIATOR_WAIT)),
        ("`relay::VERIFY_WAIT`", seconds(relay::VERIFY_WAIT)),
        ("`pair::LINGER`", seconds(pair::LINGER)),
        ("`target::HANDSHAKE_WAIT`", seconds(target::HANDSHAKE_WAIT)),
        ("`target::GO_WAIT`", seconds(target::GO_WAIT)),
        ("`target::ANSWER_WAIT`", seconds(target::ANSWER_WAIT)),
        ("`target::RESOLVE_WAIT`", seconds(target::RESOLVE_WAIT)),
        ("`target::DIAL_WAIT`", seconds(target::DIAL_WAIT)),
        ("`target::CONFIRM_WAIT`", seconds(target::CONFIRM_WAIT)),
        ("dial-backs per grant, device, operator, relay", list(&spares, at_relay.spares)),
        ("grants per device, operator, tenant, relay", list(&grants, at_relay.grants)),
        ("connections per device, operator, tenant", list(&connections, at_relay.connections_per_tenant)),
        ("initiators waiting at a relay", at_relay.initiators.to_string()),
        (
            "grants, pending dial-backs, connections at an agent",
            list(&[at_agent.grants, at_agent.pending], at_agent.connections),
        ),
        ("records kept, grants remembered at an agent", list(&[at_agent.records], at_agent.seen)),
    ];
    for (name, value) in rows {
        let row = format!("| {name} | {value} |");
        assert!(SPECIFICATION.contains(&row), "{row}");
    }
}

#[test]
fn the_golden_grant_of_the_specification_is_read_as_the_sample() {
    let (_, golden) = SPECIFICATION.split_once("defaults):\n\n```\n").unwrap();
    let (golden, _) = golden.split_once("```").unwrap();
    assert_eq!(golden.replace('\n', ""), data_encoding::HEXLOWER.encode(&sample().encode()));
}

const SPECIFICATION: &str = include_str!("../PROTOCOL.md");
