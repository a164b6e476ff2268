//! Seeds of tunnels: decoders, and scripts for both state machines.

use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;

use klnet_fuzz::fixed::{DEVICE, KEY, NOW, SERVER, TENANT};
use klnet_tunnel::blob::{Blob, PREFIX};
use klnet_tunnel::grant::{Grant, Host};
use klnet_tunnel::hello;
use klnet_tunnel::label::{Cookie, Label, LabelSecret};
use klnet_tunnel::pair::EndReason;
use klnet_tunnel::record::TunnelRecord;
use klnet_tunnel::stream::{Answer, Go, Refusal, SessionId};
use klnet_wire::id::{GrantId, OperatorId};
use klnet_wire::signed::{Context, PublicKey};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::Seed;

pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds = decoders();
    seeds.extend(machines());
    seeds
}

fn decoders() -> Vec<Seed> {
    let (secret, cookie) = (LabelSecret::new([7; 32]), Cookie::new([5; 20]));
    let label = Label::of(&secret, grant("").id, 3).server_name();
    let text = blob(&secret).to_string();
    let bytes = data_encoding::BASE64URL_NOPAD.decode(&text.as_bytes()[PREFIX.len()..]).unwrap();
    let go = Go { session: Some(SessionId::new([1; 16])), connection: 7 };
    let ready = Answer::Ready { session: SessionId::new([1; 16]), address: "127.0.0.1:22".into() };
    let refused = Answer::Refused { reason: Refusal::InUse, detail: "no".into() };
    // Own addresses, the address itself in both families, and a prefix, as `address` reads them.
    let address = |v4: [u8; 4]| [&[10, 0, 0, 7][..], &[0; 16], &v4, &[0xfd; 16], &[0x20; 16]].concat();
    vec![
        ("hello", "dial-back", hello::dial_back(&cookie, [1; 32], [2; 32])),
        ("hello", "initiator", client_hello(&label)),
        ("grant", "device", grant("").encode().to_vec()),
        ("grant", "name", grant("files.example.org").encode().to_vec()),
        ("grant", "address", grant("fd00::1").encode().to_vec()),
        ("host", "name", b"Files.example.org".to_vec()),
        ("host", "v4", b"192.168.7.9".to_vec()),
        ("host", "v6", b"::ffff:1.2.3.4".to_vec()),
        ("host", "number", b"0x7f.1".to_vec()),
        ("blob", "text", text.into_bytes()),
        ("blob", "bytes", bytes),
        ("names", "label", label.into_bytes()),
        ("names", "cookie", cookie.server_name().into_bytes()),
        ("stream", "first-go", Go { session: None, connection: 0 }.encode()),
        ("stream", "go", go.encode()),
        ("stream", "ready", ready.encode()),
        ("stream", "refused", refused.encode()),
        ("socks", "address", [&SOCKS_GREETING[..], &[5, 1, 0, 1, 192, 0, 2, 7, 0, 80]].concat()),
        ("socks", "v6", [&SOCKS_GREETING[..], &[5, 1, 0, 4], &[0x20; 16], &[1, 187]].concat()),
        (
            "socks",
            "name",
            [&SOCKS_GREETING[..], &[5, 1, 0, 3, 11], b"printer.lan", &[0, 80], b"GET /"].concat(),
        ),
        ("socks", "bind", [&SOCKS_GREETING[..], &[5, 2, 0, 1, 192, 0, 2, 7, 0, 80]].concat()),
        ("socks", "authentication", vec![5, 2, 1, 2]),
        ("record", "full", record().encode().to_vec()),
        ("address", "loopback", address([127, 0, 0, 1])),
        ("address", "metadata", address([169, 254, 169, 254])),
        ("address", "own", address([10, 0, 0, 7])),
        ("address", "allowed", address([10, 1, 1, 1])),
    ]
}

/// Scripts: see `relay` and `target` for what each byte decides.
fn machines() -> Vec<Seed> {
    let (online, mint) = ([12, 0, 1], [0, 0, 0, 0, 1, 30, 90, 20, 50, 1, 5]);
    let joined = [&online[..], &mint, &[5, 0, 0, 2, 0, 0]].concat();
    let verified = [&joined[..], &[9, 0, 0, 0, 0, 0]].concat();
    let second = [&verified[..], &[5, 0, 0, 2, 0, 1, 9, 0, 0, 1, 0, 0, 11, 0]].concat();
    let waiting = [&online[..], &mint, &[2, 0, 3, 2, 0, 4, 2, 0, 3, 5, 0, 0, 15, 0x67]].concat();
    let (keys, connected) = ([0, 1], [0, 14]);
    let taken = [&keys[..], &connected, &[1, 0, 0, 30, 90, 20, 50, 2, 7]].concat();
    let dialed_back = [&taken[..], &[4, 0, 0, 0, 0, 0x75, 0x30, 6, 0, 0]].concat();
    let carried = [&dialed_back[..], &[7, 0, 0, 9, 0, 0, 0, 0, 0, 1, 12, 0, 0, 0]].concat();
    let name = [&keys[..], &connected, &[1, 0, 2, 30, 90, 20, 50, 2, 7], &carried[taken.len()..]].concat();
    vec![
        ("relay", "joined", joined),
        ("relay", "revoked", [&verified[..], &[14, 0, 0]].concat()),
        ("relay", "offline", [&verified[..], &[13, 0, 1, 15, 0x7f, 12, 0, 1]].concat()),
        ("relay", "handed-over", [&verified[..], &[255], &online, &[11, 0]].concat()),
        ("relay", "second", second),
        ("relay", "waiting", waiting),
        ("relay", "verified", verified),
        ("target", "carried", carried.clone()),
        ("target", "recorded", [&carried[..], &[13, 0, 14, 0, 0, 1]].concat()),
        ("target", "new-epoch", [&carried[..], &connected, &[13, 0]].concat()),
        ("target", "offline", [&carried[..], &[0, 0, 13, 0], &connected].concat()),
        ("target", "name", name),
        ("target", "replay", [&taken[..], &[3, 0]].concat()),
    ]
}

fn client_hello(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    config.alpn_protocols = vec![b"klt/1".to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut bytes = Vec::new();
    ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut bytes).unwrap();
    bytes
}

pub(super) fn grant(host: &str) -> Grant {
    Grant {
        id: GrantId::new([1; 16]),
        tenant: TENANT,
        device: DEVICE,
        host: Host::parse(host).unwrap(),
        port: NonZeroU16::new(22).unwrap(),
        cnf: PublicKey::P256([4; 65]),
        operator: OperatorId::new([2; 16]),
        audience: SERVER,
        route: Vec::new(),
        epoch: 77,
        start: Duration::from_secs(60),
        session: Duration::from_secs(3600),
        idle: Duration::from_secs(600),
        orphan: Duration::from_secs(600),
        rate: NonZeroU64::new(1_000_000),
        connections: NonZeroU32::new(16).unwrap(),
        issued: NOW,
    }
}

fn blob(secret: &LabelSecret) -> Blob {
    let grant = grant("");
    let (signed, agent) = (KEY.sign(Context::Grant, grant.encode()), grant.cnf.clone());
    let (relay, ports) = (Host::parse("klnet.example.org").unwrap(), vec![29_200, 29_201]);
    Blob { signed, grant, relay, ports, secret: secret.clone(), agent, expires: NOW + 60 }
}

fn record() -> TunnelRecord {
    TunnelRecord {
        grant: GrantId::new([1; 16]),
        cookie: Cookie::new([2; 20]),
        device: DEVICE,
        resolved: Some("[fd00::1]:22".parse().unwrap()),
        opened: NOW,
        closed: NOW + 9,
        to_target: 30,
        to_initiator: 40,
        reason: EndReason::Finished,
    }
}

/// A client that does without authentication.
const SOCKS_GREETING: [u8; 3] = [5, 1, 0];
