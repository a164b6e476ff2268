use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use klnet_tunnel::grant::{Grant, Host};
use klnet_tunnel::pair::EndReason;
use klnet_wire::id::ServerId;
use klnet_wire::signed::PublicKey;
use proptest::prelude::*;

use super::*;

#[test]
fn messages_have_their_golden_bytes() {
    for (message, golden) in [
        (Message::Offer { protocol: 1, build: "0.1.0".into(), listeners: 4 }, "0a0b08011205302e312e301804"),
        (
            Message::Listener(Listener { kind: Kind::Tunnels, address: "[::]:29200".parse().unwrap() }),
            "120e0803120a5b3a3a5d3a3239323030",
        ),
        (Message::Serve, "2a00"),
        (carry(Way::Copied(b"ab".to_vec())), "3214080712040805100618092204120261622a020a00"),
        (carry(Way::Spliced(9)), "321208071204080510061809220218092a020a00"),
        (carry(Way::Ended), "321208071204080510061809220222002a020a00"),
        (Message::Ended(PairId(7), END), "3a0a0807120408051006180a"),
        (Message::Done, "4200"),
        (Message::Prepared { process: 77, build: "0.2.0".into() }, "4a09084d1205302e322e30"),
        (Message::Cannot { why: "no".into() }, "52026e6f"),
        (Message::Serving, "5a00"),
        (Message::Taken(PairId(7)), "6007"),
        (Message::Declined(PairId(0)), "6800"),
    ] {
        assert_eq!(HEXLOWER.encode(&message.encode()), golden, "{message:?}");
    }
}

#[test]
fn every_message_survives_the_socket() {
    for message in [Message::Pair(live(), MOVED), Message::Record(record()), carry(Way::Open), Message::Done]
    {
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    }
}

#[test]
fn the_longest_message_fits() {
    let longest = Grant { host: Host::Name(format!("{}.lan", ["a"; 120].join("."))), ..grant() };
    let message = Message::Pair(LivePair { grant: Arc::new(longest), ..live() }, MOVED);
    assert!(message.encode().len() <= LIMIT);
    let full = || Way::Copied(vec![255; 64 * 1024]);
    let carry =
        Carry { pair: PairId(u64::MAX), moved: MOVED, silent: Duration::MAX, there: full(), back: full() };
    assert!(Message::Carry(carry).encode().len() <= LIMIT);
    let Message::Cannot { why } = Message::cannot(&"ä".repeat(5000)) else { panic!("a reason") };
    assert_eq!(why.len(), WHY_LIMIT);
}

#[test]
fn what_a_later_version_adds_is_passed_over_and_what_it_says_anew_is_refused() {
    let mut offer = Message::Offer { protocol: 1, build: String::new(), listeners: 0 }.encode();
    assert_eq!(offer, [0x0a, 2, 8, 1]);
    offer = [&[0x0a, 5][..], &offer[2..], &[0xc0, 0x3e, 1]].concat();
    assert!(matches!(Message::decode(&offer), Ok(Message::Offer { protocol: 1, .. })));
    assert_eq!(Message::decode(&[0xf2, 7, 0]), Err(NotUnderstood("an unknown message")));
    assert_eq!(Message::decode(&[]), Err(NotUnderstood("an unknown message")));
}

#[test]
fn a_message_says_how_many_descriptors_are_beside_it() {
    assert_eq!(carry(Way::Open).descriptors(), 2);
    assert_eq!(carry(Way::Spliced(9)).descriptors(), 4);
    assert_eq!(Message::Serving.descriptors(), 0);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::decode(&bytes);
    }
}

fn carry(there: Way) -> Message {
    let silent = Duration::from_millis(9);
    Message::Carry(Carry { pair: PairId(7), moved: MOVED, silent, there, back: Way::Open })
}

fn live() -> LivePair {
    LivePair {
        pair: PairId(7),
        grant: Arc::new(grant()),
        left: Duration::from_secs(60),
        orphan: Duration::from_millis(1500),
        cookie: Cookie::new([3; 20]),
        initiator: "[2001:db8::1]:4444".parse().unwrap(),
        age: Duration::from_secs(5),
    }
}

fn record() -> Record {
    Record {
        grant: GrantId::new([1; 16]),
        cookie: Cookie::new([3; 20]),
        tenant: TenantId::new([2; 16]),
        device: DeviceId::new([4; 16]),
        operator: OperatorId::new([5; 16]),
        initiator: "198.18.0.1:4444".parse().unwrap(),
        lasted: Duration::from_secs(5),
        end: END,
    }
}

fn grant() -> Grant {
    Grant {
        id: GrantId::new([1; 16]),
        tenant: TenantId::new([2; 16]),
        device: DeviceId::new([4; 16]),
        host: Host::Device,
        port: NonZeroU16::MIN,
        cnf: PublicKey::P256([4; 65]),
        operator: OperatorId::new([5; 16]),
        audience: ServerId::new([6; 16]),
        route: Vec::new(),
        epoch: 7,
        start: Duration::from_secs(60),
        session: Duration::from_secs(600),
        idle: Duration::from_secs(60),
        orphan: Duration::from_secs(60),
        rate: None,
        connections: NonZeroU32::MIN,
        issued: 1,
    }
}

const MOVED: Moved = Moved { to_target: 5, to_initiator: 6 };
const END: PairEnd = PairEnd { to_target: 5, to_initiator: 6, reason: EndReason::Shutdown };
