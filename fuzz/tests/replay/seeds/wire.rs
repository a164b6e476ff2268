//! Seeds of the agent protocol and identity.

use bytes::{Bytes, BytesMut};
use klnet_fuzz::fixed::{FABRIC, KEY, NOW, SERVER, TENANT, now};
use klnet_wire::duties::{Duties, KsnProxy, Object, Point, Polling, Source};
use klnet_wire::id::{DeviceId, FabricId};
use klnet_wire::identity::authority::{AGENT_LIFE, Authority, Leaf, make_root, request};
use klnet_wire::identity::beacon::{Beacon, EVERY_MIN, Presence};
use klnet_wire::identity::enroll::{EnrollReply, EnrollRequest};
use klnet_wire::identity::pem::{chain_to_pem, key_to_pem};
use klnet_wire::identity::tls::Identity;
use klnet_wire::identity::{Principal, Role};
use klnet_wire::keyset::{Key, KeySet, Purpose};
use klnet_wire::message::tunnel::State;
use klnet_wire::message::{
    Delivery, DeliveryState, GoAway, Goodbye, Hello, KsnCounts, KsnState, Lists, Message, Open, PointState,
    ProtocolError, Recorded, Revoke, Sighting, Sightings, TunnelState, Tunnels, Welcome,
};
use klnet_wire::servers::{Server, ServerList};
use klnet_wire::signed::{Context, Signed};
use klnet_wire::signing::SigningKey;
use prost::Message as _;

use super::Seed;

pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = Vec::new();
    let mut every_frame = vec![7];
    for (name, message) in messages() {
        let frame = encoded(&message);
        every_frame.extend_from_slice(&frame);
        seeds.push(("message", name, [&frame[2..4], &frame[8..]].concat()));
    }
    seeds.push(("frame", "every-message", every_frame));
    seeds.push(("frame", "cut", vec![0, 0x3f, 0xf0, 3, 0, 0, 0, 0, 0, 1, 2, 3]));
    seeds.extend(sessions());
    let signed = KEY.sign(Context::Grant, Bytes::from_static(b"let them in"));
    seeds.push(("signed", "ed25519", signed.encode_to_vec()));
    seeds.push(("keyset", "two-keys", key_set(FABRIC, &KEY).encode_to_vec()));
    seeds.push(("servers", "two", server_list(FABRIC).encode_to_vec()));
    seeds.push(("duties", "point-and-member", duties().encode_to_vec()));
    seeds.extend(certificates());
    seeds
}

fn messages() -> Vec<(&'static str, Message)> {
    let (grant, cookie) = (Bytes::from(vec![4; 16]), Bytes::from(vec![5; 20]));
    let hello = Hello {
        build: "0.1.0".into(),
        boot_id: grant.clone(),
        sync: vec![6; 16].into(),
        last_sync: vec![7; 16].into(),
        host_name: "pc-7".into(),
        os: "Debian 13".into(),
        features: 1,
        clock: NOW,
        ..Hello::default()
    };
    let (heartbeat_ms, epoch) = (30_000, 77);
    let welcome = Welcome { heartbeat_ms, epoch, features: 1, clock: NOW, ..Welcome::default() };
    let signed = Signed { bytes: grant.clone(), key_id: vec![2; 8].into(), signature: vec![3; 64].into() };
    let (state, reason) = (State::Verified.into(), "left".to_owned());
    let verified =
        TunnelState { grant: grant.clone(), cookie: cookie.clone(), state, reason: reason.clone() };
    let point = PointState {
        announcer: vec![6; 32].into(),
        addresses: vec!["10.0.0.1".into(), "2001:db8::1".into()],
        port: 13_000,
        foreign: "10.0.0.9".into(),
    };
    let sighting = Sighting {
        key: grant.clone(),
        addresses: vec!["10.0.0.1".into()],
        macs: vec![vec![2; 6].into()],
        name: "printer".into(),
        sources: vec!["arp".into()],
        last_seen: NOW,
        ..Sighting::default()
    };
    let delivery = Delivery {
        object: grant.clone(),
        state: DeliveryState::Failed.into(),
        multicast: 1 << 20,
        reason: "no room".into(),
        ..Delivery::default()
    };
    vec![
        ("hello", Message::Hello(Box::new(hello))),
        ("welcome", Message::Welcome(welcome)),
        ("ping", Message::Ping),
        ("pong", Message::Pong),
        (
            "go-away",
            Message::GoAway(GoAway {
                reason: reason.clone(),
                reconnect_ms: 500,
                forever: true,
                token: reason.clone(),
            }),
        ),
        ("goodbye", Message::Goodbye(Goodbye { reason: reason.clone() })),
        ("keys", Message::Keys(signed.clone())),
        ("servers", Message::Servers(signed.clone())),
        ("lists", Message::Lists(Lists { number: NOW, within_ms: 500 })),
        ("grant", Message::Grant(signed.clone())),
        ("record", Message::TunnelRecord(signed.clone())),
        ("duties", Message::Duties(signed)),
        ("point", Message::PointState(point)),
        ("delivery", Message::Delivery(delivery)),
        (
            "ksn",
            Message::KsnState(KsnState {
                tcp_port: 13_111,
                counts: Some(KsnCounts::default()),
                ..KsnState::default()
            }),
        ),
        ("sightings", Message::Sightings(Sightings { hosts: vec![sighting; 2] })),
        ("open", Message::Open(Open { grant: grant.clone(), cookie: cookie.clone(), expires_ms: 30_000 })),
        ("revoke", Message::Revoke(Revoke { grants: vec![grant.clone(); 3], reason: reason.clone() })),
        ("state", Message::TunnelState(verified)),
        ("recorded", Message::Recorded(Recorded { cookie })),
        ("tunnels", Message::Tunnels(Tunnels { grants: vec![grant; 2] })),
        ("error", Message::Error(ProtocolError { reason })),
    ]
}

/// A device that receives one object, and brings another.
fn duties() -> Duties {
    let (id, key) = (Bytes::from(vec![4; 16]), Bytes::from(vec![5; 32]));
    let signed = KEY.sign(Context::MulticastManifest, Bytes::from_static(b"manifest"));
    let source = Source {
        device: id.clone(),
        group: 7,
        epoch: 2,
        secret: key.clone(),
        key: key.clone(),
        announcer: key.clone(),
        addresses: vec!["10.0.0.1".into()],
        port: 13_000,
    };
    let point = Point { group: 8, epoch: 3, secret: key.clone(), feedback: key, rate: 200_000_000 };
    Duties {
        device: id.clone(),
        audiences: vec![id.clone(), id],
        objects: vec![Object { manifest: Some(signed), send: true, unicast: false }],
        source: Some(source),
        point: Some(point),
        polling: Some(Polling {
            ranges: vec!["10.1.0.0/16".into()],
            ranges_every: 25_200,
            ..Polling::default()
        }),
        ksn: Some(KsnProxy { upstreams: vec!["ksn.example.org:1443".into()], ..KsnProxy::default() }),
    }
}

/// Scripts: see `session` for what each byte decides.
fn sessions() -> Vec<Seed> {
    let received = |message: &Message| {
        let frame = encoded(message);
        let len = u16::try_from(frame.len()).unwrap().to_be_bytes();
        [&[0][..], &len, &frame].concat()
    };
    let by_name = |wanted: &str| messages().into_iter().find(|(name, _)| *name == wanted).unwrap().1;
    let server = [&[0][..], &received(&by_name("hello")), &[11, 5, 0, 0, 0x75, 0x30, 4, 11]].concat();
    let server = [&server[..], &received(&Message::Ping), &received(&by_name("state")), &[11, 4, 4]].concat();
    let agent = [&[1, 11][..], &received(&by_name("welcome")), &[4, 11], &received(&Message::Pong)].concat();
    let agent = [&agent[..], &received(&by_name("open")), &[11, 4, 4, 9, 11]].concat();
    // Long messages until the outbox is full: nothing is drained.
    let stalled = [6_u8, 6, 0x3e, 0x80, 0].repeat(12);
    let stalled = [&server[..server.len() - 3], &stalled, &[11]].concat();
    // An honest pair: HELLO up, WELCOME down, then a message each way.
    let pair = [6, 1, 0xff, 0xff, 7, 11, 0, 0, 0x75, 0x30, 7, 0, 0xff, 0xff, 6];
    let talk = [14, 8, 0, 5, 0, 6, 1, 0, 9, 15, 6, 0, 5, 0, 7, 0, 0, 9].repeat(4);
    vec![
        ("session", "server", server),
        ("session", "agent", agent),
        ("session", "stalled", stalled),
        ("session_pair", "talk", [&pair[..], &talk].concat()),
        ("session_pair", "welcome", pair.to_vec()),
    ]
}

fn certificates() -> Vec<Seed> {
    let root_key = SigningKey::generate_p256();
    let trust = make_root(&root_key, now()).unwrap();
    let fabric = trust.fabric();
    let authority = Authority::make(trust, &root_key, SigningKey::generate_p256(), now()).unwrap();
    let mut seeds = Vec::new();
    let mut last = Vec::new();
    for (number, role) in (0_u8..).zip(Role::ALL) {
        let principal = Principal { fabric, tenant: TENANT, role, id: [9; 16], serial: Vec::new() };
        let leaf = Leaf::new(principal, vec!["localhost".into()], now(), AGENT_LIFE);
        let chain = authority.issue(SigningKey::generate_p256().public(), &leaf).unwrap();
        let mut bytes = vec![number];
        for certificate in &chain {
            bytes.extend(u16::try_from(certificate.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(certificate);
        }
        seeds.push(("certificate", ["server", "agent", "operator"][usize::from(number)], bytes));
        last = chain;
    }
    let key = SigningKey::generate_p256();
    seeds.push(("beacon", "of-a-device", beacon(&authority, &key)));
    let request_der = request(&key).unwrap();
    let asked = EnrollRequest {
        token: "token".into(),
        request: data_encoding::BASE64URL_NOPAD.encode(&request_der),
        host_name: "pc-7".into(),
        os: "Debian 13".into(),
    };
    let keys = root_key.sign(Context::KeySet, key_set(fabric, &KEY).encode_to_vec().into());
    let servers = KEY.sign(Context::ServerList, server_list(fabric).encode_to_vec().into());
    let reply = EnrollReply::new(&last, &keys, &servers);
    seeds.push(("request", "pkcs10", request_der));
    seeds.push(("enrollment", "request", serde_json::to_vec(&asked).unwrap()));
    seeds.push(("enrollment", "reply", serde_json::to_vec(&reply).unwrap()));
    seeds.push(("pem", "chain", chain_to_pem(&last).into_bytes()));
    seeds.push(("pem", "key", key_to_pem(&key).into_bytes()));
    seeds.push(("pem", "pkcs8", key.to_pkcs8().unwrap().to_vec()));
    seeds.push(("pem", "pin", b"0123456789abcdef".repeat(4)));
    seeds
}

/// A root, and a beacon of one of its devices.
fn beacon(authority: &Authority, key: &SigningKey) -> Vec<u8> {
    let (trust, role) = (authority.trust(), Role::Agent);
    let principal =
        Principal { fabric: trust.fabric(), tenant: TENANT, role, id: [9; 16], serial: Vec::new() };
    let leaf = Leaf::new(principal, Vec::new(), now(), AGENT_LIFE);
    let identity = Identity { chain: authority.issue(key.public(), &leaf).unwrap(), key: key.clone() };
    let (address, name) = ([10, 0, 0, 7].into(), "web-7".to_owned());
    let datagram = Beacon::seal(&identity, &Presence { sent: NOW, address, every: EVERY_MIN, name }).unwrap();
    let root = trust.root();
    [&u16::try_from(root.len()).unwrap().to_be_bytes(), &root[..], &datagram].concat()
}

fn key_set(fabric: FabricId, key: &SigningKey) -> KeySet {
    let public = Bytes::copy_from_slice(key.public().as_bytes());
    let key = |purpose: Purpose| Key {
        purpose: purpose.into(),
        public: public.clone(),
        not_before: NOW - 1,
        not_after: NOW + 1,
    };
    KeySet {
        fabric: fabric.to_vec().into(),
        version: 3,
        keys: vec![key(Purpose::Grant), key(Purpose::Directory)],
    }
}

fn server_list(fabric: FabricId) -> ServerList {
    let server = Server {
        host: "klnet.example.org".into(),
        agent_ports: vec![23_100, 23_101],
        tunnel_ports: vec![29_200],
        weight: 1,
        id: SERVER.to_vec().into(),
    };
    let other = Server { host: DeviceId::new([1; 16]).to_string(), ..server.clone() };
    ServerList {
        fabric: fabric.to_vec().into(),
        servers: vec![server, other],
        issued: NOW,
        expires: NOW + 60,
        reconnect_window_ms: 2000,
    }
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut wire = BytesMut::new();
    message.encode(0, &mut wire).unwrap();
    wire.to_vec()
}
