use super::*;
use crate::message::tunnel::State;
use data_encoding::HEXLOWER;
use proptest::prelude::*;

/// The frames of `PROTOCOL.md`, byte for byte.
fn golden() -> Vec<(Message, &'static str)> {
    let bytes = |byte: u8, len: usize| Bytes::from(vec![byte; len]);
    let signed = Signed { bytes: bytes(1, 2), key_id: bytes(2, 8), signature: bytes(3, 4) };
    let hello = Hello {
        minor_min: 0,
        minor_max: 1,
        features: 1,
        build: "0.1.0".into(),
        boot_id: bytes(9, 16),
        host_name: "pc-7".into(),
        os: "Debian 12".into(),
        key_set: 3,
        clock: 1_700_000_000,
        epoch: 77,
        last_epoch: 76,
        sync: bytes(6, 16),
        last_sync: bytes(7, 16),
        macs: vec![bytes(8, 6)],
    };
    let welcome = Welcome {
        minor: 1,
        features: 1,
        heartbeat_ms: 30_000,
        reconnect_window_ms: 2_000,
        epoch: 77,
        clock: 1_700_000_000,
        sync: bytes(6, 16),
    };
    let away = GoAway { reason: "restart".into(), reconnect_ms: 500, forever: false, token: "T".into() };
    let state = TunnelState {
        grant: bytes(4, 16),
        cookie: bytes(5, 20),
        state: State::Verified.into(),
        reason: String::new(),
    };
    let point = PointState {
        announcer: bytes(8, 4),
        addresses: vec!["10.0.0.1".into()],
        port: 13_000,
        foreign: "10.0.0.9".into(),
    };
    let delivery = Delivery {
        object: bytes(4, 16),
        state: DeliveryState::Complete.into(),
        multicast: 1000,
        https: 24,
        took_ms: 300,
        repaired: 2,
        reason: "no".into(),
    };
    let counts = KsnCounts { received: 7, served: 5, ..KsnCounts::default() };
    let ksn = KsnState {
        error: String::new(),
        tcp_port: 13_111,
        udp_port: 15_111,
        https_port: 0,
        counts: Some(counts),
    };
    let sighting = Sighting {
        key: bytes(4, 16),
        addresses: vec!["10.0.0.1".into()],
        macs: vec![bytes(2, 6)],
        name: "pc".into(),
        domain: "d".into(),
        system: "s".into(),
        sources: vec!["arp".into()],
        suspicion: "p".into(),
        first_seen: 1,
        last_seen: 2,
    };
    vec![
        (Message::Hello(Box::new(hello)), HELLO),
        (Message::Welcome(welcome), WELCOME),
        (Message::Ping, "0000030000000000"),
        (Message::Pong, "0000040000000000"),
        (Message::Goodbye(Goodbye { reason: "shutdown".into() }), GOODBYE),
        (Message::GoAway(away), GO_AWAY),
        (Message::Error(ProtocolError { reason: "no".into() }), "00040700000000000a026e6f"),
        (Message::Keys(signed.clone()), "0014080800000000"),
        (Message::Servers(signed.clone()), "0014090800000000"),
        (
            Message::Lists(Lists { number: 1_700_000_000, within_ms: 500 }),
            "00090a01000000000880e2cfaa0610f403",
        ),
        (Message::Grant(signed.clone()), "0014200800000000"),
        (Message::Open(Open { grant: bytes(4, 16), cookie: bytes(5, 20), expires_ms: 30_000 }), OPEN),
        (Message::Revoke(Revoke { grants: vec![bytes(4, 16)], reason: "left".into() }), REVOKE),
        (Message::TunnelState(state), TUNNEL_STATE),
        (Message::TunnelRecord(signed.clone()), "0014240800000000"),
        (Message::Recorded(Recorded { cookie: bytes(5, 20) }), RECORDED),
        (Message::Tunnels(Tunnels { grants: vec![bytes(4, 16)] }), TUNNELS),
        (Message::Duties(signed), "0014400900000000"),
        (Message::PointState(point), POINT_STATE),
        (Message::Delivery(delivery), DELIVERY),
        (Message::Sightings(Sightings { hosts: vec![sighting] }), SIGHTINGS),
        (Message::KsnState(ksn), KSN_STATE),
    ]
}

/// What follows the header of every signed frame above.
const SIGNED_PAYLOAD: &str = "0a020101120802020202020202021a0403030303";
const HELLO: &str = "0074010000000000100118012205302e312e302a1009090909090909090909090909090909320470632d373a0944656269616e20313240034880e2cfaa06514d00000000000000594c000000000000006210060606060606060606060606060606066a10070707070707070707070707070707077206080808080808";
const WELCOME: &str = "002c0200000000000801100118b0ea0120d00f294d000000000000003080e2cfaa063a1006060606060606060606060606060606";
const GOODBYE: &str = "000a0501000000000a0873687574646f776e";
const GO_AWAY: &str = "000f0600000000000a077265737461727410f403220154";
const OPEN: &str = "002c2100000000000a10040404040404040404040404040404041214050505050505050505050505050505050505050518b0ea01";
const REVOKE: &str = "00182200000000000a100404040404040404040404040404040412046c656674";
const TUNNEL_STATE: &str =
    "002a2300000000000a1004040404040404040404040404040404121405050505050505050505050505050505050505051803";
const RECORDED: &str = "00162500000000000a140505050505050505050505050505050505050505";
const KSN_STATE: &str = "000c44010000000010b7661887762a0410071805";
const SIGHTINGS: &str = "003c4301000000000a3a0a1004040404040404040404040404040404120831302e302e302e311a06020202020202220270632a01643201733a0361727042017048015002";
const POINT_STATE: &str = "001d4100000000000a0408080808120831302e302e302e3118c865220831302e302e302e39";
const DELIVERY: &str = "00224200000000000a1004040404040404040404040404040404100118e807201828ac0230023a026e6f";
const TUNNELS: &str = "00122601000000000a1004040404040404040404040404040404";

#[test]
fn every_frame_has_its_golden_bytes() {
    for (message, hex) in golden() {
        let mut wire = BytesMut::new();
        message.encode(0, &mut wire).unwrap();
        let signed = message.kind().flags() & SIGNED != 0;
        let hex = if signed { [hex, SIGNED_PAYLOAD].concat() } else { hex.to_owned() };
        assert_eq!(HEXLOWER.encode(&wire), hex, "{:?}", message.kind());
        let frame = Frame::decode(&mut wire).unwrap().unwrap();
        assert_eq!(Message::decode(&frame), Ok(Some(message)));
    }
    assert_eq!(golden().len(), Kind::ALL.len());
}

#[test]
fn every_number_has_one_kind() {
    for kind in Kind::ALL {
        assert_eq!(Kind::from_number(kind as u8), Some(kind));
    }
}

proptest! {
    #[test]
    fn any_payload_is_a_message_or_a_refusal(number: u8, flags: u8, payload in proptest::collection::vec(any::<u8>(), 0..300)) {
        let frame = Frame { kind: number, flags, stream: 0, payload: payload.into() };
        if let Ok(Some(message)) = Message::decode(&frame) {
            let mut wire = BytesMut::new();
            message.encode(0, &mut wire).unwrap();
            let again = Frame::decode(&mut wire).unwrap().unwrap();
            prop_assert_eq!(Message::decode(&again), Ok(Some(message)));
        }
    }

    #[test]
    fn messages_survive_the_wire(
        text in ".{0,200}", number: u32, big: u64, blob in proptest::collection::vec(any::<u8>(), 0..500), flag: bool,
    ) {
        let blob = Bytes::from(blob);
        let messages = [
            Message::Hello(Box::new(Hello { minor_min: number, features: big, build: text.clone(), boot_id: blob.clone(), ..Hello::default() })),
            Message::Welcome(Welcome { minor: number, epoch: big, ..Welcome::default() }),
            Message::GoAway(GoAway { reason: text.clone(), reconnect_ms: number, forever: flag, token: text.clone() }),
            Message::Goodbye(Goodbye { reason: text.clone() }),
            Message::Error(ProtocolError { reason: text.clone() }),
            Message::Grant(Signed { bytes: blob.clone(), key_id: blob.clone(), signature: blob.clone() }),
            Message::Open(Open { grant: blob.clone(), cookie: blob.clone(), expires_ms: number }),
            Message::Revoke(Revoke { grants: vec![blob.clone(); 3], reason: text.clone() }),
            Message::TunnelState(TunnelState { grant: blob.clone(), cookie: blob.clone(), state: 3, reason: text }),
            Message::Tunnels(Tunnels { grants: vec![blob; 2] }),
        ];
        for message in messages {
            let mut wire = BytesMut::new();
            message.encode(7, &mut wire).unwrap();
            let frame = Frame::decode(&mut wire).unwrap().unwrap();
            prop_assert_eq!(frame.stream, 7);
            prop_assert_eq!(Message::decode(&frame), Ok(Some(message)));
        }
    }
}
